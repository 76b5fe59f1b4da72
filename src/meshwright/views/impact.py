"""What a plan means, for people: its risks, each with the object, the field and the place in the files.

The one rule: what may be long comes last and says what was left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.views.escaping import code, markdown, terminal
from meshwright.views.values import value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.impact.values import Impact, Risk

_YELLOW = "\x1b[33m{}\x1b[0m"


def text_lines(impact: Impact, *, colour: bool) -> Iterator[str]:
    """The lines that follow a plan on a terminal."""
    for number, one in enumerate(impact.risks):
        if not number:
            yield f"  {len(impact.risks)} risk{'s' * (len(impact.risks) != 1)}:"
        name = _YELLOW.format(one.code) if colour else one.code
        yield f"  ! {name} {terminal(one.key)}: {terminal(one.summary)}"
        where = [part for part in (terminal(one.path), _moved(one), terminal(one.source or "")) if part]
        if where:
            yield f"      {', '.join(where)}"


def markdown_lines(impact: Impact) -> Iterator[str]:
    """The lines that follow a plan in a pull request's comment."""
    if impact.risks:
        yield ""
        yield f"#### {len(impact.risks)} risk{'s' * (len(impact.risks) != 1)}"
        yield ""
        yield "| risk | object | what happens | field | now | then | where |"
        yield "|---|---|---|---|---|---|---|"
        yield from map(_row, impact.risks)


def _row(one: Risk) -> str:
    moved = [code(value(side)) if one.path or side is not None else "" for side in (one.old, one.new)]
    cells = (code(one.code), code(one.key), markdown(one.summary), code(one.path), *moved, code(one.source or ""))
    return f"| {' | '.join(cells)} |"


def _moved(one: Risk) -> str:
    if one.old is None and one.new is None:
        return ""
    return f"{value(one.old)} → {value(one.new)}"
