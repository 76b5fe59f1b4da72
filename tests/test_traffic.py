"""What is counted of traffic: windows, ages, bounds of memory, quantiles, and what is found in it."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.graph import resolve
from meshwright.model.identity import Key, Kind
from meshwright.model.state import State
from meshwright.observe import Latency, Load, Traffic, compared
from meshwright.observe.traffic import KEEP, MOST_EDGES
from meshwright.views.observed import picture
from settings import examples
from test_observed import CART, WEB, between, objects

NOW = 1_800_000_000_000
MINUTE = 60_000
CALLER, CALLEE = Key("shop", Kind.VIRTUAL_NODE, "web"), Key("shop", Kind.VIRTUAL_NODE, "cart")
WAY = (CALLER, CALLEE, "")


def load(issued: int = 0, successes: int = 0, errors: int = 0, active: int = 0) -> Load:
    """A report on one cluster."""
    return Load(cluster="cart", issued=issued, successes=successes, errors=errors, active=active)


def view(traffic: Traffic, now: int = NOW, minutes: int = 5) -> Any:
    """The observed graph of the mesh."""
    return compared(resolve(State(objects())), traffic, "shop", revision=1, now=now, minutes=minutes)


def test_a_window_holds_the_minutes_that_were_asked_for() -> None:
    """The total holds all of them; the rate is of the seconds that the window has really had."""
    traffic = Traffic(NOW - 10 * MINUTE)
    for age in (8, 4, 0):
        traffic.count("web-1", WAY, load(issued=60, successes=60), NOW - age * MINUTE)
    found = between(view(traffic), WEB, CART)
    assert (found.window.requests, found.total.requests) == (120, 180)
    assert found.rate == round(120 / (4 * 60 + NOW // 1000 % 60 + 1), 3)
    assert between(view(traffic, minutes=60), WEB, CART).window.requests == 180
    assert between(view(traffic, now=NOW + 7 * MINUTE), WEB, CART).window.requests == 0


def test_an_hour_of_latencies_of_a_node_that_calls_twenty_others_is_small_and_complete() -> None:
    """Some 180 kB: of minutes that are over bytes are kept, from which nothing is lost."""
    chance = Random(1)  # noqa: S311 - chance, nothing secret
    bounds = tuple(float(2**one) for one in range(19))
    ways = [(CALLER, Key("shop", Kind.VIRTUAL_NODE, f"n{number}"), "") for number in range(20)]
    whole, traffic = Latency(), Traffic(NOW)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for minute in range(60):
        for way in ways:
            calls = [chance.randrange(1000) if 3 < bucket < 9 else 0 for bucket in range(20)]
            at = NOW + minute * MINUTE
            traffic.count("web-1", way, load(issued=sum(calls), successes=sum(calls)), at)
            traffic.measure("one", way, bounds, calls, chance.uniform(0, 1e6), at)
            if way == ways[-1]:
                whole.add(bounds, calls, 0.0)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used < 250_000
    edge = next(one for one in traffic.edges("shop") if one.callee == ways[-1][1])
    counts, latency = edge.within(NOW + 59 * MINUTE, 60)
    assert (counts.requests, counts.successes, latency.counts) == (whole.count, whole.count, whole.counts)
    assert (counts, latency.quantile(0.99)) == (edge.total, whole.quantile(0.99))


def test_what_is_under_way_is_of_connected_proxies() -> None:
    """A proxy that is gone has nothing under way."""
    traffic = Traffic(NOW)
    traffic.count("web-1", WAY, load(issued=3, active=3), NOW)
    traffic.count("web-2", WAY, load(issued=2, active=2), NOW)
    assert between(view(traffic), WEB, CART).in_flight == 5
    traffic.leave("web-1")
    assert between(view(traffic), WEB, CART).in_flight == 2
    traffic.count("web-2", WAY, load(successes=2), NOW)
    found = between(view(traffic), WEB, CART)
    assert (found.in_flight, found.total.requests, found.total.unconnected) == (0, 5, 0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), max_size=20))
@settings(max_examples=examples(200), deadline=None)
def test_requests_without_a_connection_are_told_from_those_with_one(steps: list[tuple[int, int, int]]) -> None:
    """However requests begin, end and fail between reports, once all are done each was counted as what it was."""
    traffic = Traffic(NOW)
    active = begun = lost = 0
    for new, done, failed in steps:
        done_now = min(done, active + new)
        active += new - done_now
        begun, lost = begun + new, lost + failed
        traffic.count("web-1", WAY, load(new, done_now, failed, active), NOW)
    traffic.count("web-1", WAY, load(successes=active), NOW)
    total = between(view(traffic), WEB, CART).total
    assert (total.requests, total.successes, total.errors, total.unconnected) == (begun + lost, begun, lost, lost)


def test_what_ends_after_a_reconnection_is_no_failure() -> None:
    """It began before anybody counted."""
    traffic = Traffic(NOW)
    traffic.count("web-1", WAY, load(issued=1, successes=4), NOW, early=True)
    assert between(view(traffic), WEB, CART).total.unconnected == 0
    traffic.count("web-1", WAY, load(errors=2), NOW)
    assert between(view(traffic), WEB, CART).total.unconnected == 2


def test_edges_age_out_and_are_bounded() -> None:
    """A day after its last call an edge is gone; beyond the most, the one that was used longest ago."""
    traffic = Traffic(NOW)
    traffic.count("web-1", WAY, load(issued=1, successes=1), NOW)
    other = (CALLER, Key("shop", Kind.VIRTUAL_NODE, "stock"), "")
    traffic.count("web-1", other, load(issued=1, successes=1), NOW + KEEP + 2 * MINUTE)
    assert len(traffic) == 1
    for number in range(MOST_EDGES + 10):
        caller = Key("shop", Kind.VIRTUAL_NODE, f"n{number}")
        traffic.count("p", (caller, CALLEE, ""), load(issued=1), NOW + KEEP + 2 * MINUTE + 1)
        traffic.leave("p")
    assert len(traffic) == MOST_EDGES


def test_a_backend_is_unused_only_after_an_hour_of_reports() -> None:
    """Before, and where no proxy of the caller reports, nothing is known."""
    traffic = Traffic(NOW)
    assert view(traffic, NOW + 120 * MINUTE).findings == ()
    assert set(view(traffic).unwatched) == {WEB, CART}
    traffic.count("web-1", WAY, load(issued=1, successes=1), NOW)
    for minute in range(126):
        traffic.watch(CALLER, NOW + minute * MINUTE)
        assert minute >= 60 or view(traffic, NOW + minute * MINUTE).findings == ()
    found = view(traffic, NOW + 125 * MINUTE).findings
    assert [(one.rule, one.subject) for one in found] == [("MW303", WEB)]
    assert "stock" in found[0].summary
    assert "in 2 h" in found[0].summary
    # Its proxies are gone: for how long it calls nobody is not known any more, nor after they are back.
    assert WEB in view(traffic, NOW + 140 * MINUTE).unwatched
    traffic.watch(CALLER, NOW + 140 * MINUTE)
    assert view(traffic, NOW + 140 * MINUTE).findings == ()


def test_a_picture_says_that_nothing_is_known_of_whom_nobody_reports() -> None:
    """A team that reads that a backend is never called may take it out."""
    traffic = Traffic(NOW)

    def labels(now: int) -> dict[str, str]:
        return {one.target: one.label for one in picture(view(traffic, now)).arrows if one.source == WEB}

    assert set(labels(NOW).values()) == {"no proxy reports"}
    traffic.watch(CALLER, NOW)
    traffic.count("web-1", WAY, load(issued=60, successes=60), NOW)
    told = labels(NOW)
    assert told.pop(CART).endswith("/s")
    assert set(told.values()) == {"never called"}
    traffic.watch(CALLER, NOW + 8 * MINUTE)
    assert labels(NOW + 8 * MINUTE)[CART] == "no calls lately"
    told = labels(NOW + 30 * MINUTE)
    assert told.pop(CART) == "no reports lately"
    assert set(told.values()) == {"no proxy reports"}


def test_calls_out_of_the_mesh_are_undeclared() -> None:
    """They go by the cluster that lets them through."""
    traffic = Traffic(NOW)
    way = (CALLER, Key.of_mesh("shop"), "cds_egress_shop_mesh-allow-all")
    traffic.count("web-1", way, load(issued=2), NOW)
    found = view(traffic)
    assert [one.rule for one in found.findings] == ["MW302"]
    assert "cds_egress_shop_mesh-allow-all" in found.findings[0].summary
    assert next(one for one in found.calls if one.way).callee == ""


@given(st.lists(st.floats(0, 70, allow_nan=False), min_size=1, max_size=200))
@settings(max_examples=examples(200), deadline=None)
def test_a_quantile_lies_between_the_bounds_of_the_true_one(values: list[float]) -> None:
    """As exactly as the bounds allow, from several proxies with the same and with other bounds."""
    bounds = (1.0, 5.0, 10.0, 50.0, 100.0)
    latency = Latency()
    for start in (0, 1):
        part = values[start::2]
        places = Counter(next(index for index, bound in enumerate(bounds) if one <= bound) for one in part)
        latency.add(bounds, [places[index] for index in range(len(bounds) + 1)], sum(part))
    assert latency.count == len(values)
    assert latency.total == pytest.approx(sum(values))
    true = sorted(values)[-(-len(values) // 2) - 1]
    found = latency.quantile(0.5)
    assert found is not None
    place = next(index for index, bound in enumerate(bounds) if true <= bound)
    assert (bounds[place - 1] if place else 0) <= found <= bounds[place]


def test_histograms_with_other_bounds_are_laid_over_the_first_ones() -> None:
    """No call is counted as faster than it was; nonsense is left out."""
    latency = Latency()
    latency.add((1.0, 10.0), (1, 1, 1), 20)
    latency.add((0.5, 2.0, 20.0), (1, 1, 1, 1), 50)
    assert list(latency.counts) == [2, 2, 3]
    latency.add((2.0, 1.0), (1, 1, 1), 1)
    latency.add((1.0,), (1, 1, 1), 1)
    assert latency.count == 7
    assert latency.quantile(1.0) == 10.0
    assert Latency().quantile(0.5) is None
