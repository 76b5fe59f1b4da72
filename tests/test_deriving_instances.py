"""Trials of single instances, as derived and on real Envoys: who is ill or errs is left alone, and returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.model import Key, Kind, State
from meshwright.trials.coverage import coverage
from meshwright.trials.trial import Bounds, Suite
from shop_load import edited
from strategies import MESH, Wire, resource
from test_trials import derived

if TYPE_CHECKING:
    from meshwright.trials.judging import Result
    from meshwright.trials.trial import Trial

CHECKED, ERRING, BOTH = (Key(MESH, Kind.VIRTUAL_NODE, name) for name in ("checked", "erring", "both"))
SECONDS = {"unit": "s", "value": 2}
CHECK = {
    "protocol": "http", "path": "/ping",
    "healthyThreshold": 2, "unhealthyThreshold": 2, "intervalMillis": 5_000, "timeoutMillis": 2_000,
}  # fmt: skip
OUTLIER = {
    "baseEjectionDuration": SECONDS, "interval": {"unit": "s", "value": 1},
    "maxEjectionPercent": 50, "maxServerErrors": 3,
}  # fmt: skip


def mesh(response: str = "ENDPOINTS") -> State:
    """A node that calls two others: one whose health is checked, one whose errors are counted."""
    listeners = {
        "checked": ("http", {"healthCheck": CHECK}),
        "erring": ("http2", {"outlierDetection": OUTLIER}),
        "both": ("grpc", {"healthCheck": {**CHECK, "protocol": "grpc"}, "outlierDetection": OUTLIER}),
    }
    resources = [resource(Kind.MESH, MESH, {})]
    backends = [{"virtualService": {"virtualServiceName": f"{name}.local"}} for name in listeners]
    resources.append(resource(Kind.VIRTUAL_NODE, "caller", {"backends": backends}))
    for port, (name, (protocol, more)) in enumerate(listeners.items(), 8080):
        listener: Wire = {"portMapping": {"port": port, "protocol": protocol}, **more}
        dns = {"hostname": f"{name}.nodes", "responseType": response}
        spec = {"listeners": [listener], "serviceDiscovery": {"dns": dns}}
        provider = {"provider": {"virtualNode": {"virtualNodeName": name}}}
        resources += [
            resource(Kind.VIRTUAL_NODE, name, spec),
            resource(Kind.VIRTUAL_SERVICE, f"{name}.local", provider),
        ]
    return State(resources)


def of_instances(state: State) -> list[Trial]:
    """Those of the derived trials that are about single instances."""
    return [one for one in derived(state).trials if one.expect.avoided or one.expect.ejected]


def test_a_health_check_and_outlier_detection_are_tried_at_one_of_two_instances() -> None:
    """By a caller's own second instance, where errors are counted: nobody else's errors are among them."""
    trials = of_instances(mesh())
    assert [one.about for one in trials] == [(BOTH,), (BOTH,), (CHECKED,), (ERRING,)]
    assert Suite(trials=tuple(trials)).needed == {"caller": 3, "checked": 2, "erring": 2, "both": 2}
    assert not any(one.alone for one in trials)
    errs = trials[3]
    assert errs.expect.ejected is not None
    assert errs.expect.ejected.errors == 3
    assert errs.expect.ejected.away == Bounds(least=1_800, most=3_900)
    (longer,) = [one for one in of_instances(ejecting(3_000)) if one.about == (ERRING,)]
    assert longer.expect.ejected is not None
    assert longer.expect.ejected.away == Bounds(least=2_700, most=4_900)  # and not the six seconds of another policy


def test_what_is_not_tried_is_told_with_its_reason() -> None:
    """Every policy that is written and that no trial shows."""
    state = mesh("LOADBALANCER")
    assert of_instances(state) == []
    found = {one.path: one.reason for one in derived(state).gaps}
    assert "one address of it at a time" in found["spec.listeners[0].healthCheck"]
    assert "one address of it at a time" in found["spec.listeners[0].outlierDetection.maxServerErrors"]
    tcp = edited(mesh(), CHECKED, lambda spec: spec["listeners"][0]["healthCheck"].update(protocol="tcp"))
    assert "no more than a connection" in {one.route: one.reason for one in derived(tcp).gaps}[CHECKED]
    long = edited(
        mesh(),
        ERRING,
        lambda spec: spec["listeners"][0]["outlierDetection"]["baseEjectionDuration"].update(value=300),
    )
    assert {one.path: one.reason for one in derived(long).gaps}[
        "spec.listeners[0].outlierDetection.baseEjectionDuration"
    ] == "300 s and a look every 1 s are not waited for"


def ejecting(base: int, *, errors: int = 3, weight: int = 0) -> State:
    """The same, with so many milliseconds of ejection; with `weight`, that part of a hundred goes to who errs."""
    duration = {"unit": "ms", "value": base}
    policy = {**OUTLIER, "baseEjectionDuration": duration, "maxServerErrors": errors}
    state = edited(mesh(), ERRING, lambda spec: spec["listeners"][0].update(outlierDetection=policy))
    if not weight:
        return state
    port = {"portMapping": {"port": 8081, "protocol": "http2"}}
    parts = [{"virtualNode": "erring", "weight": weight}, {"virtualNode": "also", "weight": 100 - weight}]
    route = {"http2Route": {"match": {"prefix": "/"}, "action": {"weightedTargets": parts}}}
    also = {"listeners": [port], "serviceDiscovery": {"dns": {"hostname": "also.nodes"}}}
    return state.put(
        resource(Kind.VIRTUAL_NODE, "also", also),
        resource(Kind.VIRTUAL_ROUTER, "shared", {"listeners": [port]}),
        resource(Kind.ROUTE, "parts", route, parent="shared"),
        resource(
            Kind.VIRTUAL_SERVICE, "erring.local", {"provider": {"virtualRouter": {"virtualRouterName": "shared"}}}
        ),
    )


@pytest.mark.parametrize(
    ("state", "every", "least"),
    [
        (ejecting(1_000), 50, 900),
        (ejecting(2_000), 100, 1_800),
        (ejecting(30_000), 100, 1_500),
        (ejecting(30_000, errors=5, weight=50), 50, 1_650),
        (ejecting(30_000, errors=1, weight=20), 50, 4_400),
    ],
)
def test_an_ejection_is_watched_until_chance_cannot_have_left_the_instance_out(
    state: State, every: int, least: int
) -> None:
    """By calls in quick turn where it is short, or other nodes get a part of the calls."""
    (errs,) = [one for one in of_instances(state) if one.about == (ERRING,)]
    assert errs.expect.ejected is not None
    assert (errs.every, errs.expect.ejected.away.least) == (every, least)


@pytest.mark.parametrize("state", [ejecting(100), ejecting(1_000, weight=20), ejecting(30_000, errors=50, weight=20)])
def test_an_ejection_that_cannot_be_told_from_chance_is_not_tried_and_told(state: State) -> None:
    """Too short, or after more errors than are soon made."""
    assert [one for one in of_instances(state) if one.about == (ERRING,)] == []
    found = {one.path: one.reason for one in derived(state).gaps if one.route == ERRING}
    assert "or chance leaves an instance alone for" in found["spec.listeners[0].outlierDetection.maxServerErrors"]


@pytest.mark.envoy
async def test_real_envoys_leave_alone_who_is_ill_or_errs_and_a_change_of_that_is_found() -> None:
    """By HTTP, HTTP/2 and gRPC, beside trials of retries, whose errors the callers count, too.

    Without the check, with one of another path or protocol, and with another number of errors, the same trials fail.
    """
    state = mesh()
    every = [one for one in derived(state).trials if not any(given.latency for given in one.given)]
    trials = of_instances(state)
    async with Rig(state, instances=Suite(trials=tuple(every)).needed) as rig:
        found = await run(rig, every, quiet)
        assert {one.trial.name: (one.mismatches, one.seen.fault) for one in found if not one.passed} == {}
        assert all(one.covered for one in coverage(rig.graph, found).policies)
        changed = edited(state, CHECKED, lambda spec: spec["listeners"][0].pop("healthCheck"))
        changed = edited(
            changed, ERRING, lambda spec: spec["listeners"][0]["outlierDetection"].update(maxServerErrors=4)
        )
        await rig.apply(changed)
        ill, errs = await run(rig, trials[2:], quiet)
        assert "no instance of 'checked' can fail a health check: it has none" in unnoticed(ill)
        assert "it was called 4 times" in errs.mismatches[0].happened
        moved = edited(state, CHECKED, lambda spec: spec["listeners"][0]["healthCheck"].update(path="/other"))
        moved = edited(
            moved, BOTH, lambda spec: spec["listeners"][0]["healthCheck"].update(protocol="http2", path="/ping")
        )
        await rig.apply(moved)
        spoken, ill = await run(rig, [one for one in trials if one.expect.avoided], quiet)
        assert "no health check of 'checked' asks for /ping: it asks at 8080 for /other" in unnoticed(ill)
        assert "no health check of 'both' asks for /grpc.health.v1.Health/Check" in unnoticed(spoken)


def unnoticed(result: Result) -> str:
    """Why a trial failed of one who is ill and called all the same: that nobody finds out, and that calls arrive."""
    assert (result.outcome, result.seen.fault) == ("failed", "")
    why, called = result.mismatches
    assert (why.expected, called.expected.partition(" at ")[0]) == ("callers find out who is ill", "no call")
    assert "arrived" in called.happened
    return why.happened


@pytest.mark.envoy
async def test_of_checks_by_several_paths_one_fails_and_the_others_are_well() -> None:
    """A node with two listeners, whose applications are asked for other paths: each is tried alone."""
    second = {"portMapping": {"port": 8090, "protocol": "http"}, "healthCheck": {**CHECK, "path": "/pong"}}
    state = edited(mesh(), CHECKED, lambda spec: spec["listeners"].append(second))
    trials = [one for one in derived(state).trials if one.expect.avoided and one.about == (CHECKED,)]
    assert [one.given[0].path for one in trials] == ["/ping", "/pong"]
    async with Rig(state, instances=Suite(trials=tuple(trials)).needed) as rig:
        found = await run(rig, trials, quiet)
    assert {one.trial.name: (one.mismatches, one.seen.fault) for one in found if not one.passed} == {}


def quiet(_: Result) -> None:
    """Nobody looks at it."""
