"""The parameters of a CloudFormation template: what was given, or the default, held against what is allowed.

The one rule: each fault of a parameter is reported once, where the parameter is declared or first used.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import re2

from meshwright.documents.findings import UNRESOLVED
from meshwright.documents.positions import UNKNOWN, Items, Place, Table
from meshwright.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.documents.findings import Findings
    from meshwright.documents.settings import LoadSettings


class TemplateParameters:
    """The values of a template's parameters."""

    def __init__(self, declared: Table, settings: LoadSettings, file: str, findings: Findings) -> None:
        self._declared = declared
        self._given = settings.parameters
        self._settings = settings
        self._file = file
        self._findings = findings
        self._values: dict[str, Any] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._declared

    def near(self, name: str, others: Iterable[str]) -> str | None:
        """The parameter, or one of `others`, that `name` may have been meant to be."""
        return nearest(name, [*self._declared, *others])

    def value(self, name: str, place: Place) -> Any:
        """The value of a declared parameter: text, or a list of texts; `UNKNOWN` where it has none or a wrong one."""
        if name not in self._values:
            self._values[name] = self._value(name, place)
        return self._values[name]

    def _value(self, name: str, place: Place) -> Any:
        declared = self._declared[name] if isinstance(self._declared[name], Table) else Table(place)
        type_name = str(declared.get("Type", "String"))
        stored = type_name.startswith("AWS::SSM::Parameter::Value")
        lack = self._settings.lacks.get(name)
        if lack is not None:
            severity = self._settings.gravity(lack)
            self._findings.add(UNRESOLVED, self._file, place, lack.told, lack.remedy, severity=severity)
            return UNKNOWN
        value = self._given.get(name)
        if value is None and not stored:
            value = _text(declared.get("Default"))
        if value is None:
            told = f"the parameter {name} has no value"
            if stored:
                told += ": Parameter Store has it, which is not asked"
            detail = f"Give it as --parameter {name}=VALUE or under parameters in meshwright.yaml."
            self._findings.add(UNRESOLVED, self._file, place, told, detail)
            return UNKNOWN
        listed = type_name == "CommaDelimitedList" or type_name.startswith("List<")
        parts = [one.strip() for one in value.split(",")] if listed else [value]
        faults = [fault for one in parts for fault in _faults(declared, type_name, one)]
        shown = "given" if _text(declared.get("NoEcho")) == "true" else repr(value[:80])
        for fault in faults:
            where = self._declared.places[name]
            self._findings.add(UNRESOLVED, self._file, where, f"the parameter {name} is {shown}, but {fault}")
        if faults:
            return UNKNOWN
        return _items(parts, place) if listed else value


def _items(parts: list[str], place: Place) -> Items:
    items = Items(place)
    for one in parts:
        items.put(one, place)
    return items


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, Table | Items):
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _faults(declared: Table, type_name: str, value: str) -> Iterator[str]:
    allowed = declared.get("AllowedValues")
    if isinstance(allowed, Items):
        texts = [_text(one) for one in allowed]
        if value not in texts:
            yield f"it takes one of {', '.join(str(one) for one in texts)}"
    pattern = declared.get("AllowedPattern")
    if isinstance(pattern, str) and not _matches(pattern, value):
        yield f"it does not match {pattern}"
    for key, sign in (("MinLength", 1), ("MaxLength", -1)):
        limit = _number(declared.get(key))
        if limit is not None and sign * len(value) < sign * limit:
            yield f"its {key} is {limit:g}"
    if type_name in {"Number", "List<Number>"}:
        yield from _number_faults(declared, value)


def _number_faults(declared: Table, value: str) -> Iterator[str]:
    number = _number(value)
    if number is None:
        yield "it takes a number"
        return
    for key, sign in (("MinValue", 1), ("MaxValue", -1)):
        limit = _number(declared.get(key))
        if limit is not None and sign * number < sign * limit:
            yield f"its {key} is {limit:g}"


def _number(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None


def _matches(pattern: str, value: str) -> bool:
    """RE2 takes linear time whatever the pattern; one that it does not know (look-around) is not held against it."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.fullmatch(pattern, value, options) is not None
    except re2.error:
        return True
