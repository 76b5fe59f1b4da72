"""The observed graph: real Envoys under traffic, and every call is counted once."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from envoys import until
from meshwright.lab.exchange import Fault, Request
from meshwright.lab.lab import Lab
from meshwright.lab.workload import CALLS_HEADER, call
from meshwright.model.identity import Key, Kind
from meshwright.model.state import Resource, State
from meshwright.plan import decoded
from meshwright.views.observed import Counted
from shop_load import alone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.lab.instance import Instance
    from meshwright.views.observed import Call, Observed

pytestmark = pytest.mark.envoy

WEB, CART, STOCK, LEDGER = (f"mesh/shop/virtualNode/{name}" for name in ("web", "cart", "stock", "ledger"))


def one(kind: Kind, name: str, spec: dict[str, Any], parent: str = "") -> Resource:
    """An object of the mesh `shop`."""
    return decoded(Key("shop", kind, name, parent), spec, {})


def node(name: str, protocol: str, *backends: str) -> Resource:
    """A node that calls `backends`, each provided by the node of that name."""
    services = [{"virtualService": {"virtualServiceName": f"{name}.local"}} for name in backends]
    spec = {
        "listeners": [{"portMapping": {"port": 8080, "protocol": protocol}}],
        "serviceDiscovery": {"dns": {"hostname": f"{name}.local", "responseType": "ENDPOINTS"}},
        "backends": services,
    }
    return one(Kind.VIRTUAL_NODE, name, spec)


def objects() -> Iterator[Resource]:
    """`web` calls `cart` and `stock` over HTTP; `cart` may call `ledger` over TCP."""
    yield one(Kind.MESH, "shop", {})
    yield node("web", "http", "cart", "stock")
    yield node("cart", "http", "ledger")
    yield node("stock", "http")
    yield node("ledger", "tcp")
    for name in ("cart", "stock", "ledger"):
        provider = {"virtualNode": {"virtualNodeName": name}}
        yield one(Kind.VIRTUAL_SERVICE, f"{name}.local", {"provider": provider})


def between(observed: Observed, caller: str, callee: str) -> Call:
    """What is said of one pair."""
    return next(found for found in observed.calls if (found.caller, found.callee) == (caller, callee))


async def seen(lab: Lab) -> Observed:
    """The observed graph now."""
    return await asyncio.to_thread(lab.client().calls, "shop", 5)


async def requests(caller: Instance, service: str, count: int) -> float:
    """That many requests of one node's application, ten at a time, which is not called on behalf of.

    Returns:
        The milliseconds that ten of them took at most.
    """
    request = Request(authority=service, path="/", headers={CALLS_HEADER: "none"})
    slowest = 0.0
    for _ in range(count // 10):
        began = time.monotonic()
        await asyncio.gather(*(call("http", caller.machine.egress, 8080, request) for _ in range(10)))
        slowest = max(slowest, (time.monotonic() - began) * 1000)
    return slowest


async def test_every_call_is_counted_once() -> None:
    """Requests, errors, connections and latency, over a restart of the control plane and of a connection to it."""
    async with Lab(State(objects())) as lab:
        nodes = {found.role.key.name: found for found in lab.fleet.instances}
        await until(lambda: watched(lab), "every proxy reports")
        slowest = await requests(nodes["web"], "cart.local", 200)
        cart = lab.workloads("cart")[0]
        cart.fault = Fault(status=500)
        slowest = max(slowest, await requests(nodes["web"], "cart.local", 30))
        cart.fault = Fault(delay=0.2)
        slowest = max(slowest, await requests(nodes["web"], "cart.local", 20))
        tcp = [call("tcp", nodes["cart"].machine.egress, 8080, Request(authority="ledger.local")) for _ in range(7)]
        await asyncio.gather(*tcp)

        async def told() -> bool:
            observed = await seen(lab)
            web = between(observed, WEB, CART)
            return web.total.requests >= 250 and web.latency is not None and web.latency.count >= 250

        await until(told, "what was sent is reported")
        observed = await seen(lab)
        web = between(observed, WEB, CART)
        assert (web.total.requests, web.total.successes, web.total.errors, web.total.unconnected) == (250, 220, 30, 0)
        assert web.window == web.total
        assert web.declared
        assert web.services == ("cart.local",)
        assert web.in_flight == 0
        assert web.latency is not None
        assert web.latency.count == 250
        # The end of an interval of Envoy's is at most two and a half times what is in it.
        assert web.latency.p50 < 200 <= web.latency.p99 <= 2.5 * slowest
        assert between(observed, CART, LEDGER).total.requests == 7
        assert between(observed, WEB, STOCK).total.requests == 0
        assert observed.unwatched == ()
        assert [found.rule for found in observed.findings] == []


async def watched(lab: Lab) -> bool:
    """Whether a proxy of every caller reports."""
    return not (await seen(lab)).unwatched


async def test_what_is_counted_until_a_proxy_is_back_is_told_with_its_first_report() -> None:
    """After an outage of the control plane; what was told before went with the old process.

    Envoy looks for it every five seconds, and what each look in vain would have told is gone.
    """
    async with Lab(State(objects())) as lab:
        nodes = {found.role.key.name: found for found in lab.fleet.instances}
        await until(lambda: watched(lab), "every proxy reports")
        await requests(nodes["web"], "cart.local", 50)
        await counted(lab, 50)
        before = await seen(lab)
        await lab.control.kill()
        await alone(lab)  # until then a report may be on its way to nobody
        await lab.control.start()
        await requests(nodes["web"], "cart.local", 40)
        await until(lambda: watched(lab), "every proxy reports again")
        await requests(nodes["web"], "cart.local", 20)
        await counted(lab, 60)
        after = await seen(lab)
        assert after.since > before.since
        assert between(after, WEB, CART).total == Counted(requests=60, successes=60, errors=0, unconnected=0)


async def test_what_cannot_be_reached_and_what_is_not_declared_any_more_is_seen() -> None:
    """Requests to a proxy that is gone found no connection, thrice each; a backend that is taken out leaves calls."""
    async with Lab(State(objects())) as lab:
        nodes = {found.role.key.name: found for found in lab.fleet.instances}
        await until(lambda: watched(lab), "every proxy reports")
        await requests(nodes["web"], "stock.local", 10)
        stock = nodes["stock"].envoy
        assert stock is not None
        await stock.kill()
        await requests(nodes["web"], "stock.local", 30)

        async def told() -> bool:
            return between(await seen(lab), WEB, STOCK).total.requests >= 100

        await until(told, "what was sent is reported")
        told_of = between(await seen(lab), WEB, STOCK)
        assert told_of.total == Counted(requests=100, successes=10, errors=90, unconnected=90)
        assert not (await seen(lab)).findings
        await lab.apply(State(objects()).put(node("web", "http", "cart")))
        observed = await seen(lab)
        assert not between(observed, WEB, STOCK).declared
        assert [(one.rule, one.subject) for one in observed.findings] == [("MW302", WEB)]
        assert "100 requests so far" in observed.findings[0].summary
        code, text = await printed(lab)
        assert code == 1
        assert "not declared" in text
        assert "warning MW302" in text
        for form, begins in (("mermaid", "flowchart LR"), ("dot", "digraph"), ("svg", "<svg"), ("json", "{")):
            assert (await printed(lab, "--format", form))[1].startswith(begins)


async def printed(lab: Lab, *more: str) -> tuple[int, str]:
    """What `meshwright graph --observed` says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "meshwright.cli", "--endpoint", lab.control.url),
        *("graph", "--observed", "--mesh", "shop", *more),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "AWS_SHARED_CREDENTIALS_FILE": str(lab.control.credentials)},
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def counted(lab: Lab, count: int) -> None:
    """Wait until so many requests from `web` to `cart` were reported."""

    async def told() -> bool:
        return between(await seen(lab), WEB, CART).total.requests >= count

    await until(told, f"{count} requests are reported")
