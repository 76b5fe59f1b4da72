"""A plan for a pull request's comment: what matters first, what is long folded, never longer than a comment may be.

The one rule: nothing in a name or value is markup, and what is left out is said in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from meshwright.plan import contents, leaves
from meshwright.views.escaping import code, terminal
from meshwright.views.impact import SIGNS, counted, described, headline, tally
from meshwright.views.values import value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.diagnostics import Diagnostic
    from meshwright.impact.values import Impact, Objection, Reach, Reached, Risk
    from meshwright.model.state import State
    from meshwright.plan import Change, Plan

LIMIT = 65_000
"""Characters; GitHub takes 65,536."""
_FOLDED = 20
"""Rows of changes that are shown unfolded."""
_KEPT = 200
"""Characters that each section after a cut one needs for saying so."""


class _Section(NamedTuple):
    title: str
    """Plain text of ours, without anybody's names."""
    head: tuple[str, ...]
    lines: tuple[str, ...]
    folded: bool = False
    fenced: bool = False
    """As a block of code, which no line can end: each begins with a sign of ours or four spaces."""


def rendered(
    plan: Plan,
    impact: Impact,
    first: str,
    remarks: Sequence[str],
    limit: int = LIMIT,
    observed: State | None = None,
) -> str:
    """The comment: `first` is its headline, `remarks` say what concerns the plan as a whole, both of them escaped.

    From `observed`, the state that it starts from, is known what is deleted.
    """
    sections = [one for one in _sections(plan, impact, remarks, observed) if one.lines]
    out = f"### {first}\n"
    for number, section in enumerate(sections):
        room = limit - len(out) - _KEPT * (len(sections) - number)
        out += _fitted(section, room)
    return out


def whole(change: Change, observed: State | None) -> Iterator[tuple[str, Any]]:
    """Every field of an object that is created, or of one that is deleted where what it was is known, by path."""
    if change.action == "create":
        yield from leaves(change.spec, change.tags)
    elif change.action == "delete" and observed is not None and change.key in observed:
        yield from leaves(*contents(observed[change.key]))


def _sections(plan: Plan, impact: Impact, remarks: Sequence[str], observed: State | None) -> Iterator[_Section]:
    yield _Section("", (), tuple(remarks))
    risks = impact.risks
    table = ("| risk | object | what happens | field | now | then | where |", "|---|---|---|---|---|---|---|")
    yield _Section(counted(len(risks), "risk"), table, tuple(map(_risk, risks)))
    told = impact.objections
    table = ("| guardrail | | object | about | field | message |", "|---|---|---|---|---|---|")
    title = f"{counted(len(told), 'objection')} of guardrails, if it is applied now"
    yield _Section(title, table, tuple(map(_objection, told)))
    found = impact.findings
    table = ("| | rule | object | finding | where |", "|---|---|---|---|---|")
    rows = (*(_finding("new", one) for one in found.new), *(_finding("mended", one) for one in found.mended))
    yield _Section(f"{counted(len(found.new), 'new finding')}, {len(found.mended)} mended", table, rows)
    rows = tuple(row for change in plan.changes for row in _change(change, observed))
    table = ("| | object | field | now | then |", "|---|---|---|---|---|")
    yield _Section(counted(len(plan.changes), "change"), table, rows, folded=len(rows) > _FOLDED)
    yield _Section(f"Reaches {headline(impact.reach)}", *_reach(impact.reach), folded=True)
    yield _Section("What Envoys are sent", (), tuple(_envoys(impact.reach)), folded=True, fenced=True)


def _fitted(section: _Section, room: int) -> str:
    """The section in at most `room` and `_KEPT` characters, from its first line on."""
    begin = f"<details><summary>{section.title}</summary>\n" if section.folded else f"#### {section.title}\n"
    begin = "\n" + (begin + "\n" if section.title else "")
    begin += "".join(f"{line}\n" for line in (("```diff",) if section.fenced else section.head))
    end = ("```\n" if section.fenced else "") + ("\n</details>\n" if section.folded else "")
    left, kept = room - len(begin) - len(end), []
    for line in section.lines:
        left -= len(line) + 1
        if left < 0:
            break
        kept.append(f"{line}\n")
    cut = len(section.lines) - len(kept)
    told = f"\n*{counted(cut, 'line')} more: too long for a comment; `meshwright plan` shows all.*\n" if cut else ""
    if not kept:
        return f"\n#### {section.title}\n{told}" if section.title else told
    return f"{begin}{''.join(kept)}{end}{told}"


def _risk(one: Risk) -> str:
    sides = [code(value(side)) if one.old is not None or one.new is not None else "" for side in (one.old, one.new)]
    cells = (code(one.code), code(one.key), code(one.summary), code(one.path), *sides, code(one.source or ""))
    return f"| {' | '.join(cells)} |"


def _objection(one: Objection) -> str:
    cells = (code(one.rule), one.severity, code(one.key), code(one.about), code(one.path), code(one.message))
    return f"| {' | '.join(cells)} |"


def _finding(state: str, one: Diagnostic) -> str:
    cells = (state, one.rule, code(one.subject), code(one.summary), code(one.source or ""))
    return f"| {' | '.join(cells)} |"


def _change(change: Change, observed: State | None) -> Iterator[str]:
    sign, name = f"`{SIGNS[change.action]}`", code(change.key)
    if not change.fields:
        yield f"| {sign} | {name} | | | |"
    for one in change.fields:
        yield f"| {sign} | {name} | {code(one.path)} | {code(value(one.old))} | {code(value(one.new))} |"
    for path, told in whole(change, observed):
        shown = code(value(told))
        yield f"| | | {code(path)} | " + (f"| {shown} |" if change.action == "create" else f"{shown} | |")


def _reach(reach: Reach) -> tuple[tuple[str, ...], tuple[str, ...]]:
    rows = [_node(one) for one in reach.nodes]
    rows += [f"| | {code(one)} | a caller behind them | |" for one in reach.callers]
    return ("| | node or gateway | Envoy resources | connected proxies |", "|---|---|---|---|"), tuple(rows)


def _node(one: Reached) -> str:
    ids = ", ".join(code(id_) for id_ in one.proxies[:10])
    more = f" and {len(one.proxies) - 10} more" if len(one.proxies) > 10 else ""
    return f"| `{SIGNS[one.action]}` | {code(one.key)} | {tally(one)} | {ids}{more} |"


def _envoys(reach: Reach) -> Iterator[str]:
    told: list[Reached] = []
    for one in reach.nodes:
        if one.resources:
            yield f"{SIGNS[one.action]} {terminal(one.key)}"
            yield from described(one, told, "    ")
