"""Trials of limits and retries, as they are derived: what they provoke, and what they ask to be seen."""

from __future__ import annotations

from typing import Any

import pytest

from meshwright.model import Kind
from meshwright.trials.deriving import PATIENCE, Derived, Gap
from meshwright.trials.trial import Bounds, FaultKind, Trial
from strategies import resource
from test_trials import derived, routed

SECOND = {"unit": "s", "value": 1}
TWICE = {"maxRetries": 2, "perRetryTimeout": SECOND}


def policies(route: dict[str, Any], listener: dict[str, Any] | None = None, patience: int = PATIENCE) -> list[Trial]:
    """The trials with a fault of the only route, with members added to it and to the listener of its target."""
    return [one for one in found(route, listener, patience).trials if one.given]


def gaps(route: dict[str, Any], listener: dict[str, Any]) -> tuple[Gap, ...]:
    """What of them is not tried."""
    return found(route, listener, PATIENCE).gaps


def found(route: dict[str, Any], listener: dict[str, Any] | None, patience: int) -> Derived:
    """All that is derived from them."""
    state = routed({"prefix": "/"})
    action = {"weightedTargets": [{"virtualNode": "target", "weight": 1}]}
    spec = {"httpRoute": {"match": {"prefix": "/"}, "action": action, **route}}
    node = {
        "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}, **(listener or {})}],
        "serviceDiscovery": {"dns": {"hostname": "target.nodes"}},
    }
    state = state.put(
        resource(Kind.ROUTE, "only", spec, parent="target"), resource(Kind.VIRTUAL_NODE, "target", node)
    )
    return derived(state, patience)


def late(trials: list[Trial]) -> Trial:
    """The one whose answers come too late."""
    (found,) = [one for one in trials if one.given[0].kind is FaultKind.LATENCY]
    return found


def test_faults_are_confined_to_the_calls_of_their_trial() -> None:
    """By a header that no two trials share, so that all of them run side by side."""
    found = policies({})
    marks = [dict(one.given[0].headers) for one in found]
    assert not any(one.alone for one in found)
    assert all(mark.items() <= set(one.call.headers) for mark, one in zip(marks, found, strict=True))
    assert len({tuple(mark.items()) for mark in marks}) == len(found)


@pytest.mark.parametrize(
    ("route", "listener", "attempts", "limit"),
    [
        ({}, {}, 1, 15_000),
        ({"timeout": {"perRequest": SECOND}}, {}, 1, 1_000),
        ({}, {"timeout": {"http": {"perRequest": SECOND}}}, 1, 1_000),
        ({"timeout": {"idle": SECOND}}, {}, 1, 1_000),
        ({"retryPolicy": {**TWICE, "httpRetryEvents": ["gateway-error"]}}, {}, 3, 1_000),
        ({"retryPolicy": {**TWICE, "httpRetryEvents": ["stream-error"]}}, {}, 1, 1_000),
    ],
)
def test_the_limit_that_bites_first_is_the_one_that_is_expected(
    route: dict[str, Any], listener: dict[str, Any], attempts: int, limit: int
) -> None:
    """On each try, and the answers come later than it may take."""
    trial = late(policies(route, listener))
    assert trial.expect.attempts == Bounds(least=attempts, most=attempts)
    assert trial.expect.given_up is not None
    assert trial.expect.given_up.hold(limit)
    assert not trial.expect.given_up.hold(limit // 2)
    assert not trial.expect.given_up.hold(limit * 2)
    assert trial.given[0].latency > (trial.expect.given_up.most or 0)


@pytest.mark.parametrize(
    ("limit", "held", "others"),
    [
        (15_000, (14_850, 15_350), (14_500, 15_500)),
        (1_500, (1_350, 1_850), (1_250, 1_950)),
        (300, (230, 600), (200, 700)),
    ],
)
def test_a_try_is_given_up_when_its_limit_is_over_but_for_what_a_machine_is_late(
    limit: int, held: tuple[int, ...], others: tuple[int, ...]
) -> None:
    """Which has nothing to do with how long the limit is."""
    timeout = {"timeout": {"perRequest": {"unit": "ms", "value": limit}}}
    given_up = late(policies(timeout)).expect.given_up
    assert given_up is not None
    assert [given_up.hold(one) for one in (*held, *others)] == [True, True, False, False]


@pytest.mark.parametrize("limit", [0, 60])
def test_limits_too_long_to_wait_for_are_not_felt_before_app_meshs_own(limit: int) -> None:
    """A call that is answered after more than 15 s still is."""
    timeout = {"perRequest": {"unit": "s", "value": limit}}
    trial = late(policies({"timeout": timeout}, {"timeout": {"http": timeout}}))
    assert trial.given[0].latency > 15_000
    assert trial.expect.served_by == ("target",)


def test_only_what_an_event_is_for_is_tried_again() -> None:
    """As often as the policy says; everything else once."""
    policy = {"maxRetries": 4, "perRetryTimeout": SECOND, "httpRetryEvents": ["client-error"]}
    found = {one.given[0].status: one.expect.attempts for one in policies({"retryPolicy": policy})}
    assert found[409] == Bounds(least=5, most=5)
    assert found[500] == found[503] == found[429] == Bounds(least=1, most=1)


def test_limits_between_what_is_waited_for_and_what_is_far_away_are_tried_as_far_as_they_go() -> None:
    """18 s are not waited for; that a call is still waited for after more than App Mesh's own limit is."""
    limit = {"perRequest": {"unit": "s", "value": 18}}
    (route, listener) = ({"timeout": limit}, {"timeout": {"http": limit}})
    trial = late(policies(route, listener))
    assert 15_000 < trial.given[0].latency < 18_000
    assert trial.expect.served_by == ("target",)
    reasons = {one.path: one.reason for one in gaps(route, listener)}
    assert "it is not waited for" in reasons["spec.httpRoute.timeout.perRequest"]
    assert "it is not waited for" in reasons["spec.listeners[0].timeout.http.perRequest"]


def test_who_has_more_patience_waits_for_longer_limits() -> None:
    """And then they are shown, each where it is written."""
    limit = {"perRequest": {"unit": "s", "value": 18}}
    trial = late(policies({"timeout": limit}, {"timeout": {"http": limit}}, patience=30_000))
    assert trial.expect.given_up is not None
    assert trial.expect.given_up.hold(18_000)
    assert [path for _, path in trial.shows] == [
        "spec.httpRoute.timeout.perRequest",
        "spec.listeners[0].timeout.http.perRequest",
    ]


def test_a_limit_behind_another_one_is_told() -> None:
    """The route's second ends every call, so nobody sees the listener's five."""
    (gap,) = gaps(
        {"timeout": {"perRequest": SECOND}}, {"timeout": {"http": {"perRequest": {"unit": "s", "value": 5}}}}
    )
    assert (gap.path, gap.reason) == (
        "spec.listeners[0].timeout.http.perRequest",
        "another limit, of 1 s, comes first",
    )
