"""A report says the same in every format, and no name in it can do harm."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

import sarif_shape
from meshwright.cli.terminal import shows_colour
from meshwright.diagnostics import Diagnostic, Severity, Source
from meshwright.rules import RULES
from meshwright.views import junit, sarif, text
from meshwright.views.diagnostics import Report, as_json, report

CART = "mesh/shop/virtualNode/cart"
ERROR = Diagnostic(
    rule="MW101",
    severity=Severity.ERROR,
    summary="VirtualNode with name x is missing",
    detail="Define it.",
    subject=CART,
    path="spec.backends[0]",
    source=Source(file="mesh dir/cart.yaml", line=12, column=5),
)
WARNING = Diagnostic(rule="MW203", severity=Severity.WARNING, summary="Never reached", subject="mesh/shop")
INFO = Diagnostic(
    rule="MW103", severity=Severity.INFO, summary="Elsewhere", subject=CART, source=Source(file="/abs/b.yaml")
)
FILE = Diagnostic(rule="MW010", severity=Severity.ERROR, summary="not YAML", source=Source(file="z.yaml", line=1))
OBJECTS = (CART, "mesh/shop", "mesh/shop/virtualNode/price")
REPORT = report(OBJECTS, [ERROR, WARNING, INFO, FILE, ERROR])
EVIL = "a\x1b[31m\r\n\u202e<b>&\"'\ud800\ufffe"
HARMLESS = report(
    [f"mesh/{EVIL}"],
    [
        Diagnostic(
            rule="MW002",
            severity=Severity.ERROR,
            summary=EVIL,
            detail=EVIL,
            subject=f"mesh/{EVIL}",
            path=EVIL,
            source=Source(file=EVIL, line=1),
        )
    ],
)


def test_json_holds_every_finding_once_in_reading_order() -> None:
    """The documented members, and no others."""
    told = json.loads(as_json(REPORT))
    assert {name: value for name, value in told.items() if name != "diagnostics"} == {
        "version": 1,
        "objects": ["mesh/shop", CART, "mesh/shop/virtualNode/price"],
        "errors": 2,
        "warnings": 1,
        "infos": 1,
    }
    assert [one["rule"] for one in told["diagnostics"]] == ["MW203", "MW103", "MW101", "MW010"]
    assert told["diagnostics"][2] == {
        "rule": "MW101",
        "severity": "error",
        "summary": "VirtualNode with name x is missing",
        "detail": "Define it.",
        "subject": CART,
        "path": "spec.backends[0]",
        "source": {"file": "mesh dir/cart.yaml", "line": 12, "column": 5},
    }
    assert told["diagnostics"][0]["source"] is None


def test_text_reads_like_a_compiler_and_ends_with_a_summary() -> None:
    """`file:line: severity CODE summary`, then where and what to do."""
    assert text.render(REPORT, colour=False) == (
        "warning MW203 Never reached\n"
        "    at mesh/shop\n"
        "/abs/b.yaml: info MW103 Elsewhere\n"
        f"    at {CART}\n"
        "mesh dir/cart.yaml:12: error MW101 VirtualNode with name x is missing\n"
        f"    at {CART} spec.backends[0]\n"
        "    Define it.\n"
        "z.yaml:1: error MW010 not YAML\n"
        "3 objects: 2 errors, 1 warning, 1 remark.\n"
    )
    assert text.render(report(OBJECTS[:1], []), colour=False) == "1 object: nothing found.\n"


def test_colour_changes_nothing_but_colour() -> None:
    """Without its escapes, the coloured text is the plain one."""
    coloured = text.render(REPORT, colour=True)
    assert "\x1b[1;31merror\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text.render(REPORT, colour=False)


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({}, False),
        ({"TRAVIS": "true"}, True),
        ({"TRAVIS": "true", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_a_file_gets_no_colour_and_a_ci_log_does(environment: dict[str, str], shown: bool) -> None:
    """NO_COLOR beats everything."""
    assert shows_colour(io.StringIO(), environment) is shown


def run(told: str) -> dict[str, Any]:
    """The one run of a SARIF log."""
    log = json.loads(told)
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (only,) = log["runs"]
    return dict(only)


def test_sarif_names_rule_level_file_and_line() -> None:
    """What code hosts need to show a finding beside its line."""
    told = run(sarif.render(REPORT, tool_version="1.2.3"))
    driver = told["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("Meshwright", "1.2.3")
    assert [one["id"] for one in driver["rules"]] == [rule.code for rule in RULES]
    results = {one["ruleId"]: one for one in told["results"]}
    assert {code: one["level"] for code, one in results.items()} == {
        "MW101": "error",
        "MW203": "warning",
        "MW103": "note",
        "MW010": "error",
    }
    for code, one in results.items():
        assert driver["rules"][one["ruleIndex"]]["id"] == code
        assert one["message"]["text"]
    (place,) = results["MW101"]["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "mesh%20dir/cart.yaml"},
        "region": {"startLine": 12, "startColumn": 5},
    }
    assert place["logicalLocations"] == [{"fullyQualifiedName": f"{CART}/spec.backends[0]", "kind": "resource"}]
    (place,) = results["MW103"]["locations"]
    assert place["physicalLocation"] == {"artifactLocation": {"uri": "file:///abs/b.yaml"}}
    assert len({one["partialFingerprints"]["meshwright/v1"] for one in told["results"]}) == 4


@pytest.mark.parametrize("told", [REPORT, HARMLESS, report([], [])], ids=["usual", "hostile", "nothing"])
def test_sarif_holds_what_the_standard_allows_and_nothing_else(told: Report) -> None:
    """Code hosts refuse the whole file for one member that does not fit."""
    assert len(sarif_shape.read(sarif.render(told, tool_version="1.2.3")).results) == len(told.diagnostics)


def test_sarif_names_a_file_whatever_it_is_called_and_makes_no_link() -> None:
    """A backslash in a name is no slash."""
    found = Diagnostic(
        rule="MW002",
        severity=Severity.ERROR,
        summary="see [x](http://y)",
        source=Source(file="a\\b c#?:%.yaml", line=1),
    )
    (one,) = sarif_shape.read(sarif.render(report([], [found]), tool_version="1")).results
    physical = one.locations[0].physical_location
    assert physical is not None
    assert physical.artifact_location.uri == "a%5Cb%20c%23%3F%3A%25.yaml"
    assert "](" not in one.message.text


def test_a_finding_keeps_its_fingerprint_when_its_line_moves() -> None:
    """Otherwise every edit above it would make it new."""
    prints = []
    for line in (3, 300):
        moved = Diagnostic(
            rule="MW203", severity=Severity.WARNING, summary="s", subject=CART, source=Source(file="a", line=line)
        )
        (one,) = run(sarif.render(report([], [moved]), tool_version="1"))["results"]
        prints.append(one["partialFingerprints"])
    assert prints[0] == prints[1]


@pytest.mark.parametrize(("fail_on", "failures"), [(Severity.ERROR, 2), (Severity.WARNING, 3)])
def test_junit_has_a_case_an_object_and_fails_those_with_grave_findings(fail_on: Severity, failures: int) -> None:
    """The file that could not be read is a case of its own; milder findings are output."""
    root = ET.fromstring(junit.render(REPORT, fail_on=fail_on))  # noqa: S314 - our own output
    (suite,) = root
    cases = {case.get("name"): case for case in suite}
    assert set(cases) == {*OBJECTS, "z.yaml"}
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", str(failures), "0")
    assert len(suite.findall("testcase/failure")) == failures
    failure = cases[CART].find("failure")
    assert failure is not None
    assert failure.get("message") == "VirtualNode with name x is missing"
    assert "mesh dir/cart.yaml:12: error MW101" in (failure.text or "")
    assert "info MW103 Elsewhere" in (cases[CART].findtext("system-out") or "")
    assert cases[CART].get("classname") == "meshwright.virtualNode"
    assert list(cases["mesh/shop/virtualNode/price"]) == []


def test_names_cannot_break_out_of_any_format() -> None:
    """Control characters, direction changes, markup, and what XML and UTF-8 cannot hold."""
    plain = text.render(HARMLESS, colour=False)
    assert "\x1b" not in plain
    assert "\u202e" not in plain
    assert len(plain.splitlines()) == 4
    (suite,) = ET.fromstring(junit.render(HARMLESS, fail_on=Severity.ERROR))  # noqa: S314 - our own output
    assert [case.tag for case in suite] == ["testcase"]
    quoted = (
        junit.render(HARMLESS, fail_on=Severity.ERROR),
        sarif.render(HARMLESS, tool_version="1"),
        as_json(HARMLESS),
        plain,
    )
    for rendered in quoted:
        assert "\x1b" not in rendered
        rendered.encode("utf-8")
