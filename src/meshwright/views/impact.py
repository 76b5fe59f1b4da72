"""What a plan means, for a terminal: its risks, what the rules say of it, whom it reaches, what Envoys are sent.

The one rule: what may be long comes last, and says what was left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.views.escaping import terminal
from meshwright.views.values import value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.impact.values import Impact, Objection, Reach, Reached, Risk

SIGNS = {"create": "+", "update": "~", "delete": "-", "add": "+", "change": "~", "remove": "-"}
_COLOURS = {"+": "32", "~": "33", "-": "31", "!": "33"}
_NODES = 50
"""Nodes and gateways that are named."""
_ACTIONS = frozenset({"create", "update", "delete"})
_IDS = 10
"""Connected proxies of a node, and callers behind it, that are named."""


def text_lines(impact: Impact, *, colour: bool) -> Iterator[str]:
    """The lines that follow a plan on a terminal."""
    yield from _risks(impact.risks, colour=colour)
    yield from _objections(impact.objections, colour=colour)
    for title, some in (("new finding", impact.findings.new), ("mended finding", impact.findings.mended)):
        if some:
            yield f"  {counted(len(some), title)}:"
        for one in some:
            where = f"{terminal(one.source)}: " if one.source else ""
            yield f"    {where}{one.severity} {one.rule} {terminal(one.summary)} ({terminal(one.subject)})"
    yield from _reach(impact.reach, colour=colour)


def _objections(found: Sequence[Objection], *, colour: bool) -> Iterator[str]:
    if found:
        yield f"  {counted(len(found), 'objection')} of guardrails, if it is applied now:"
    for one in found:
        place = f"{terminal(one.key)} {terminal(one.path)}".rstrip()
        head = _painted(f"! {one.severity} {terminal(one.rule)}", colour=colour)
        # What is risky is told beside; why a change as such is minded is told here alone.
        why = f"{terminal(one.summary)}. " if one.about in _ACTIONS else ""
        yield f"  {head} ({terminal(one.about)}): {place}: {why}{terminal(one.message)}"


def headline(reach: Reach) -> str:
    """How far a plan reaches, in numbers."""
    known = "" if reach.connected is None else f", {counted(reach.connected, 'connected proxy', 'connected proxies')}"
    behind = f"; {counted(len(reach.callers), 'caller')} behind them" if reach.callers else ""
    return f"{counted(len(reach.nodes), 'node or gateway', 'nodes and gateways')}{known}{behind}"


def named(names: Sequence[object], most: int = _IDS) -> str:
    """The first of `names`, and how many there are besides."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(terminal(one) for one in names[:most])}{more}"


def counted(number: int, one: str, several: str = "") -> str:
    """`1 risk`, `2 risks`."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def tally(one: Reached) -> str:
    """How many resources a proxy is sent, sent anew and told to drop."""
    counts = ((one.added, "added"), (one.changed, "changed"), (one.removed, "removed"))
    return ", ".join(f"{number} {what}" for number, what in counts if number)


def _risks(risks: Sequence[Risk], *, colour: bool) -> Iterator[str]:
    if risks:
        yield f"  {counted(len(risks), 'risk')}:"
    for one in risks:
        yield f"  {_painted(f'! {one.code}', colour=colour)} {terminal(one.key)}: {terminal(one.summary)}"
        where = [part for part in (terminal(one.path), moved(one), terminal(one.source or "")) if part]
        if where:
            yield f"      {', '.join(where)}"


def moved(one: Risk) -> str:
    """The value before and after; "" where there is none."""
    return "" if one.old is None and one.new is None else f"{value(one.old)} → {value(one.new)}"


def _reach(reach: Reach, *, colour: bool) -> Iterator[str]:
    if reach.nodes:
        yield f"  Reaches {headline(reach)}:"
    told: list[Reached] = []
    for one in reach.nodes[:_NODES]:
        ids = f"; connected: {named(one.proxies)}" if one.proxies else ""
        yield f"  {_painted(f'{SIGNS[one.action]} {terminal(one.key)}', colour=colour)}: {tally(one)}{ids}"
        yield from described(one, told, "      ")
    if len(reach.nodes) > _NODES:
        yield f"    … and {len(reach.nodes) - _NODES} more; --format json has all"
    if reach.callers:
        yield f"  Callers behind them: {named(reach.callers)}"


def described(one: Reached, told: list[Reached], indent: str) -> Iterator[str]:
    """The Envoy resources that differ, field by field; those of a node in `told`, which grows, are not repeated."""
    same = next((other for other in told if other.resources == one.resources), None)
    if same is not None and one.resources:
        yield f"{indent}the same as for {terminal(same.key)}"
        return
    told.append(one)
    for each in one.resources:
        yield f"{indent}{SIGNS[each.action]} {each.type} {terminal(each.name)}"
        for field in each.fields:
            yield f"{indent}    {terminal(field.path)}: {value(field.old)} → {value(field.new)}"
        if each.more:
            yield f"{indent}    … and {counted(each.more, 'field')} more"
    if one.more:
        yield f"{indent}… and {counted(one.more, 'resource')} more"


def _painted(text: str, *, colour: bool) -> str:
    return f"\x1b[{_COLOURS[text[0]]}m{text}\x1b[0m" if colour else text
