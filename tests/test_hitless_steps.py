"""What operators do to a running mesh, step by step and each step acked before the next: no request fails.

One lab for all of it, under constant load and without retries. What is called is defined at either end of each step.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from envoys import fetch, until
from meshwright.lab.exchange import Reply, Request
from meshwright.lab.lab import Lab
from meshwright.lab.workload import call
from meshwright.model import Key, Kind, State
from pki import Issuer
from settings import PROVE
from shop_load import EVERYBODY, Load, added, edited, listener, no_retries, shop, spec_of, weights

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from meshwright.lab.workload import Workload


pytestmark = [pytest.mark.envoy, pytest.mark.timeout(1200)]

V1, V2, CART, ORDERS, WEB, LEDGER = (
    Key("shop", Kind.VIRTUAL_NODE, name) for name in ("payment-v1", "payment-v2", "cart", "orders", "web", "ledger")
)
PAYMENT, LEDGERS, CARTS = (
    Key("shop", Kind.VIRTUAL_SERVICE, f"{name}.shop.internal") for name in ("payment", "ledger", "cart")
)
TESTERS = Key("shop", Kind.ROUTE, "testers", "payment")
OLD, NEW = ({"portMapping": {"port": port, "protocol": "http"}} for port in (8080, 8081))
PATIENT = {"http": {"perRequest": {"unit": "s", "value": 300}}}
"""What a listener allows requests that are in flight while what serves them is taken away."""


def shifted(state: State, first: int) -> State:
    """So many of a hundred go to version 1."""
    return edited(state, EVERYBODY, weights(first, 100 - first))


def provided(state: State, service: Key, **provider: str) -> State:
    """Another provider of a service: `virtualNode` or `virtualRouter`, by name."""
    ((kind, name),) = provider.items()
    return edited(state, service, lambda spec: spec.update(provider={kind: {f"{kind}Name": name}}))


def members(**given: Any) -> Callable[[dict[str, Any]], None]:
    """Members of a spec; None takes one away."""

    def edit(spec: dict[str, Any]) -> None:
        spec.update(given)
        for name in [name for name, value in given.items() if value is None]:
            del spec[name]

    return edit


class Stage:
    """A lab under load, and the steps that are taken in it."""

    def __init__(self, lab: Lab, load: Load) -> None:
        self.lab = lab
        self.load = load

    async def to(self, what: str, *states: State) -> None:
        """Take these steps, each acked by everybody, with some customers after each.

        In `make prove` each is interrupted: the control plane is killed as soon as it has answered.
        """
        for number, state in enumerate(states, start=1):
            self.load.during = f"{what}, step {number}"
            release = await self.lab.apply(state)
            if PROVE and V2 in state:  # the proxy of a node that is gone is not let in again, and serves on
                await self.lab.control.kill()
                await self.lab.control.start()
            await self.lab.propagated(release)
            await self.load.more(8)

    async def ask(self, node: str, port: int, service: str) -> Reply:
        """A request that a node's application makes."""
        return await call("http", self._egress(node), port, Request(authority=service))

    @contextlib.asynccontextmanager
    async def in_flight(self, workload: Workload, count: int = 5) -> AsyncIterator[None]:
        """So many requests of testers that reach version 2 before the block, and that it answers after it."""
        arrived, answer, go_on = [], workload.answer, asyncio.Event()

        async def held(request: Request, protocol: str) -> Reply:
            arrived.append(request)
            await go_on.wait()
            return await answer(request, protocol)

        tester = f"{PAYMENT.name}\r\nx-payment-version: v2"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workload, "answer", held)
            asking = [asyncio.create_task(fetch(self._egress("orders"), 8080, "/", tester)) for _ in range(count)]
            await until(lambda: len(arrived) == count, "they arrive")  # these alone are sent there
        yield
        assert not any(one.done() for one in asking), "they were in flight"
        go_on.set()
        for status, _ in await asyncio.gather(*asking):
            self.load.note(Reply(status=status))

    @contextlib.asynccontextmanager
    async def conversation(self, node: str, port: int, service: str) -> AsyncIterator[None]:
        """One TCP connection of a node's application that is used all the time while the block runs."""
        reader, writer = await asyncio.open_connection(self._egress(node), port)
        line = msgspec.json.encode(Request(authority=service)) + b"\n"

        async def say() -> Reply:
            writer.write(line)
            said = await reader.readline()
            return msgspec.json.decode(said, type=Reply) if said else Reply(status=0, fault="the connection ended")

        try:
            async with self.load.of(say):
                yield
        finally:
            writer.close()

    def _egress(self, node: str) -> str:
        return next(one.machine.egress for one in self.lab.fleet.instances if one.role.key.name == node)


@contextlib.asynccontextmanager
async def staged(base: State) -> AsyncIterator[Stage]:
    """The shop under load; the cart's application listens on a second port that nobody knows of yet."""
    two = edited(base, CART, members(listeners=[OLD, NEW]))
    load = Load()
    async with Lab(two, stack="shop", instances={"payment-v1": 2}) as lab:
        stage = Stage(lab, load)
        async with load.on(lab):
            await stage.to("the beginning", base)
            yield stage
        await no_retries(lab)
    assert load.failed == []
    assert load.sent > 100


async def test_what_operators_do_step_by_step_fails_no_request(tmp_path: Path) -> None:
    """Providers, versions, ports, services, filters, discovery, TLS: each there and back again.

    A connection over TCP that none of it concerns stays open all the while.
    """
    base = edited(shifted(shop(), 100), V2, listener(timeout=PATIENT))
    async with staged(base) as stage:
        await providers(stage, base)
        async with stage.conversation("payment-v1", 7000, LEDGERS.name):
            await versions(stage, base)
            await ports(stage, base)
            await services(stage, base)
            await discovery(stage, base)
            await encryption(stage, base, tmp_path)


