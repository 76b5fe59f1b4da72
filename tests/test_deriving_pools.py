"""Trials of connection pools, as derived and on real Envoys: as much as is allowed gets through, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.model import Key, Kind, State
from meshwright.trials.coverage import coverage
from meshwright.trials.trial import Suite
from settings import PROVE
from shop_load import edited
from strategies import MESH, Wire, resource
from test_trials import derived

if TYPE_CHECKING:
    from meshwright.model import Resource
    from meshwright.trials.judging import Result
    from meshwright.trials.trial import Trial

POOLS: dict[str, tuple[str, Wire, int, int | None]] = {
    # By node: protocol, what is written, and how many calls that lets through at once and has wait.
    "queue": ("http", {"maxConnections": 2, "maxPendingRequests": 1}, 2, 1),
    "patient": ("http", {"maxConnections": 2}, 2, None),
    "streams": ("http2", {"maxRequests": 3}, 3, 0),
    "calls": ("grpc", {"maxRequests": 1}, 1, 0),
    "raw": ("tcp", {"maxConnections": 2}, 2, 0),
}
DOOR = Key(MESH, Kind.VIRTUAL_GATEWAY, "door")
CHANGES: dict[str, tuple[str, int, str]] = {
    # By node or gateway: another limit, and what a test says of it then.
    "queue": ("maxPendingRequests", 2, "2 were under way at once, and 4 were answered"),
    "calls": ("maxRequests", 2, "2 were under way at once, and 2 were answered"),
    "door": ("maxConnections", 1, "1 were under way at once, and 2 were answered"),
    "patient": ("maxConnections", 3, "3 were under way at once, and 4 were answered"),
    "streams": ("maxRequests", 2, "2 were under way at once, and 2 were answered"),
    "raw": ("maxConnections", 1, "1 were under way at once, and 1 were answered"),
}


def node(name: str) -> Key:
    """A virtual node."""
    return Key(MESH, Kind.VIRTUAL_NODE, name)


def listening(name: str, port: int, protocol: str, **more: Any) -> Resource:
    """A node with one listener."""
    listener = {"portMapping": {"port": port, "protocol": protocol}, **more}
    dns = {"hostname": f"{name}.nodes", "responseType": "ENDPOINTS"}
    return resource(Kind.VIRTUAL_NODE, name, {"listeners": [listener], "serviceDiscovery": {"dns": dns}})


def mesh() -> State:
    """A node that calls one with a pool of each kind, one of them with a part of its calls, and a gateway."""
    provided = [name for name in (*POOLS, "behind") if name != "queue"]
    names = [f"{name}.local" for name in (*provided, "shared")]
    backends = [{"virtualService": {"virtualServiceName": name}} for name in names]
    port = {"portMapping": {"port": 8080, "protocol": "http"}}
    parts = [{"virtualNode": "queue", "weight": 3, "port": 8080}, {"virtualNode": "behind", "weight": 1}]
    again = {"maxRetries": 1, "perRetryTimeout": {"unit": "s", "value": 5}, "httpRetryEvents": ["server-error"]}
    shared = {"action": {"weightedTargets": parts}, "match": {"prefix": "/"}, "retryPolicy": again}
    door = {**port, "connectionPool": {"http": {"maxConnections": 2, "maxPendingRequests": 1}}}
    inward = {
        "match": {"prefix": "/"},
        "action": {"target": {"virtualService": {"virtualServiceName": "behind.local"}}},
    }
    found = [
        resource(Kind.MESH, MESH, {}),
        resource(Kind.VIRTUAL_NODE, "caller", {"backends": backends}),
        listening("behind", 8090, "http"),
        resource(Kind.VIRTUAL_ROUTER, "shared", {"listeners": [port]}),
        resource(Kind.ROUTE, "parts", {"httpRoute": shared}, parent="shared"),
        resource(
            Kind.VIRTUAL_SERVICE, "shared.local", {"provider": {"virtualRouter": {"virtualRouterName": "shared"}}}
        ),
        resource(Kind.VIRTUAL_GATEWAY, "door", {"listeners": [door]}),
        resource(Kind.GATEWAY_ROUTE, "in", {"httpRoute": inward}, parent="door"),
    ]
    for number, (name, (protocol, pool, _, _)) in enumerate(POOLS.items(), 8080):
        found.append(listening(name, number, protocol, connectionPool={protocol: pool}))
    for name in provided:
        provider = {"provider": {"virtualNode": {"virtualNodeName": name}}}
        found.append(resource(Kind.VIRTUAL_SERVICE, f"{name}.local", provider))
    return State(found)


def of_pools(state: State) -> list[Trial]:
    """Those of the derived trials that fill pools."""
    return [one for one in derived(state).trials if one.expect.pool is not None]


def why(state: State, key: Key) -> str:
    """Why the pool of a proxy is not filled."""
    return {one.route: one.reason for one in derived(state).gaps if one.path.endswith("connectionPool")}[key]


def test_each_pool_is_filled_by_one_call_more_than_it_takes() -> None:
    """With nobody else calling there, and each call held until all are under way."""
    found = {one.about[0].name: one for one in of_pools(mesh())}
    pools = {name: one.expect.pool for name, one in found.items() if one.expect.pool is not None}
    assert {name: (pool.at_once, pool.waiting) for name, pool in pools.items()} == {
        "door": (2, 1),
        **{name: (at_once, waiting) for name, (_, _, at_once, waiting) in POOLS.items()},
    }
    assert all(one.alone for one in found.values())
    assert {name: one.of for name, one in found.items()} == {
        "queue": 11, "patient": 4, "streams": 4, "calls": 2, "raw": 3, "door": 4,
    }  # fmt: skip
    assert all(one.given[0].latency > one.of * one.apart for one in found.values())


def test_a_pool_that_is_not_filled_is_told_with_its_reason() -> None:
    """One that is too large, one whose calls are given up before, one that nobody calls, one behind another."""

    def pool(key: Key, **limits: Any) -> State:
        return edited(mesh(), key, lambda spec: spec["listeners"][0].update(connectionPool=limits))

    assert (
        why(pool(node("streams"), http2={"maxRequests": 500}), node("streams"))
        == "to fill it takes 501 calls at once"
    )
    behind = pool(node("behind"), http={"maxConnections": 1})
    assert why(behind, DOOR) == "another pool on the way to it may be full first"
    short = edited(
        mesh(),
        node("calls"),
        lambda spec: spec["listeners"][0].update(timeout={"grpc": {"perRequest": {"unit": "ms", "value": 300}}}),
    )
    assert "a limit of 0.3 s ends before" in why(short, node("calls"))
    uncalled = edited(mesh(), node("caller"), lambda spec: spec.pop("backends"))
    assert "no call was found that surely comes to it" in why(uncalled, node("raw"))


@pytest.mark.envoy
async def test_real_envoys_take_as_much_as_pools_allow_and_a_change_of_a_limit_is_found() -> None:
    """Over every protocol, of one instance and of two, at a gateway, too; another limit fails the same trial."""
    state = mesh()
    trials = of_pools(state)
    wanted = {**Suite(trials=tuple(trials)).needed, "queue": 2}
    changed = state
    for name in (*CHANGES,) if PROVE else (*CHANGES,)[:3]:
        member, limit, _ = CHANGES[name]
        key = DOOR if name == "door" else node(name)

        def change(spec: dict[str, Any], member: str = member, limit: int = limit) -> None:
            (pool,) = spec["listeners"][0]["connectionPool"].values()
            pool[member] = limit

        changed = edited(changed, key, change)
    async with Rig(state, instances=wanted) as rig:
        found = await run(rig, trials, quiet)
        assert {one.trial.name: (one.mismatches, one.seen.fault) for one in found if not one.passed} == {}
        shown = [one for one in coverage(rig.graph, found).policies if one.path.endswith("connectionPool")]
        assert len(shown) == len(POOLS) + 1
        assert all(one.covered for one in shown)
        await rig.apply(changed)
        names = tuple(CHANGES) if PROVE else tuple(CHANGES)[:3]
        wrong = await run(rig, [one for one in trials if one.about[0].name in names], quiet)
        assert {one.trial.about[0].name: one.mismatches[-1].happened for one in wrong} == {
            name: CHANGES[name][2] for name in names
        }


def quiet(_: Result) -> None:
    """Nobody looks at it."""
