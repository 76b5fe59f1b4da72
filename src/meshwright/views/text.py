"""A report for people: one line a finding as compilers write it, what to do below it, a summary at the end.

The one rule: nothing in a name or message reaches the terminal as a control character.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Severity
from meshwright.views.diagnostics import counted
from meshwright.views.escaping import terminal

if TYPE_CHECKING:
    from meshwright.diagnostics import Diagnostic
    from meshwright.views.diagnostics import Report

_COLOURS = {Severity.ERROR: "31", Severity.WARNING: "33", Severity.INFO: "36"}


def render(report: Report, *, colour: bool) -> str:
    """`file:line: severity CODE summary`, the object and the advice below it, a summary line; ends in a newline."""
    lines = [line for one in report.diagnostics for line in _lines(one, colour)]
    return "\n".join([*lines, _summary(report, colour)]) + "\n"


def _lines(one: Diagnostic, colour: bool) -> list[str]:
    where = f"{_painted(terminal(one.source), '1', colour)}: " if one.source is not None else ""
    severity = _painted(str(one.severity), f"1;{_COLOURS[one.severity]}", colour)
    lines = [f"{where}{severity} {terminal(one.rule)} {terminal(one.summary)}"]
    place = " ".join(filter(None, (terminal(one.subject), terminal(one.path))))
    lines += [_painted(f"    at {place}", "2", colour)] if place else []
    lines += [f"    {terminal(one.detail)}"] if one.detail else []
    return lines


def _summary(report: Report, colour: bool) -> str:
    looked_at = counted(len(report.objects), "object")
    if not report.diagnostics:
        return _painted(f"{looked_at}: nothing found.", "32", colour)
    counts = [counted(report.errors, "error"), counted(report.warnings, "warning")]
    counts += [counted(report.infos, "remark")] if report.infos else []
    return f"{looked_at}: {', '.join(counts)}."


def _painted(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text
