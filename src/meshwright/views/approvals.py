"""Guardrails, pending releases and grants for people, rendered from the JSON of our own endpoints.

The one rule: the administrator's words are shown as they are, and nobody's control characters reach a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.views.escaping import terminal
from meshwright.views.releases import moment, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Document = Mapping[str, Any]

MOST = 20
"""Objections that are shown of one release."""


def objection_lines(found: Iterable[Document]) -> Iterator[str]:
    """What guardrails have against a release, one line each."""
    told = list(found)
    for one in told[:MOST]:
        place = terminal(f"{one['object']} {one['path']}".rstrip())
        what = terminal(one["summary"]).rstrip(".")
        rule = f"{one['severity']} {terminal(one['rule'])} ({terminal(one['about'])})"
        yield f"{rule}: {place}: {what}. {terminal(one['message'])}"
    if len(told) > MOST:
        yield f"and {len(told) - MOST} more"


def waiting_text(one: Document) -> str:
    """What a job is told whose release waits."""
    until = moment(one["expires_at"])
    lines = [f"{terminal(one['title'])} waits for somebody's approval{_in_steps(one)}, until {until} UTC:"]
    lines += [f"  {line}" for line in objection_lines(one["objections"])]
    lines.append(f"Nothing was changed yet. To let it through: meshwright approve {terminal(one['title'])}")
    return "\n".join(lines) + "\n"


def _in_steps(one: Document) -> str:
    """The steps of a canary, to be put after what it is; "" for a release at once."""
    canary = one.get("canary")
    return f", in steps of {', '.join(map(str, canary['weights']))} %" if canary else ""


def pending_text(found: Document) -> str:
    """The releases of a stack that wait, or did."""
    rows = [("PENDING", "STATE", "WHEN (UTC)", "UNTIL (UTC)", "BY", "CHANGES", "DECIDED BY")]
    for one in found["pending"]:
        over = one["decision"]
        by = over["principal"] if over else ""
        what = f"{len(one['changes'])} to change" if one["kind"] == "apply" else "a rollback"
        what += _in_steps(one)
        became = f" → {one['stack']}#{over['release']}" if over and over["release"] is not None else ""
        until = moment(one["expires_at"])
        state = f"{one['state']}{became}"
        rows.append((one["title"], state, moment(one["at"]), until, one["principal"], what, by))
    if len(rows) == 1:
        return f"No release of stack {terminal(found['stack'])} in mesh {terminal(found['mesh'])} waits.\n"
    text = table(rows)
    for one in found["pending"]:
        if one["state"] == "open":
            text += "".join(f"  {terminal(one['title'])}: {line}\n" for line in objection_lines(one["objections"]))
    if found["next"] is not None:
        text += f"Older ones: --before {terminal(found['stack'])}#pending-{found['next']}\n"
    return text


def guardrails_text(found: Document) -> str:
    """The rules that hold."""
    where = f"environment {terminal(found['environment'])}" if found["environment"] else "this control plane"
    lines = []
    if found["releases_only"]:
        lines.append(f"In {where} releases alone change the mesh; writes of single objects are refused.\n")
    if found["verified_builds"]:
        lines.append(f"In {where} only builds with a verified number may apply.\n")
    rows = [("GUARDRAIL", "SEVERITY", "MINDS", "MESSAGE")]
    for name, one in found["guardrails"].items():
        rows.append((name, one["severity"], _minds(one), one["message"]))
    if len(rows) == 1:
        return f"{''.join(lines)}No guardrail holds in {where}.\n"
    return "".join(lines) + table(rows)


def grants_text(found: Document) -> str:
    """The grants for a stack."""
    rows = [("GRANT", "STATE", "FOR", "UNTIL (UTC)", "GRANTED BY", "REASON", "USED FOR")]
    for one in found["grants"]:
        used = f"{one['stack']}#{one['use']['release']}" if one["use"] else ""
        until = moment(one["expires_at"])
        rows.append((str(one["number"]), one["state"], one["grantee"], until, one["principal"], one["reason"], used))
    if len(rows) == 1:
        return f"Nobody was granted to pass the guardrails of stack {terminal(found['stack'])}.\n"
    return table(rows)


def grant_text(one: Document) -> str:
    """A grant that was just given."""
    who, where = terminal(one["grantee"]), f"stack {terminal(one['stack'])} in mesh {terminal(one['mesh'])}"
    until = moment(one["expires_at"])
    return (
        f"Grant {one['number']}: {who} may pass the guardrails of {where} with one release until {until} UTC: "
        "meshwright apply --break-glass REASON\n"
    )


def withdrawn_text(one: Document) -> str:
    """A pending release that was just withdrawn."""
    return f"{terminal(one['title'])} is withdrawn; nothing was changed.\n"


def _minds(one: Document) -> str:
    parts = [", ".join(one["risks"])] if one["risks"] else []
    parts += [f"{name} {', '.join(one[name])}" for name in ("actions", "fields", "objects", "stacks") if one[name]]
    if one["over"] is not None:
        parts.append(f"over {one['over']:g} points")
    if len(one["kinds"]) == 1:
        parts.append(f"{one['kinds'][0]} only")
    return "; ".join(parts)