async def providers(stage: Stage, base: State) -> None:
    """A service goes from its router to a node and back; HTTP and TCP; one that had no router gets one."""
    node = provided(base, PAYMENT, virtualNode="payment-v1")
    await stage.to("payment from router to node and back", node, base)
    node = provided(base, LEDGERS, virtualNode="ledger")
    await stage.to("ledger from router to node and back", node, base)
    router = Key("shop", Kind.VIRTUAL_ROUTER, "cart")
    target = {"weightedTargets": [{"virtualNode": "cart", "weight": 1}]}
    route = {"httpRoute": {"match": {"prefix": "/"}, "action": target}}
    routed = added(added(base, router, {"listeners": [OLD]}), Key("shop", Kind.ROUTE, "all", "cart"), route)
    await stage.to("cart from node to router and back", provided(routed, CARTS, virtualRouter="cart"), base)


async def versions(stage: Stage, base: State) -> None:
    """A version is drained and then deleted, or deleted at once, while requests are in its hands."""
    (workload,) = stage.lab.workloads(V2.name)
    drained = base.drop(TESTERS)
    gone = edited(drained, EVERYBODY, _only_first).drop(V2)
    for steps in ((drained, gone), (gone,)):
        async with stage.in_flight(workload):
            await stage.to("version 2 goes", *steps)
        await stage.to("version 2 comes back", base)


def _only_first(spec: dict[str, Any]) -> None:
    spec["httpRoute"]["action"]["weightedTargets"].pop()


async def ports(stage: Stage, base: State) -> None:
    """A node gets a second port, its callers move there, and the first one goes; and back."""
    both = edited(base, CART, members(listeners=[OLD, NEW]))
    await stage.to("a second port", both)
    async with stage.load.of(lambda: stage.ask("web", 8081, "cart.shop.internal")):
        await stage.to("both ports", shifted(both, 40))
    await stage.to("one port again", base)


async def services(stage: Stage, base: State) -> None:
    """A router, a target and a backend go from one service to another."""
    till = Key("shop", Kind.VIRTUAL_SERVICE, "till.shop.internal")
    spare = Key("shop", Kind.VIRTUAL_ROUTER, "spare")
    route = spec_of(base, EVERYBODY)
    copied = added(
        added(base, spare, spec_of(base, Key("shop", Kind.VIRTUAL_ROUTER, "payment"))),
        Key("shop", Kind.ROUTE, "all", "spare"),
        route,
    )
    moved = provided(copied, PAYMENT, virtualRouter="spare")
    tilled = added(moved, till, {"provider": {"virtualRouter": {"virtualRouterName": "payment"}}})
    called = edited(
        tilled,
        ORDERS,
        lambda spec: spec["backends"].append({"virtualService": {"virtualServiceName": till.name}}),
    )
    await stage.to("the router of payment goes to till", called)
    async with stage.load.of(lambda: stage.ask("orders", 8080, till.name)):
        split = edited(called, EVERYBODY, weights(0, 1))
        split = edited(split, Key("shop", Kind.ROUTE, "all", "spare"), weights(1, 0))
        await stage.to("version 1 is payment's, version 2 is till's", split, called)
    await stage.to("and back", provided(called, PAYMENT, virtualRouter="payment"), base)


async def discovery(stage: Stage, base: State) -> None:
    """How instances are found, whether traffic may leave the mesh, and a version's own listener settings."""
    for response in ("LOADBALANCER", "ENDPOINTS"):
        dns = {"dns": {"hostname": "payment-v1.shop.internal", "responseType": response}}
        await stage.to(f"payment by {response}", edited(base, V1, members(serviceDiscovery=dns)))
    for policy in ("ALLOW_ALL", "DROP_ALL"):
        mesh = edited(base, Key.of_mesh("shop"), members(egressFilter={"type": policy}))
        await stage.to(policy, mesh)
    ejecting = {
        "maxServerErrors": 5,
        "interval": {"unit": "s", "value": 1},
        "baseEjectionDuration": {"unit": "s", "value": 1},
        "maxEjectionPercent": 50,
    }
    await stage.to("outlier detection", edited(base, V1, listener(outlierDetection=ejecting)), base)


async def encryption(stage: Stage, base: State, folder: Path) -> None:
    """A port with TLS that is insisted on, a new certificate and a new key, and away again.

    On a port of its own: callers encrypt as soon as a listener takes TLS at all, and no two proxies change at once.
    """
    issuer = Issuer()
    trust = {"file": {"certificateChain": str(issuer.file(folder))}}
    policy = {"clientPolicy": {"tls": {"enforce": True, "ports": [8081], "validation": {"trust": trust}}}}

    def shown(state: State, mode: str, name: str) -> State:
        files = issuer.issue("cart.shop.internal").write(folder, name)
        pair = {"certificateChain": str(files.certificate), "privateKey": str(files.key)}
        secured = {**NEW, "tls": {"mode": mode, "certificate": {"file": pair}}}
        return edited(state, CART, members(listeners=[OLD, secured]))

    both = shown(base, "PERMISSIVE", "first")
    await stage.to("a port with TLS", both)
    async with stage.load.of(lambda: stage.ask("web", 8081, "cart.shop.internal")):
        asked = edited(both, WEB, lambda spec: spec["backends"][1]["virtualService"].update(policy))
        strict = [shown(asked, "STRICT", name) for name in ("second", "third")]
        await stage.to("TLS", asked, *strict, asked, both)
    await stage.to("plain text again", base)
