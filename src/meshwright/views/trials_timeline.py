"""One call of a test as a timeline for a page: spans nested as they called each other, and what arrived at instances.

The one rule: what was seen is drawn where it was seen; of a call that is not as expected, the hop at which it went
wrong is marked, in words too.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

import msgspec

from meshwright.views.markup import Html, cut, element

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.trials.seen import Attempt, CallSeen, SpanSeen
    from meshwright.views.trials import Test

_ROWS = 40
"""Rows of a timeline; the rest is in the JSON report."""
_DEEPEST = 6
_TEXT = 160
_NONE = frozenset({"", "-"})
_BROKEN = 500


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line: a span of a proxy, or an arrival at an instance."""

    depth: int
    name: str
    told: str
    start: float
    duration: float
    kind: str
    """A class: `server`, `client`, `internal` or `arrival`."""
    mark: str = ""
    """Why it is the one to look at."""


def timeline(test: Test, call: CallSeen, *, wrong: bool) -> Html:
    """A table with a row a span, each with its bar; of a call without any, a sentence.

    Where the call is `wrong`, one row is marked.
    """
    rows = list(_rows(test, call, wrong=wrong))
    if not rows:
        return element("p", "No proxy told a span of it.", class_="quiet")
    total = max([call.elapsed, *(row.start + row.duration for row in rows), 0.001])
    head = element(
        "tr",
        element("th", "Hop", scope="col"),
        element("th", "What it did", scope="col"),
        element("th", "Took", scope="col", class_="number"),
        element("th", element("span", "0 ms"), element("span", _milliseconds(total)), scope="col", class_="axis"),
    )
    shown = rows[:_ROWS]
    left = len(rows) - len(shown)
    note = element("p", f"{left} more rows are in the JSON report.", class_="quiet") if left else None
    body = element("tbody", [_row(row, total) for row in shown])
    table = element("table", element("thead", head), body, class_="timeline")
    return Html(element("div", table, class_="scroll") + (note or ""))


def _row(row: _Row, total: float) -> Html:
    start, width = 100 * max(row.start, 0) / total, 100 * row.duration / total
    start = min(start, 99.6)
    bar = element("rect", x=f"{start:.2f}%", y=3, width=f"{max(min(width, 100 - start), 0.4):.2f}%", height=10, rx=2)
    name = [element("span", "└ " if row.depth else "", aria_hidden="true", class_="branch"), cut(row.name, _TEXT)]
    badge = [" ", element("strong", f"✗ {row.mark}", class_="mark")] if row.mark else None
    drawn = element("svg", bar, width="100%", height=16, aria_hidden="true", class_=f"bar {row.kind}")
    return element(
        "tr",
        element("th", name, badge, scope="row", class_=f"depth{row.depth}"),
        element("td", cut(row.told, _TEXT)),
        element("td", _milliseconds(row.duration) if row.duration else "", class_="number"),
        element("td", drawn, title=f"from {_milliseconds(row.start)} on"),
        class_="wrong" if row.mark else None,
    )


def _rows(test: Test, call: CallSeen, *, wrong: bool) -> Iterator[_Row]:
    """Spans, each before those that it led to, and arrivals below the proxies that let them in."""
    nested = list(_nested(call.spans))
    marked, why = _wrong(test, call, nested) if wrong else (None, "")
    waiting = list(call.attempts)
    for depth, span in nested:
        yield _Row(
            depth=min(depth, _DEEPEST),
            name=f"{span.proxy} {_DIRECTIONS.get(span.kind, span.kind)}",
            told=_said(test, span),
            start=span.start,
            duration=span.duration,
            kind=span.kind,
            mark=why if span is marked else "",
        )
        for attempt in [one for one in waiting if span.kind == "server" and _let_in(span, one)]:
            waiting.remove(attempt)
            yield _arrival(attempt, min(depth + 1, _DEEPEST))
    yield from (_arrival(attempt, 0) for attempt in waiting)


_DIRECTIONS = {"server": "lets in", "client": "calls"}


def _let_in(span: SpanSeen, attempt: Attempt) -> bool:
    return span.proxy == attempt.node and span.start <= attempt.at <= span.start + span.duration


