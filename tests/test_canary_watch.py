"""What a step is judged by: the calls since it began, of those callers and nodes that count."""

from __future__ import annotations

import pytest

from meshwright.model.identity import Key, Kind
from meshwright.observe import Load, Traffic, Watch

WEB, JOB, CART, OLD = (Key("shop", Kind.VIRTUAL_NODE, name) for name in ("web", "job", "cart", "old"))
BOUNDS = (10.0, 100.0)


def report(traffic: Traffic, proxy: str, caller: Key, callee: Key, issued: int, errors: int = 0) -> None:
    """A proxy's load and times since its last report: each call took between 10 and 100 milliseconds."""
    load = Load(cluster=callee.name, issued=issued, successes=issued - errors, errors=errors, active=0)
    traffic.reported(proxy)
    traffic.count(proxy, (caller, callee, ""), load, 1000)
    traffic.exported(proxy)
    traffic.measure(proxy, (caller, callee, ""), BOUNDS, (0, issued, 0), 50.0 * issued, 1000)


def test_what_the_first_report_tells_is_of_before() -> None:
    """Of each proxy; afterwards all counts, once, until it is told to forget."""
    traffic, watch = Traffic(0), Watch([CART])
    report(traffic, "web-1", WEB, CART, 1000)
    traffic.begin(watch)
    report(traffic, "web-1", WEB, CART, 7, 7)
    assert (watch.seen([WEB], CART)[0].requests, watch.seen([WEB], CART)[1].count) == (0, 0)
    report(traffic, "web-1", WEB, CART, 5, 2)
    report(traffic, "web-2", WEB, CART, 100)
    report(traffic, "web-2", WEB, CART, 3)
    counts, latency = watch.seen([WEB], CART)
    assert (counts.requests, counts.errors, latency.count) == (8, 2, 8)
    assert latency.quantile(0.99) == pytest.approx(100, abs=2)
    watch.forget()
    report(traffic, "web-1", WEB, CART, 4, 1)
    counts, latency = watch.seen([WEB], CART)
    assert (counts.requests, counts.errors, latency.count) == (4, 1, 4)


def test_other_nodes_and_other_callers_do_not_count() -> None:
    """Nor does anything once it is ended."""
    traffic, watch = Traffic(0), Watch([CART])
    traffic.begin(watch)
    for _ in range(2):
        report(traffic, "web-1", WEB, OLD, 5, 5)
        report(traffic, "job-1", JOB, CART, 9, 9)
        report(traffic, "web-2", WEB, CART, 2)
    assert watch.seen([WEB], CART)[0].errors == 0
    assert watch.seen([WEB], OLD)[0].requests == 0
    assert watch.seen([WEB, JOB], CART)[0].errors == 9
    traffic.end(watch)
    report(traffic, "web-2", WEB, CART, 50, 50)
    assert watch.seen([WEB], CART)[0].requests == 2


def under_way(traffic: Traffic, at: int, active: int, issued: int, spent: float = 10.0) -> None:
    """A proxy's load at a time, where each call that has ended took so many milliseconds."""
    ended = max(issued - active, 0)
    traffic.reported("web-1")
    load = Load(cluster="cart", issued=issued, successes=ended, errors=0, active=active)
    traffic.count("web-1", (WEB, CART, ""), load, at)
    traffic.exported("web-1")
    traffic.measure("web-1", (WEB, CART, ""), BOUNDS, (ended, 0, 0), spent * ended, at)


def overdue(*reports: tuple[int, int, int], within: float | None = 500, spent: float = 10.0) -> tuple[int, int]:
    """What is overdue after reports of time, calls under way, and calls issued since the one before."""
    traffic, watch = Traffic(0), Watch([CART], within)
    traffic.begin(watch)
    for report in reports:
        under_way(traffic, *report, spent)
    found = watch.overdue([WEB], CART)
    return found.calls, found.issued


def test_calls_that_were_under_way_for_too_long_are_overdue() -> None:
    """Those of before the first report, and as many as are under way at any time, are none of them."""
    assert overdue((1000, 5, 9), (2000, 15, 60), (3000, 25, 60)) == (7, 120)
    assert overdue((1000, 5, 9), (2000, 5, 60), (3000, 5, 60)) == (0, 120)
    assert overdue((1000, 0, 0), (2000, 18, 60), (3000, 20, 60), spent=300.0) == (0, 120)
    assert overdue((1000, 0, 0), (2000, 30, 60), within=None) == (0, 0)


def test_calls_are_overdue_only_after_the_time_that_they_may_take() -> None:
    """However often proxies report, and however few calls there are."""
    reports = ((1000, 0, 0), (2000, 10, 10), (3000, 10, 0), (4000, 10, 0))
    assert overdue(*reports, within=5000) == (0, 10)
    assert overdue(*reports, (5000, 10, 0), (6000, 10, 0), within=3500) == (10, 10)
    assert overdue(*reports, (5000, 9, 0), within=2500) == (9, 10)


def test_what_ends_or_is_not_known_any_more_is_not_overdue() -> None:
    """A report that does not name a cluster, or a proxy that is gone."""
    traffic, watch = Traffic(0), Watch([CART], 500)
    traffic.begin(watch)
    for at in (1000, 2000, 3000):
        under_way(traffic, at, 10 * (at > 1000), 10 * (at == 2000))
    assert watch.overdue([WEB], CART).calls == 10
    traffic.reported("web-1")
    assert watch.overdue([WEB], CART).calls == 0
    for at in (5000, 6000):
        under_way(traffic, at, 10, 0)
    assert watch.overdue([WEB], CART).calls == 10
    traffic.leave("web-1")
    assert watch.overdue([WEB], CART) == (0, 0)
    for at in (7000, 8000, 9000):
        under_way(traffic, at, 10, 0)
    assert watch.overdue([WEB], CART) == (0, 0)
