"""Trials of what nodes have of their own, limits, pools, counted errors, where a route leads to several of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.model import Key, Kind, State
from meshwright.trials.coverage import coverage
from meshwright.trials.judging import judge
from meshwright.trials.seen import Attempt, CallSeen, Seen
from meshwright.trials.trial import Bounds, Suite
from shop_load import edited
from strategies import MESH, Wire, resource
from test_trials import derived

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.model import Resource
    from meshwright.trials.judging import Result
    from meshwright.trials.trial import Trial

FAST, SLOW, NARROW, WIDE = (Key(MESH, Kind.VIRTUAL_NODE, name) for name in ("fast", "slow", "narrow", "wide"))


def milliseconds(value: int) -> Wire:
    """A duration."""
    return {"unit": "ms", "value": value}


def limit(value: int) -> Wire:
    """What a listener has that answers within so many milliseconds."""
    return {"timeout": {"http": {"perRequest": milliseconds(value)}}}


def pool(connections: int, waiting: int) -> Wire:
    """What a listener has that takes so many calls at once."""
    return {"connectionPool": {"http": {"maxConnections": connections, "maxPendingRequests": waiting}}}


def counted(errors: int) -> Wire:
    """What a listener has whose instances are ejected after so many errors."""
    times = {"baseEjectionDuration": milliseconds(30_000), "interval": milliseconds(1_000)}
    return {"outlierDetection": {**times, "maxEjectionPercent": 50, "maxServerErrors": errors}}


def routed(router: str, nodes: Mapping[str, tuple[int, Wire]], **more: Wire) -> list[Resource]:
    """A service whose only route leads to nodes, each with its weight and what its listener has."""
    port = {"portMapping": {"port": 8080, "protocol": "http"}}
    parts = [{"virtualNode": name, "weight": weight} for name, (weight, _) in nodes.items()]
    route = {"match": {"prefix": "/"}, "action": {"weightedTargets": parts}, **more}
    provider = {"provider": {"virtualRouter": {"virtualRouterName": router}}}
    found = [
        resource(Kind.VIRTUAL_ROUTER, router, {"listeners": [port]}),
        resource(Kind.ROUTE, "all", {"httpRoute": route}, parent=router),
        resource(Kind.VIRTUAL_SERVICE, f"{router}.local", provider),
    ]
    for name, (_, has) in nodes.items():
        dns = {"dns": {"hostname": f"{name}.nodes", "responseType": "ENDPOINTS"}}
        spec = {"listeners": [{**port, **has}], "serviceDiscovery": dns}
        found.append(resource(Kind.VIRTUAL_NODE, name, spec))
    return found


def mesh(*, slowly: int = 1_200, weights: tuple[int, int] = (60, 40), **route: Wire) -> State:
    """A caller of two services: one whose nodes have other limits, one whose nodes have other pools and policies."""
    backends = [{"virtualService": {"virtualServiceName": f"{name}.local"}} for name in ("pay", "stock")]
    return State([
        resource(Kind.MESH, MESH, {}),
        resource(Kind.VIRTUAL_NODE, "web", {"backends": backends}),
        *routed("pay", {"fast": (weights[0], limit(400)), "slow": (weights[1], limit(slowly))}, **route),
        *routed("stock", {"narrow": (50, pool(2, 1) | counted(3)), "wide": (50, pool(3, 2) | counted(5))}),
    ])  # fmt: skip


def of_nodes(state: State) -> dict[str, Trial]:
    """Those of the derived trials that are about one of the nodes alone, by its name and what they are about."""
    found = {}
    for one in derived(state).trials:
        for node, path in one.shows:
            if node.kind is Kind.VIRTUAL_NODE:
                found[f"{node.name} {path.split('.')[2]}"] = one
    return found


def why(state: State) -> dict[str, str]:
    """The reasons of what is not tried, by object and the last part of its field."""
    return {f"{one.route.name} {one.path.rpartition('.')[2]}": one.reason for one in derived(state).gaps}


def test_each_node_is_tried_by_calls_that_come_to_it() -> None:
    """By as many as surely do; what befalls one befalls no other, and of calls that go elsewhere nothing is asked."""
    found = of_nodes(mesh())
    assert found.keys() == {
        "fast timeout", "slow timeout",
        *(f"{name} {policy}" for name in ("narrow", "wide") for policy in ("connectionPool", "outlierDetection")),
    }  # fmt: skip
    fast, slow = found["fast timeout"], found["slow timeout"]
    assert [(one.given[0].at, one.of, one.expect.arriving_at) for one in (fast, slow)] == [
        ("fast", 8, ("fast",)),
        ("slow", 14, ("slow",)),
    ]
    assert all(len(one.given) == 1 for one in found.values())
    assert all(one.expect.given_up is not None and one.expect.given_up.hold(most)
               for one, most in ((fast, 400), (slow, 1_200)))  # fmt: skip

    def judged(*calls: tuple[str, float | None, int]) -> list[tuple[str, str]]:
        seen = tuple(
            CallSeen(
                id="", status=status, elapsed=1,
                attempts=(Attempt(node=node, instance=f"{node}-1", at=0, given_up=given_up),),
            )
            for node, given_up, status in calls
        )  # fmt: skip
        return [(one.what, one.happened) for one in judge(fast, Seen(calls=seen)).mismatches]

    assert judged(("slow", None, 200), ("fast", 420, 504)) == []
    assert judged(("slow", None, 200)) == [("arriving_at", "none arrived")]
    assert ("status", "status 200 (call 2; 1 of 2 calls)") in judged(("slow", None, 200), ("fast", None, 200))


def test_limits_of_nodes_are_told_apart_from_those_of_their_route() -> None:
    """Each route's limit that comes first somewhere is shown, and each that never does is told with its reason."""
    again = {"maxRetries": 2, "perRetryTimeout": milliseconds(700), "httpRetryEvents": ["gateway-error"]}
    state = mesh(timeout={"perRequest": milliseconds(9_000)}, retryPolicy=again)
    found = [one for one in derived(state).trials if one.expect.arriving_at]
    assert [one.name.partition(" gives up after ")[2] for one in found] == [
        "0.4 s, 3 times at fast",
        "0.7 s, 3 times at slow",
    ]
    assert [one.expect.attempts for one in found] == [Bounds(least=3, most=3)] * 2
    assert [[path.rpartition(".")[2] for _, path in one.shows] for one in found] == [
        ["perRequest"],
        ["perRetryTimeout"],
    ]
    reasons = why(state)
    assert reasons["slow perRequest"] == reasons["all perRequest"] == "another limit, of 0.7 s, comes first"
    rare = mesh(weights=(97, 3))
    assert why(rare)["slow perRequest"] == "less than 10% of the calls come to slow"
    assert "fast timeout" in of_nodes(rare)
    assert [one.expect.arriving_at for one in derived(mesh(slowly=400)).trials if one.expect.given_up] == [(), ()]


