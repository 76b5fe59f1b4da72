"""A test run as JUnit XML, which every CI shows: one suite a file, one test case a test.

The one rule: the file is valid by the schema that Jenkins and pytest keep, which knows no `file` and `line` of a test
case: a suite names its file, and a failure begins with both.
Source: https://github.com/jenkinsci/xunit-plugin, `junit-10.xsd`
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from meshwright.views.escaping import xml
from meshwright.views.markup import cut
from meshwright.views.trials_text import told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.views.trials import RunReport, Test

_LOGGED, _LENGTH = 40, 500
"""Lines of logs of a test that are told, and characters of each."""


def render(report: RunReport) -> str:
    """The whole document, with suites in the order of the tests; ends in a newline."""
    suites: dict[str, list[Test]] = {}
    for one in report.tests:
        suites.setdefault(one.source.file if one.source else "", []).append(one)
    counts = f'tests="{len(report.tests)}" failures="{report.failed}" errors="{report.broken}"'
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<testsuites name="meshwright test" {counts} time="{report.seconds:.3f}">',
            *(line for file, tests in suites.items() for line in _suite(report, file, tests)),
            "</testsuites>\n",
        ]
    )


def _suite(report: RunReport, file: str, tests: Sequence[Test]) -> Iterator[str]:
    outcomes = [one.outcome for one in tests]
    numbers = {
        "tests": len(tests),
        "failures": outcomes.count("failed"),
        "errors": outcomes.count("broken"),
        "skipped": outcomes.count("skipped"),
    }
    began = datetime.fromtimestamp(report.at / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    named = f"name={_attribute(file or 'meshwright test')}" + (f" file={_attribute(file)}" if file else "")
    counts = " ".join(f'{name}="{count}"' for name, count in numbers.items())
    seconds = sum(one.seconds for one in tests)
    yield f'  <testsuite {named} {counts} time="{seconds:.3f}" timestamp="{began}">'
    yield "    <properties>"
    known = {"mesh": report.mesh, "mode": report.mode, "isolation": report.isolation, "coverage": report.coverage}
    yield from (f'      <property name="{name}" value={_attribute(value)}/>' for name, value in known.items())
    yield "    </properties>"
    for one in tests:
        yield from _case(one)
    yield "  </testsuite>"


def _case(one: Test) -> Iterator[str]:
    attributes = f'name={_attribute(one.name)} classname={_attribute(_class(one))} time="{one.seconds:.3f}"'
    inside = list(_result(one))
    if not inside:
        yield f"    <testcase {attributes}/>"
        return
    yield f"    <testcase {attributes}>"
    yield from inside
    yield "    </testcase>"


def _result(one: Test) -> Iterator[str]:
    """What there is to say of a test beside that it passed."""
    if one.outcome == "skipped":
        yield f"      <skipped message={_attribute(one.fault)}/>"
    elif one.outcome == "passed" and one.again:
        yield '      <flakyFailure type="again" message="It passed only when it was run once more."/>'
    elif one.outcome != "passed":
        member = "error" if one.outcome == "broken" else "failure"
        first = one.fault or "; ".join(
            f"{each.what}: expected {each.expected}, {each.happened}" for each in one.mismatches
        )
        yield f"      <{member} type={_attribute(one.outcome)} message={_attribute(first)}>"
        yield f"{_text(told(one).splitlines())}</{member}>"
        lines = [cut(line, _LENGTH) for call in one.seen for line in call.log]
        left = len(lines) - _LOGGED
        lines[_LOGGED:] = [f"… {left} more lines are in the JSON report"] if left > 0 else []
        if lines:
            yield f"      <system-out>{_text(lines)}</system-out>"


def _class(one: Test) -> str:
    """Who wrote it and in which file, with the dots by which viewers make folders."""
    words = ["meshwright", "derived" if one.derived else "written"]
    path = re.sub(r"\.\w+$", "", one.source.file) if one.source else ""
    return ".".join([*words, *(part.replace(".", "_") for part in path.split("/") if part.strip("."))])


def _text(lines: Sequence[str]) -> str:
    return "\n".join(escape(xml(line)) for line in lines)


def _attribute(text: object) -> str:
    return quoteattr(xml(text))
