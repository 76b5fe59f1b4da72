"""Calls are waited for as long as the mesh lets them last: who decides how one ends is the mesh."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

import settings
from meshwright.graph import resolve
from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.model import Key, Kind, State
from meshwright.simulate import Call
from meshwright.trials.lasting import lasting
from meshwright.trials.trial import Bounds, Expect, FaultKind, Given, Trial
from strategies import MESH, resource

WEB = Key(MESH, Kind.VIRTUAL_NODE, "web")
PAY, MID = (Call(host=f"{name}.local", port=8080) for name in ("pay", "mid"))


def late(seconds: float, node: str = "pay", **members: Any) -> Given:
    """Answers of a node that come late."""
    return Given(kind=FaultKind.LATENCY, at=node, latency=int(seconds * 1_000), **members)


SILENT = Given(kind=FaultKind.BLACKHOLE, at="pay")
FAILING = Given(kind=FaultKind.ABORT, at="pay", status=503)


def limited(seconds: int) -> dict[str, Any]:
    """A limit for a whole request; none for 0, and none of idleness."""
    none = {"unit": "s", "value": 0}
    return {"http": {"perRequest": {"unit": "s", "value": seconds}, "idle": none}}


def mesh(limit: int = 23, retries: dict[str, Any] | None = None) -> State:
    """A node that calls another, by itself and by a third one; that other one's route has a limit, in seconds."""
    resources = [resource(Kind.MESH, MESH, {})]
    backends = {"web": ("pay", "mid"), "mid": ("pay",), "pay": ()}
    for name, callees in backends.items():
        listener = {"portMapping": {"port": 8080, "protocol": "http"}, "timeout": limited(0)}
        discovery = {"dns": {"hostname": f"{name}.nodes", "responseType": "ENDPOINTS"}}
        called = [{"virtualService": {"virtualServiceName": f"{one}.local"}} for one in callees]
        node = {"listeners": [listener], "serviceDiscovery": discovery, "backends": called}
        resources.append(resource(Kind.VIRTUAL_NODE, name, node))
    for name, seconds in (("pay", limit), ("mid", 40)):
        action = {"weightedTargets": [{"virtualNode": name, "weight": 1}]}
        route = {"action": action, "match": {"prefix": "/"}, "timeout": limited(seconds)["http"]}
        policy = {"retryPolicy": retries} if retries and name == "pay" else {}
        provider = {"provider": {"virtualRouter": {"virtualRouterName": name}}}
        listener = {"portMapping": {"port": 8080, "protocol": "http"}}
        resources += [
            resource(Kind.VIRTUAL_ROUTER, name, {"listeners": [listener]}),
            resource(Kind.ROUTE, "all", {"httpRoute": {**route, **policy}}, parent=name),
            resource(Kind.VIRTUAL_SERVICE, f"{name}.local", provider),
        ]
    return State(resources)


THRICE = {
    "maxRetries": 2,
    "perRetryTimeout": {"unit": "s", "value": 10},
    "httpRetryEvents": ["server-error"],
}


@pytest.mark.parametrize(
    ("limit", "retries", "given", "least", "most"),
    [
        (23, None, [], 0, 0),
        (23, None, [FAILING], 0, 0),
        (23, None, [late(21)], 21_000, 21_000),
        (23, None, [late(21, jitter=500)], 21_500, 21_500),
        (23, None, [late(25)], 23_000, 23_000),
        (23, None, [SILENT], 23_000, 23_000),
        (90, THRICE, [SILENT], 31_600, 90_000),
        (23, THRICE, [SILENT], 23_000, 23_000),
        (90, THRICE, [late(5)], 5_000, 5_000),
        (90, THRICE, [late(5), FAILING], 5_000, 15_100),
        (0, None, [late(25)], 25_000, 25_000),
        (0, None, [SILENT], 0, 0),
    ],
)
def test_how_long_a_call_lasts_follows_from_limits_retries_and_faults(
    limit: int, retries: dict[str, Any] | None, given: list[Given], least: int, most: int
) -> None:
    """An answer ends it, or a limit; tries add up, and nothing ends what nothing limits."""
    assert lasting(resolve(mesh(limit, retries)), WEB, PAY, given) == Bounds(least=least, most=most)


def asked(name: str, expect: Expect, *given: Given, call: Call = PAY, onward: tuple[str, ...] = ()) -> Trial:
    """One call of the web node's."""
    return Trial(name=name, call=call, caller=WEB, expect=expect, given=given, onward=onward)


@pytest.mark.envoy
async def test_calls_that_last_too_long_are_told_to_be_and_hold_nobody_up() -> None:
    """What a run waits for at most is said; what lasts no longer runs beside."""
    trials = (
        asked("long", Expect(statuses=(504,)), replace(SILENT, headers={"x-a": "b"})),
        asked("short", Expect(statuses=(200,)), late(1.5)),
    )
    async with Rig(mesh()) as rig:
        long, short = await run(rig, trials, lambda _: None, longest=2)
    assert (long.outcome, short.outcome) == ("broken", "passed")
    assert long.seen.fault == (
        "its calls last 23 s, and none is waited for longer than 2 s; --patience 23 waits for them"
    )


@pytest.mark.envoy
@pytest.mark.skipif(not settings.PROVE, reason="MESHWRIGHT_PROVE=1 waits for limits of 23 s")
async def test_a_limit_of_more_than_twenty_seconds_ends_a_call_and_its_caller_does_not() -> None:
    """Of calls that workloads on the way make, too."""
    mark = {"x-mark": "one"}
    marked = replace(MID, headers=tuple(mark.items()))
    onward = Expect(statuses=(200,), path=("web", "mid", "pay"))
    trials = (
        asked("in turn", onward, late(21.5, headers=mark), call=marked, onward=("pay.local",)),
        asked("silent", Expect(statuses=(504,), attempts=Bounds(least=1, most=1)), SILENT),
        asked("late", Expect(statuses=(200,)), late(21.5)),
    )
    async with Rig(mesh()) as rig:
        results = await run(rig, trials, lambda _: None)
    assert [(one.outcome, one.mismatches, one.again) for one in results] == [("passed", (), False)] * 3
