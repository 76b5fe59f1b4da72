"""A report as SARIF 2.1.0, which code hosts show beside the lines.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from meshwright.diagnostics import Severity
from meshwright.rules import RULES, Rule, find, rendered
from meshwright.views.escaping import indented_json, terminal

if TYPE_CHECKING:
    from meshwright.diagnostics import Diagnostic, Source
    from meshwright.views.diagnostics import Report

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def render(report: Report, *, tool_version: str) -> str:
    """One run of the tool `Meshwright`, with the rules that it knows; ends in a newline."""
    places = {rule.code: index for index, rule in enumerate(RULES)}
    run = {
        "tool": {
            "driver": {"name": "Meshwright", "version": tool_version, "rules": [_rule(rule) for rule in RULES]},
        },
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, places) for one in report.diagnostics],
    }
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return indented_json(log)


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": "".join(part.capitalize() for part in rule.name.split("-")),
        "shortDescription": {"text": rule.summary},
        "help": {"text": rule.page, "markdown": rendered(rule)},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(one: Diagnostic, places: dict[str, int]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": one.rule,
        "level": _LEVELS[one.severity],
        "message": {"text": _message(one)},
        "partialFingerprints": {"meshwright/v1": _fingerprint(one)},
    }
    if find(one.rule) is not None:
        result["ruleIndex"] = places[one.rule]
    location: dict[str, Any] = {}
    if one.source is not None:
        location["physicalLocation"] = _physical(one.source)
    if one.subject:
        name = "/".join(filter(None, (one.subject, one.path)))
        location["logicalLocations"] = [{"fullyQualifiedName": terminal(name), "kind": "resource"}]
    if location:
        result["locations"] = [location]
    return result


def _message(one: Diagnostic) -> str:
    """Summary and detail; what would be a link in a plain text of SARIF (3.11.6) is none."""
    text = ". ".join(filter(None, (terminal(one.summary).rstrip("."), terminal(one.detail))))
    return text.replace("](", "] (")


def _physical(source: Source) -> dict[str, Any]:
    path = source.file
    uri = f"file://{quote(path)}" if path.startswith("/") else quote(path.removeprefix("./"))
    region = {"startLine": source.line, **({"startColumn": source.column} if source.column else {})}
    return {"artifactLocation": {"uri": uri}, **({"region": region} if source.line else {})}


def _fingerprint(one: Diagnostic) -> str:
    """The same for the same finding wherever it moves in its file."""
    parts = (one.rule, one.subject, one.path, one.summary)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