@pytest.mark.envoy
async def test_real_envoys_hold_each_node_to_its_own_and_a_change_of_one_is_found() -> None:
    """Limits, pools and counted errors, beside each other; the same trials fail where one node's are others."""
    state = mesh()
    trials = list({one.name: one for one in of_nodes(state).values()}.values())
    async with Rig(state, instances=Suite(trials=tuple(trials)).needed) as rig:
        found = await run(rig, trials, quiet)
        assert {one.trial.name: (one.mismatches, one.seen.fault) for one in found if not one.passed} == {}
        uncovered = [one.path.rpartition(".")[2] for one in coverage(rig.graph, found).policies if not one.covered]
        assert uncovered == ["baseEjectionDuration"] * 2  # which are not waited for
        changed = state
        for key, has in ((SLOW, limit(500)), (WIDE, pool(3, 1) | counted(5)), (NARROW, pool(2, 1) | counted(4))):

            def change(spec: dict[str, Any], has: Wire = has) -> None:
                spec["listeners"][0].update(has)

            changed = edited(changed, key, change)
        await rig.apply(changed)
        wrong = await run(rig, trials, quiet)
        assert {one.trial.name for one in wrong if not one.passed} == {
            of_nodes(state)[name].name for name in ("slow timeout", "wide connectionPool", "narrow outlierDetection")
        }


def quiet(_: Result) -> None:
    """Nobody looks at it."""
