"""The observed graph: who calls whom, beside who is declared to; a value whose JSON is documented and stable.

The one rule: pictures of it are drawn by the same code as those of the declared graph, from this value alone.
"""

from __future__ import annotations

import msgspec

from meshwright.diagnostics import Diagnostic
from meshwright.views.graph_picture import Arrow, Box, Picture


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How long calls took, in milliseconds."""

    count: int
    mean: float
    p50: float
    p99: float


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that were counted; those that found no connection are among the errors."""

    requests: int
    successes: int
    errors: int
    unconnected: int


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """All calls of one node or gateway to another node, or out of the mesh."""

    caller: str
    """Its path."""
    callee: str
    """Its path; "" for what lies outside of the mesh."""
    way: str
    """The cluster by which the mesh is left; "" for calls within it."""
    declared: bool
    services: tuple[str, ...]
    """The virtual services by which it is declared."""
    window: Counted
    """In the time that was asked about."""
    rate: float
    """Requests a second in that time."""
    latency: Times | None
    """In that time; None where nothing was measured."""
    in_flight: int
    total: Counted
    """Since counting began."""
    first_at: int | None
    last_at: int | None
    """In milliseconds since the epoch; None where no call was seen."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One mesh."""

    version: int = 1
    mesh: str
    revision: int
    at: int
    since: int
    """When this control plane began to count, in milliseconds since the epoch."""
    window_seconds: int
    calls: tuple[Call, ...]
    """Observed or declared; by caller and callee."""
    unwatched: tuple[str, ...]
    """Callers of which no proxy reports: of them nothing is known."""
    findings: tuple[Diagnostic, ...]


def picture(observed: Observed) -> Picture:
    """What is called as boxes, calls as arrows; what lies outside is a box by the cluster's name."""
    ends = {(one.caller, True) for one in observed.calls} | {(_end(one), bool(one.callee)) for one in observed.calls}
    return Picture(
        boxes=tuple(
            Box(object=path, kind=_kind(path) if within else "outside", name=path.rpartition("/")[2], found=within)
            for path, within in sorted(ends)
        ),
        arrows=tuple(
            Arrow(
                source=one.caller, target=_end(one), label=_label(one, watched=one.caller not in observed.unwatched)
            )
            for one in observed.calls
        ),
        references=(),
    )


def _end(call: Call) -> str:
    return call.callee or call.way


def _kind(path: str) -> str:
    return path.split("/")[-2] if "/" in path else "virtualNode"


def _label(call: Call, *, watched: bool) -> str:
    """What is known of a call; where no proxy of its caller reports, that it is not made now is not."""
    if not call.total.requests and not call.in_flight:
        return "never called" if watched else "no proxy reports"
    words = [] if call.declared else ["not declared"]
    if call.window.requests:
        words.append(f"{call.rate:.3g}/s")
    if not watched:
        words.append("no reports lately")
    elif not call.window.requests:
        words.append("no calls lately")
    if call.window.errors:
        words.append(f"{100 * call.window.errors / call.window.requests:.3g}% errors")
    if call.latency is not None:
        words.append(f"p50 {call.latency.p50:.3g} ms p99 {call.latency.p99:.3g} ms")
    return ", ".join(words)
