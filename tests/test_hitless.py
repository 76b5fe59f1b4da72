"""Fifty changes under constant load, and a control plane killed meanwhile: no request fails, nothing is resent.

The shop runs on real Envoys without a single retry policy of its own, so that a change that breaks something for a
moment shows: a customer, or a workload that asks its backends for one, sees a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import pytest

from meshwright.documents.load import load
from meshwright.documents.settings import load_project
from meshwright.errors import UnreachableError
from meshwright.lab.exchange import Request
from meshwright.lab.lab import Lab
from meshwright.model import SPECS, Key, Kind, Resource, State, decode
from meshwright.model.decoding import encode
from settings import PROVE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from meshwright.lab.fleet import Instance

    Edit: TypeAlias = Callable[[dict[str, Any]], None]

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(600)]

SHOP = Path(__file__).parent.parent / "examples" / "shop"
CUSTOMERS = 4
ROUNDS = 25 if PROVE else 5
"""Each makes ten changes."""
HOME = Request(authority="shop.example", path="/home")

EVERYBODY = Key("shop", Kind.ROUTE, "everybody", "payment")
NEW_ROUTE = Key("shop", Kind.ROUTE, "quotes", "payment")
NEW_NODE = Key("shop", Kind.VIRTUAL_NODE, "payment-v3")
NEW_SERVICE = Key("shop", Kind.VIRTUAL_SERVICE, "quotes.shop.internal")
V1, ORDERS, WEB = (Key("shop", Kind.VIRTUAL_NODE, name) for name in ("payment-v1", "orders", "web"))


def edited(state: State, key: Key, edit: Edit) -> State:
    """`state` with the spec of `key` changed in wire form."""
    spec = msgspec.json.decode(msgspec.json.encode(encode(state[key].spec)))
    edit(spec)
    return state.put(msgspec.structs.replace(state[key], spec=decode(SPECS[key.kind], spec)))


def added(state: State, key: Key, spec: dict[str, Any]) -> State:
    """`state` with another object."""
    return state.put(Resource(key=key, spec=decode(SPECS[key.kind], spec)))


def without_retries(state: State) -> State:
    """`state` in which no route tries anything again."""

    def never(spec: dict[str, Any]) -> None:
        for member in spec.keys() - {"priority", "tcpRoute"}:
            retry = {"maxRetries": 0, "perRetryTimeout": {"unit": "s", "value": 15}}
            events = (
                {"grpcRetryEvents": ["cancelled"]} if member == "grpcRoute" else {"httpRetryEvents": ["client-error"]}
            )
            spec[member]["retryPolicy"] = {**retry, **events}

    for one in state.of(Kind.ROUTE):
        state = edited(state, one.key, never)
    return state


def weights(first: int, second: int, *more: tuple[str, int]) -> Edit:
    """The shares of the payment versions."""
    targets = [("payment-v1", first), ("payment-v2", second), *more]

    def edit(spec: dict[str, Any]) -> None:
        spec["httpRoute"]["action"]["weightedTargets"] = [
            {"virtualNode": node, "weight": weight} for node, weight in targets
        ]

    return edit


def listener(**members: Any) -> Edit:
    """Members of a node's only listener."""

    def edit(spec: dict[str, Any]) -> None:
        spec["listeners"][0].update(members)

    return edit


def backend(spec: dict[str, Any]) -> None:
    """One more backend."""
    spec["backends"].append({"virtualService": {"virtualServiceName": NEW_SERVICE.name}})


def changes(base: State, number: int) -> tuple[State, ...]:
    """Ten states, each one change from the one before; the last is `base` with other weights."""
    shifted = edited(base, EVERYBODY, weights(50 + number, 50 - number))
    match = {"prefix": "/quotes", "headers": [{"name": "x-quote", "match": {"prefix": "q"}}]}
    action = {"weightedTargets": [{"virtualNode": "payment-v1", "weight": 1}]}
    routed = added(shifted, NEW_ROUTE, {"priority": 0, "httpRoute": {"match": match, "action": action}})
    provider = {"virtualRouter": {"virtualRouterName": "payment"}}
    called = edited(added(routed, NEW_SERVICE, {"provider": provider}), WEB, backend)
    # The new version is found where the second one runs: nothing has to be started for it.
    v3 = msgspec.json.decode(msgspec.json.encode(encode(base[Key("shop", Kind.VIRTUAL_NODE, "payment-v2")].spec)))
    versioned = edited(added(called, NEW_NODE, v3), EVERYBODY, weights(20, 20, (NEW_NODE.name, 60)))
    check = {"protocol": "http", "path": "/", "healthyThreshold": 2, "unhealthyThreshold": 2}
    checked = edited(
        versioned,
        V1,
        listener(healthCheck={**check, "intervalMillis": 5000, "timeoutMillis": 2000}),
    )
    limited = edited(checked, ORDERS, listener(connectionPool={"http": {"maxConnections": 500 + number}}))
    timed = edited(limited, WEB, listener(timeout={"http": {"perRequest": {"unit": "s", "value": 11 + number % 5}}}))
    unversioned = edited(timed, EVERYBODY, weights(30, 70)).drop(NEW_NODE)
    uncalled = edited(unversioned, WEB, lambda spec: spec["backends"].pop()).drop(NEW_SERVICE, NEW_ROUTE)
    return (
        shifted, routed, called, versioned, checked, limited, timed, unversioned, uncalled,
        edited(base, EVERYBODY, weights(90 - number, 10 + number)),
    )  # fmt: skip


