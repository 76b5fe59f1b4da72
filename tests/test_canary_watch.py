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
