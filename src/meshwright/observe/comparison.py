"""What proxies report beside what is declared.

The one rule: only what is known is found. Of a caller without a proxy that reports, nothing is said; that a backend
is never called, only after its proxies have reported for an hour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.model.identity import Kind
from meshwright.observe.counting import Counts
from meshwright.observe.latency import Latency
from meshwright.routing import declared_ways
from meshwright.views.observed import Call, Counted, Observed, Times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.observe.traffic import Edge, Traffic

LONG_ENOUGH = 3_600_000
"""Milliseconds of reports after which a backend without a call is found."""


def compared(graph: Graph, traffic: Traffic, mesh: str, *, revision: int, now: int, minutes: int) -> Observed:
    """The observed graph of `mesh` over the last `minutes`, which the minute that has begun is one of."""
    declared = declared_ways(graph, mesh)
    seen = {(one.caller, one.callee, one.way): one for one in traffic.edges(mesh)}
    ways = sorted({*seen, *((caller, callee, "") for caller, callee in declared)})
    calls = tuple(_call(way, seen.get(way), declared.get(way[:2], ()), now, minutes) for way in ways)
    callers = {way[0] for way in ways}
    return Observed(
        mesh=mesh,
        revision=revision,
        at=now,
        since=traffic.since,
        window_seconds=60 * minutes,
        calls=calls,
        unwatched=tuple(sorted(one.path for one in callers if traffic.watched_since(one, now) is None)),
        findings=tuple(_findings(calls, ways, traffic, now)),
    )


def _call(way: tuple[Key, Key, str], edge: Edge | None, services: tuple[str, ...], now: int, minutes: int) -> Call:
    caller, callee, cluster = way
    counts, latency = edge.within(now, minutes) if edge else (Counts(), Latency())
    seconds = 60 * (minutes - 1) + now // 1000 % 60 + 1
    if edge:
        seconds = min(seconds, (now - edge.first_at) // 1000 + 1)
    return Call(
        caller=caller.path,
        callee="" if callee.kind is Kind.MESH else callee.path,
        way=cluster,
        declared=bool(services),
        services=services,
        window=_counted(counts),
        rate=round(counts.requests / seconds, 3),
        latency=_times(latency),
        in_flight=sum(edge.active.values()) if edge else 0,
        total=_counted(edge.total if edge else Counts()),
        first_at=edge.first_at if edge else None,
        last_at=edge.last_at if edge else None,
    )


def _counted(counts: Counts) -> Counted:
    return Counted(
        requests=counts.requests,
        successes=counts.successes,
        errors=counts.errors,
        unconnected=counts.unconnected,
    )


def _times(latency: Latency) -> Times | None:
    p50, p99 = latency.quantile(0.5), latency.quantile(0.99)
    if p50 is None or p99 is None:
        return None
    return Times(
        count=latency.count, mean=round(latency.total / latency.count, 3), p50=round(p50, 3), p99=round(p99, 3)
    )


def _findings(
    calls: tuple[Call, ...], ways: list[tuple[Key, Key, str]], traffic: Traffic, now: int
) -> Iterator[Diagnostic]:
    for call, (caller, callee, cluster) in zip(calls, ways, strict=True):
        whom = cluster if callee.kind is Kind.MESH else str(callee)
        if not call.declared:
            yield Diagnostic(
                rule="MW302",
                severity=Severity.WARNING,
                summary=f"{caller} calls {whom} and does not declare it: {call.total.requests} requests so far",
                detail="Add a backend that leads there, or stop the calls: nobody who plans a change sees them.",
                subject=caller.path,
                path="spec.backends" if caller.kind is Kind.VIRTUAL_NODE else "",
            )
        since = traffic.watched_since(caller, now)
        if call.last_at is None and since is not None and now - since >= LONG_ENOUGH:
            yield Diagnostic(
                rule="MW303",
                severity=Severity.INFO,
                summary=f"{caller} declares {whom} and has not called it in {(now - since) // 3_600_000} h",
                detail=f"It is declared by {', '.join(call.services)}. Take it out, unless its calls are rare.",
                subject=caller.path,
                path="spec.backends" if caller.kind is Kind.VIRTUAL_NODE else "",
            )