def _arrival(attempt: Attempt, depth: int) -> _Row:
    told = "received it" if attempt.given_up is None else "received it; its caller gave it up"
    return _Row(
        depth=depth,
        name=f"application {attempt.instance}",
        told=told,
        start=attempt.at,
        duration=attempt.given_up or 0,
        kind="arrival",
    )


def _nested(spans: Sequence[SpanSeen]) -> Iterator[tuple[int, SpanSeen]]:
    """Each span with its depth, parents first, by time among those of one parent."""
    known = {span.id for span in spans}
    below: dict[str, list[SpanSeen]] = {}
    for span in sorted(spans, key=lambda one: one.start):
        below.setdefault(span.parent if span.parent in known else "", []).append(span)
    # What a span says of itself is data: one that is its own ancestor is told all the same, at the end.
    waiting, seen = [(0, span) for span in reversed(below.get("", []))], set[str]()
    while waiting:
        depth, span = waiting.pop()
        if span.id not in seen:
            seen.add(span.id)
            yield depth, span
            waiting += [(depth + 1, one) for one in reversed(below.get(span.id, []))]
    yield from ((0, span) for span in spans if span.id not in seen)


def _wrong(test: Test, call: CallSeen, nested: Sequence[tuple[int, SpanSeen]]) -> tuple[SpanSeen | None, str]:
    """The span to look at of a call that is not as expected: where it broke, else where it was decided."""
    unlike = {one.what.removeprefix("spans.") for one in test.mismatches if one.what.startswith("spans.")}
    for _, span in nested:
        if f"{span.proxy}.{span.kind}" in unlike:
            return span, "not the span that is due"
    broken = [(depth, span.start, span) for depth, span in nested if _failed(span)]
    if broken:
        return max(broken, key=lambda one: one[:2])[2], "failing hop"
    astray = _astray(test, call)
    callers = [span.parent for _, span in nested if span.kind == "server" and span.proxy == astray]
    deciding = [span for _, span in nested if _routed(span)]
    chosen = [span for span in deciding if span.id in callers] or deciding[-1:]
    return (chosen[0], "decided here") if chosen else (None, "")


def _astray(test: Test, call: CallSeen) -> str:
    """The node or gateway that a call got to and should not have; "" where it got nowhere, or all is well with it."""
    wrong = {one.what.partition(".")[0]: one for one in test.mismatches}
    if "path" in wrong:
        wanted = wrong["path"].expected.split(" → ")
        return next((had for had, want in zip_longest(call.path, wanted, fillvalue="") if had != want), "")
    return call.node if wrong.keys() & {"served_by", "not_served_by", "shares"} else ""


def _routed(span: SpanSeen) -> bool:
    return span.kind == "client" or "meshwright.gateway_route" in span.attributes


def _failed(span: SpanSeen) -> bool:
    status = span.attributes.get("http.status_code", "")
    grpc = span.attributes.get("grpc.status_code", "0")
    flagged = span.attributes.get("response_flags", "") not in _NONE
    bad = status.isdecimal() and (int(status) >= _BROKEN or status == "0")
    return span.error or flagged or bad or grpc not in {"0", ""}


def _said(test: Test, span: SpanSeen) -> str:
    """Service, route with where it is written, answer."""
    told = span.attributes
    service = told.get("meshwright.virtual_service", "")
    route = told.get("meshwright.route") or told.get("meshwright.gateway_route", "")
    rules = f"/{service}" if service else f"/{span.proxy}"
    written = [
        f" at {one.source}"
        for one in test.decided_by
        if one.source and route and one.object.endswith(f"/{route}") and one.by.endswith(rules)
    ]
    parts = [service] if service else []
    parts += [f"route {route}{written[0] if written else ''}"] if route not in _NONE else []
    status, flags = told.get("http.status_code", ""), told.get("response_flags", "")
    parts += [f"status {status}"] if status not in _NONE else []
    parts += [f"gRPC {told['grpc.status_code']}"] if told.get("grpc.status_code") else []
    parts += [flags] if flags not in _NONE else []
    return " · ".join(parts) or span.name


def _milliseconds(value: float) -> str:
    return f"{value / 1_000:.2f} s" if value >= 10_000 else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"
