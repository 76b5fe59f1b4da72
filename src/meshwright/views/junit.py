"""A report as JUnit XML, which every CI shows: one test case an object that was looked at, and one a broken file.

The one rule: an object fails when one of its findings is as grave as what the check fails on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from meshwright.views.escaping import xml

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.diagnostics import Diagnostic, Severity
    from meshwright.views.diagnostics import Report


def render(report: Report, *, fail_on: Severity) -> str:
    """One suite `meshwright validate`; ends in a newline."""
    cases: dict[str, list[Diagnostic]] = {path: [] for path in report.objects}
    for one in report.diagnostics:
        cases.setdefault(one.subject or (one.source.file if one.source else one.rule), []).append(one)
    failed = sum(any(one.severity.rank <= fail_on.rank for one in found) for found in cases.values())
    head = f'name="meshwright validate" tests="{len(cases)}" failures="{failed}" errors="0"'
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f"<testsuites {head}>",
            f"  <testsuite {head}>",
            *(line for name, found in cases.items() for line in _case(name, found, fail_on)),
            "  </testsuite>",
            "</testsuites>\n",
        ]
    )


def _case(name: str, found: list[Diagnostic], fail_on: Severity) -> Iterable[str]:
    file = next((one.source.file for one in found if one.source is not None), "")
    attributes = f"classname={_attribute(_class(name))} name={_attribute(name)}"
    attributes += f" file={_attribute(file)}" if file else ""
    if not found:
        yield f"    <testcase {attributes}/>"
        return
    grave = [one for one in found if one.severity.rank <= fail_on.rank]
    mild = [one for one in found if one.severity.rank > fail_on.rank]
    yield f"    <testcase {attributes}>"
    if grave:
        yield f"      <failure type={_attribute(grave[0].rule)} message={_attribute(grave[0].summary)}>"
        yield f"{_text(grave)}</failure>"
    if mild:
        yield f"      <system-out>{_text(mild)}</system-out>"
    yield "    </testcase>"


def _class(name: str) -> str:
    """The kind of an object's path; files have a class of their own."""
    parts = name.split("/")
    return f"meshwright.{parts[-2]}" if parts[0] == "mesh" and len(parts) > 1 else "meshwright.files"


def _text(found: Iterable[Diagnostic]) -> str:
    return "\n".join(_plain(_line(one)) for one in found)


def _line(one: Diagnostic) -> str:
    where = f"{one.source}: " if one.source is not None else ""
    field = f" ({one.path})" if one.path else ""
    return f"{where}{one.severity} {one.rule} {one.summary}{field}. {one.detail}".strip()


def _plain(text: str) -> str:
    return escape(xml(text))


def _attribute(text: str) -> str:
    return quoteattr(xml(text))
