"""Calls through connection pools: a test overflows one only where it asks for it."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from meshwright.graph import resolve
from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.model import Key, Kind, State
from meshwright.simulate import Call
from meshwright.trials.pools import passed
from meshwright.trials.trial import Expect, FaultKind, Given, Suite, Trial
from strategies import MESH, Wire, resource
from test_trials import derived

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.model import Resource
    from meshwright.trials.judging import Result

POOLS: dict[str, tuple[str, Wire]] = {
    "queue": ("http", {"maxConnections": 3, "maxPendingRequests": 1}),
    "streams": ("http2", {"maxRequests": 1}),
    "calls": ("grpc", {"maxRequests": 2}),
    "raw": ("tcp", {"maxConnections": 1}),
}
CALLERS = ("web", "cart")
SECOND = {"unit": "s", "value": 1}
OUTLIER = {"baseEjectionDuration": SECOND, "interval": SECOND, "maxEjectionPercent": 50, "maxServerErrors": 1}
WEB, CART, STREAMS = (Key(MESH, Kind.VIRTUAL_NODE, name) for name in ("web", "cart", "streams"))
OVERFLOWS = ("http.*pending", "http2.*active", "grpc.*active", "tcp.*cx")
"""Envoy's counters of what a circuit breaker turned away.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats
"""


def pooled(name: str, port: int) -> Iterable[Resource]:
    """A node with a pool whose callers count errors, behind a route that tries again and gives up."""
    protocol, pool = POOLS[name]
    mapping = {"portMapping": {"port": port, "protocol": protocol}}
    listener: dict[str, Any] = {**mapping, "connectionPool": {protocol: pool}, "outlierDetection": OUTLIER}
    dns = {"hostname": f"{name}.nodes", "responseType": "ENDPOINTS"}
    route: dict[str, Any] = {"action": {"weightedTargets": [{"virtualNode": name, "weight": 1}]}}
    if protocol == "tcp":
        route["timeout"] = {"idle": SECOND}
    else:
        route["match"] = {} if protocol == "grpc" else {"prefix": "/"}
        route["timeout"] = {"perRequest": SECOND}
        route["retryPolicy"] = {
            "maxRetries": 2, "perRetryTimeout": {"unit": "ms", "value": 300}, "httpRetryEvents": ["server-error"],
            "tcpRetryEvents": ["connection-error"],
        }  # fmt: skip
        listener["timeout"] = {protocol: {"perRequest": {"unit": "s", "value": 5}}}
    yield resource(Kind.VIRTUAL_NODE, name, {"listeners": [listener], "serviceDiscovery": {"dns": dns}})
    yield resource(Kind.VIRTUAL_ROUTER, name, {"listeners": [mapping]})
    yield resource(Kind.ROUTE, "all", {f"{protocol}Route": route}, parent=name)
    yield resource(
        Kind.VIRTUAL_SERVICE, f"{name}.local", {"provider": {"virtualRouter": {"virtualRouterName": name}}}
    )


def mesh() -> State:
    """Several callers of nodes with small pools."""
    backends = [{"virtualService": {"virtualServiceName": f"{name}.local"}} for name in POOLS]
    found = [resource(Kind.MESH, MESH, {})]
    found += [resource(Kind.VIRTUAL_NODE, name, {"backends": backends}) for name in CALLERS]
    found += [one for port, name in enumerate(POOLS, 8080) for one in pooled(name, port)]
    return State(found)


def quiet(_: Result) -> None:
    """Nobody looks at it."""


async def turned_away(rig: Rig) -> dict[str, int]:
    """How many requests and connections the pools of nodes turned away, by node."""
    return {name: sum(await asyncio.gather(*map(_overflows, _nodes(rig, name)))) for name in POOLS}


def _nodes(rig: Rig, name: str) -> Iterable[Any]:
    return rig.instances(Key(MESH, Kind.VIRTUAL_NODE, name))


async def _overflows(instance: Any) -> int:
    told = await instance.look(f"/stats?filter=^cluster.cds_ingress_.*({'|'.join(OVERFLOWS)})_overflow$")
    return sum(int(line.rpartition(": ")[2]) for line in told.splitlines())


def test_what_a_call_passes_is_what_simulation_says() -> None:
    """With the pools of services that workloads call in turn; a pool that is safe for one call takes that one."""
    graph = resolve(mesh())
    call = Call(host="queue.local", port=8080)
    found = {place[0].name: pool.safe for place, pool in passed(graph, WEB, call).items()}
    assert found == {"queue": 1}
    assert passed(graph, WEB, Call(host="nobody.local", port=8080)) == {}
    streams = Call(protocol="http2", host="streams.local", port=8081)
    assert [pool.safe for pool in passed(graph, WEB, streams).values()] == [1]


@pytest.mark.envoy
@pytest.mark.timeout(240)
async def test_no_call_is_turned_away_by_a_pool_unless_its_test_asks_for_more_than_that_takes() -> None:
    """Over every protocol, beside calls that are held, given up and tried again, from several callers.

    A test that asks for more at once gets it, and nobody else feels that its callers count what is turned away.
    """
    state = mesh()
    every = derived(state).trials
    plain = [one for one in every if one.expect.pool is None]
    burst = Trial(
        name="burst",
        call=Call(protocol="http2", host="streams.local", port=8081, headers=(("x-user", "burst"),)),
        expect=Expect(errors=6),
        caller=WEB,
        given=(Given(kind=FaultKind.LATENCY, at="streams", latency=600, headers={"x-user": "burst"}),),
        of=6,
        at_once=6,
    )
    fine = Trial(name="fine", call=replace(burst.call, headers=()), expect=Expect(statuses=(200,)), caller=WEB, of=20)
    async with Rig(state, instances=Suite(trials=every).needed) as rig:
        found = await run(rig, plain, quiet)
        assert await turned_away(rig) == dict.fromkeys(POOLS, 0)
        assert {one.trial.name: (one.mismatches, one.seen.fault) for one in found if not one.passed} == {}
        asked, untouched = await run(rig, [burst, fine], quiet)
        assert (asked.outcome, untouched.outcome) == ("passed", "passed")
        assert {one.status for one in asked.seen.calls} >= {503}
        assert (await turned_away(rig))["streams"] > 0


@pytest.mark.envoy
async def test_a_tcp_connection_that_is_not_closed_yet_keeps_its_place() -> None:
    """The caller is done before the connection is: of many calls, a few at a time, none is turned away.

    Each is over a little after its answer, at a workload that trickles. Meanwhile somebody else has a place whose
    call has not come yet, since its proxy stands still: what the pool's proxy counts leaves room for one more.
    """
    listener = {"portMapping": {"port": 8083, "protocol": "tcp"}, "connectionPool": {"tcp": {"maxConnections": 3}}}
    dns = {"hostname": "raw.nodes", "responseType": "ENDPOINTS"}
    route = {"tcpRoute": {"action": {"weightedTargets": [{"virtualNode": "raw", "weight": 1}]}}}
    wider = (
        resource(Kind.VIRTUAL_NODE, "raw", {"listeners": [listener], "serviceDiscovery": {"dns": dns}}),
        resource(Kind.ROUTE, "all", route, parent="raw"),
    )
    state = State(({one.key: one for one in mesh()} | {one.key: one for one in wider}).values())
    call = Call(protocol="tcp", host="raw.local", port=8083)
    many = Trial(name="many", call=call, expect=Expect(statuses=(200,)), caller=WEB, of=200)
    late = Given(kind=FaultKind.LATENCY, at="raw", latency=1_000, headers={"x-user": "late"})
    marked = replace(call, headers=(("x-user", "late"),))
    held = replace(many, name="held", call=marked, caller=CART, given=(late,), of=1)
    async with Rig(state) as rig, rig.fault(Given(kind=FaultKind.BANDWIDTH, at="raw", bandwidth=20_000)):
        (caller,) = rig.instances(CART)
        assert caller.envoy is not None
        proxy = caller.envoy.pid
        os.kill(proxy, signal.SIGSTOP)
        try:
            found = await run(rig, [held, many], lambda _: os.kill(proxy, signal.SIGCONT))
        finally:
            os.kill(proxy, signal.SIGCONT)
        assert await turned_away(rig) == dict.fromkeys(POOLS, 0)
    assert [(one.outcome, one.mismatches, one.again) for one in found] == [("passed", (), False)] * 2