class Load:
    """Customers who never pause: how many came, and what went wrong for whom."""

    def __init__(self) -> None:
        self.sent = 0
        self.failed: list[object] = []
        self._stop = asyncio.Event()
        self._served = asyncio.Event()

    async def more(self, count: int) -> None:
        """Return once `count` more customers were served."""
        async with asyncio.timeout(60):
            wanted = self.sent + count
            while self.sent < wanted:
                self._served.clear()
                await self._served.wait()

    async def customer(self, lab: Lab) -> None:
        """Ask for the home page until told to stop."""
        while not self._stop.is_set():
            reply = await lab.request(HOME)
            self.sent += 1
            self._served.set()
            if not reply.ok:
                self.failed.append([(one.node, one.status, one.fault) for one in reply.walk() if one.status != 200])

    @contextlib.asynccontextmanager
    async def on(self, lab: Lab) -> AsyncIterator[None]:
        """Keep customers coming while the block runs."""
        self._stop.clear()
        customers = [asyncio.create_task(self.customer(lab)) for _ in range(CUSTOMERS)]
        try:
            yield
        finally:
            self._stop.set()
            await asyncio.gather(*customers)


def shop() -> State:
    """The shop's definitions, in which nothing is tried twice."""
    project = load_project(SHOP / "meshwright.yaml")
    return without_retries(load(project.definitions, project.load_settings()).state)


async def updates(instance: Instance) -> dict[str, int]:
    """How many updates an Envoy has taken over xDS since it started; DNS counts its own under `cluster.`."""
    text = await instance.look("/stats?format=json&filter=update_success$")
    assert text is not None
    found = {one["name"]: one["value"] for one in json.loads(text)["stats"] if "name" in one}
    return {name: value for name, value in found.items() if not name.startswith("cluster.")}


async def counted(lab: Lab, name: str) -> int:
    """The sum of a counter over every Envoy of the lab."""
    total = 0
    for one in lab.fleet.instances:
        text = await one.look(f"/stats?format=json&filter=^{name}$")
        assert text is not None
        total += sum(item["value"] for item in json.loads(text)["stats"] if "name" in item)
    return total


async def test_fifty_changes_of_weights_routes_backends_and_nodes_fail_no_request() -> None:
    """Each change is acked by every Envoy it concerns before the next one comes; customers notice none of them."""
    base, load_ = shop(), Load()
    async with Lab(base, stack="shop", instances={"payment-v1": 2}) as lab:
        made = 0
        async with load_.on(lab):
            for number in range(ROUNDS):
                for state in changes(base, number % 40):
                    await lab.propagated(await lab.apply(state))
                    made += 1
        assert await counted(lab, r"cluster\..*upstream_rq_retry") == 0, "nor does a default retry hide one"
    assert made == ROUNDS * 10 >= 50
    assert load_.failed == []
    assert load_.sent > made


async def test_a_control_plane_killed_between_changes_fails_no_request_and_resends_nothing() -> None:
    """Envoys serve on without it; those that come back with what they have are sent not one resource again."""
    base, load_ = shop(), Load()
    async with Lab(base, stack="shop", instances={"payment-v1": 2}) as lab, load_.on(lab):
        for state in changes(base, 1)[:3]:
            await lab.propagated(await lab.apply(state))
        for _ in range(5 if PROVE else 2):
            before = {one.name: await updates(one) for one in lab.fleet.instances}
            await lab.control.kill()
            await load_.more(20)
            await lab.control.start()
            await lab.connected()
            assert {one.name: await updates(one) for one in lab.fleet.instances} == before
        for number, state in enumerate(changes(base, 2)):
            # Killed while it writes, pushes, or just after: what was not answered is asked for again.
            applying = asyncio.create_task(lab.apply(state))
            if number % 4 == 1:
                await asyncio.sleep(0.005 * number)
                await lab.control.kill()
                await lab.control.start()
            with contextlib.suppress(UnreachableError):
                await applying
            await lab.propagated(await lab.apply(state))
    assert load_.failed == []
