"""A plan for people: as text for a terminal, as Markdown for a pull request; its JSON is the plan itself.

The one rule: every change is shown, field by field, in wire names; nothing in a name or value is markup.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from meshwright.impact.values import Impact
from meshwright.views import impact as meaning
from meshwright.views.escaping import code, indented_json, terminal
from meshwright.views.plan_markdown import LIMIT, rendered, whole
from meshwright.views.values import value
from meshwright.views.wire import to_wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meshwright.diagnostics import Written
    from meshwright.impact.tested import RunSummary
    from meshwright.model.identity import Key
    from meshwright.model.state import State
    from meshwright.plan import Field, Plan

_SIGNS = {"create": "+", "update": "~", "delete": "-"}
_COLOURS = {"create": "32", "update": "33", "delete": "31"}
_NOTHING = Impact()


def as_json(
    plan: Plan,
    impact: Impact | None = None,
    *,
    sources: Mapping[str, Written] = MappingProxyType({}),
    definitions: str = "",
    tests: RunSummary | None = None,
    adopted: Sequence[Key] = (),
) -> str:
    """The plan as indented JSON, with what it means, or with what `--out` adds; it ends in a newline.

    That is where its objects are written, the digest of the definitions, what tests said of them, and what
    of it was adopted.
    """
    more = ({"impact": to_wire(impact)} if impact is not None else {}) | (
        {"sources": to_wire(sources)} if sources else {}
    )
    more |= {"definitions": definitions} if definitions else {}
    more |= {"tests": to_wire(tests)} if tests is not None else {}
    more |= {"adopted": [key.path for key in adopted]} if adopted else {}
    return indented_json(to_wire(plan) | more)


def as_text(
    plan: Plan, impact: Impact = _NOTHING, *, colour: bool, protected: str = "", observed: State | None = None
) -> str:
    """The plan for a terminal; ends in a newline. `protected` names its environment, if that is protected.

    From `observed`, the state that it starts from, is known what is deleted.
    """
    lines = [_headline(plan, terminal, protected)]
    for change in plan.changes:
        sign = f"{_SIGNS[change.action]} {terminal(change.key)}"
        lines.append("  " + (f"\x1b[{_COLOURS[change.action]}m{sign}\x1b[0m" if colour else sign))
        lines += [f"      {terminal(one.path)}: {_moved(one)}" for one in change.fields]
        lines += [f"      {terminal(path)}: {value(told)}" for path, told in whole(change, observed)]
    lines += [f"  On the way, {terminal(text)}" for text in _detours(plan)]
    lines += [f"  Conflict: {terminal(one.reason)}." for one in plan.conflicts]
    lines += meaning.text_lines(impact, colour=colour)
    return "\n".join(lines) + "\n"


def as_markdown(
    plan: Plan,
    impact: Impact = _NOTHING,
    *,
    limit: int = LIMIT,
    protected: str = "",
    observed: State | None = None,
) -> str:
    """The plan for a pull request's comment, in at most `limit` characters; ends in a newline.

    `protected` names its environment, if that is protected; `observed` as for `as_text`.
    """
    # Where names occur in prose, all of it is code: elsewhere `@name` and `#12` call people and link issues.
    remarks = [f"- **Conflict:** {code(one.reason)}" for one in plan.conflicts]
    remarks += [f"- On the way, {code(text)}" for text in _detours(plan)]
    return rendered(plan, impact, _headline(plan, code, protected), remarks, limit, observed)


def _headline(plan: Plan, escaped: Any, protected: str) -> str:
    where = f"stack {escaped(plan.stack)} in mesh {escaped(plan.mesh)}"
    if protected:
        where += f" (protected environment {escaped(protected)})"
    if plan.empty and not plan.conflicts:
        return f"No changes for {where}."
    counts = ", ".join(f"{plan.count(action)} to {action}" for action in _SIGNS)
    held = f", {len(plan.conflicts)} in conflict" if plan.conflicts else ""
    return f"Plan for {where}: {counts}{held}."


def _moved(field: Field) -> str:
    return f"{value(field.old)} → {value(field.new)}"


def _detours(plan: Plan) -> Iterator[str]:
    """What a change of listeners makes necessary beside the changes themselves."""
    for step in plan.steps:
        if step.action == "create" and step.reason:
            yield f"{step.key} is deleted and created again, unseen from outside: {step.reason}."
