"""Whose calls a canary is judged by, and how many of them its step can have brought.

The one rule: reports are by node. What reaches a target by a route that is not shifted stands in the same figures,
and is told apart by the targets that only the shifted routes lead to, or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.model.identity import Key, Kind
from meshwright.release.canary import Figures
from meshwright.routing import declared_ways, shares

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from fractions import Fraction

    from meshwright.graph import Graph
    from meshwright.observe import Watch
    from meshwright.release import Canary

    Led = Mapping[Key, Mapping[Key, Fraction]]

_TOLD = 3
"""Ways that one warning names."""


def callers(graph: Graph, mesh: str, canary: Canary) -> frozenset[Key]:
    """Who gets to a target that is judged by a route that is shifted."""
    routers = {one.route.owner for one in canary.shifts}
    rising = set(canary.rising)
    return frozenset(
        caller
        for (caller, node), names in declared_ways(graph, mesh).items()
        if node in rising and any(graph.provider(Key(mesh, Kind.VIRTUAL_SERVICE, one)) in routers for one in names)
    )


def shared_ways(graph: Graph, mesh: str, canary: Canary) -> tuple[str, ...]:
    """What to say beforehand of targets that their callers reach by other routes, too."""
    found = []
    for caller in sorted(callers(graph, mesh, canary)):
        led = shares(graph, caller)
        for node in canary.rising:
            others = _others(led, node, canary)
            found += [f"{caller.name} gets to {node.name} by {one.path}" for one in others]
    if not found:
        return ()
    more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    told = (
        f"{'; '.join(found[:_TOLD])}{more}, which is not shifted: proxies report all of these calls in one, so "
        "that failures are set against the calls that the step can have brought, and a step is inconclusive where "
        "that cannot be told ('--canary-shared count' takes all calls for its own)"
    )
    return (told,)


def judged_by(
    graph: Graph, watch: Watch, canary: Canary, those: Collection[Key]
) -> tuple[tuple[Figures, ...], tuple[Figures, ...]]:
    """The figures of each target, of all its callers together; and, where there are several, of each alone."""
    led = {caller: shares(graph, caller) for caller in those}
    sums, apart = [], []
    for node in canary.rising:
        each = {caller: _figures(watch, (caller,), node, led, canary) for caller in sorted(those)}
        sums.append(_figures(watch, those, node, led, canary))
        if len(each) > 1:
            apart += [one for one in each.values() if one.requests or one.overdue]
    return tuple(sums), tuple(apart)


def _figures(watch: Watch, those: Collection[Key], node: Key, led: Mapping[Key, Led], canary: Canary) -> Figures:
    counts, latency = watch.seen(those, node)
    overdue = watch.overdue(those, node)
    own, others = _own(watch, those, node, led, canary)
    # What is under way has neither succeeded nor failed yet; for too long, it was not answered in time.
    requests = counts.successes + counts.errors
    judged = own if others and own is not None and canary.settings.shared != "count" else requests
    bound = max(0.0, 1 - judged / (100 * latency.count)) if latency.count and judged < requests else 0.99
    p99 = latency.quantile(bound)
    return Figures(
        node=node,
        caller=next(iter(those)) if len(those) == 1 else None,
        requests=requests,
        errors=counts.errors,
        unconnected=counts.unconnected,
        overdue=overdue.calls,
        issued=overdue.issued,
        measured=latency.count,
        p99=round(p99, 3) if p99 is not None else None,
        others=others,
        own=own,
    )


def _own(
    watch: Watch, those: Collection[Key], node: Key, led: Mapping[Key, Led], canary: Canary
) -> tuple[int | None, tuple[Key, ...]]:
    """How many calls the shifted routes can have brought, None where that cannot be told; and the other routes."""
    found: Fraction | int | None = 0
    others: dict[Key, None] = {}
    for caller in sorted(those):
        counts, _ = watch.seen((caller,), node)
        ended = counts.successes + counts.errors
        strange = _others(led[caller], node, canary)
        if not ended:
            continue
        others.update(dict.fromkeys(strange))
        more = _brought(watch, caller, node, led[caller], canary) if strange else ended
        found = None if found is None or more is None else found + min(more, ended)
    return (None if found is None else int(found)), tuple(others)


def _others(led: Led, node: Key, canary: Canary) -> tuple[Key, ...]:
    moved = {one.route for one in canary.shifts}
    return tuple(route for route in led.get(node, {}) if route not in moved)


def _brought(watch: Watch, caller: Key, node: Key, led: Led, canary: Canary) -> Fraction | int | None:
    """Calls of one caller by the shifted routes, by what came to targets that only such a route leads to."""
    found: Fraction | int = 0
    for route in (one.route for one in canary.shifts if one.route in led.get(node, {})):
        alone = {one: routes[route] for one, routes in led.items() if set(routes) == {route}}
        if not alone:
            return None
        seen = [watch.seen((caller,), one)[0] for one in alone]
        found += sum(one.successes + one.errors for one in seen) * led[node][route] / sum(alone.values())
    return found
