"""A test run as JUnit XML, which every CI shows: one test case a test, in two classes: written and derived.

The one rule: a test that failed is a failure, one that could not be run an error; both say all that the text says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from meshwright.views.escaping import xml
from meshwright.views.trials_text import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.views.trials import RunReport, Test


def render(report: RunReport) -> str:
    """One suite `meshwright test`; ends in a newline."""
    counts = (
        f'tests="{len(report.tests)}" failures="{report.failed}" errors="{report.broken}" skipped="{report.skipped}"'
    )
    head = f'name="meshwright test" {counts} time="{report.seconds:.3f}"'
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f"<testsuites {head}>",
            f"  <testsuite {head}>",
            *(line for one in report.tests for line in _case(one)),
            "  </testsuite>",
            "</testsuites>\n",
        ]
    )


def _case(one: Test) -> Iterator[str]:
    kind = "derived" if one.derived else "written"
    attributes = f'classname={_attribute(f"meshwright.{kind}")} name={_attribute(one.name)} time="{one.seconds:.3f}"'
    attributes += f" file={_attribute(one.source.file)}" if one.source else ""
    attributes += f' line="{one.source.line}"' if one.source and one.source.line else ""
    if one.outcome == "passed":
        yield f"    <testcase {attributes}/>"
        return
    if one.outcome == "skipped":
        yield f"    <testcase {attributes}>"
        yield f"      <skipped message={_attribute(one.fault)}/>"
        yield "    </testcase>"
        return
    member = "error" if one.outcome == "broken" else "failure"
    first = one.fault or "; ".join(
        f"{each.what}: expected {each.expected}, {each.happened}" for each in one.mismatches
    )
    yield f"    <testcase {attributes}>"
    yield f"      <{member} type={_attribute(one.outcome)} message={_attribute(first)}>"
    yield f"{escape(xml(told(one)))}</{member}>"
    yield "    </testcase>"


def _attribute(text: str) -> str:
    return quoteattr(xml(text))
