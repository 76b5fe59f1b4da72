"""Variables of templates: `${NAME}` and `{{NAME}}` in text, `$NAME` and the like standing alone without quotes.

The one rule: a variable is replaced by the value given for it or reported by name; nothing else is touched.
`$${NAME}` stands for the text `${NAME}`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from meshwright.documents.findings import UNRESOLVED
from meshwright.documents.positions import UNKNOWN, Items, Place, Table, Unquoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.documents.findings import Findings

_NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
_VARIABLE = re.compile(rf"(\$?)\$\{{({_NAME})\}}|\{{\{{\s*\.?({_NAME})\s*\}}\}}")
_BARE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)\Z")
_EXPRESSION = re.compile(r"\{\{[^{}]*\}\}|\$\{[^{}]*\}")
_BRACES = re.compile(r"\{\{[^{}]*\}\}")


class Substitution:
    """Replaces the variables of one file's documents."""

    def __init__(self, parameters: Mapping[str, str], file: str, findings: Findings) -> None:
        self._parameters = parameters
        self._file = file
        self._findings = findings
        self.loose = False
        """Whether a variable was replaced: text may stand for a number then, as in `{port: "${PORT}"}`."""
        self._missing: dict[str, tuple[str, list[Place]]] = {}

    def apply(self, value: Any, place: Place) -> Any:
        """`value` with its variables replaced; `UNKNOWN` stands where one has no value."""
        if isinstance(value, Table):
            table = Table(value.place)
            for key, member in value.items():
                table.put(key, self.apply(member, value.places[key]), value.places[key])
            return table
        if isinstance(value, Items):
            items = Items(value.place)
            for one, where in zip(value, value.places, strict=True):
                items.put(self.apply(one, where), where)
            return items
        return self._text(value, place) if isinstance(value, str) else value

    def _text(self, text: str, place: Place) -> Any:
        if "$" not in text and "{{" not in text:
            return text
        if isinstance(text, Unquoted) and (bare := _BARE.match(text)):
            return self._given(bare[1], text, place)
        missing = False
        parts: list[str] = []
        end = 0
        for match in _VARIABLE.finditer(text):
            parts.append(text[end : match.start()])
            end = match.end()
            if match[1]:
                parts.append(match[0][1:])
                continue
            value = self._given(match[2] or match[3], match[0], place)
            missing = missing or value is UNKNOWN
            parts.append("" if value is UNKNOWN else value)
        if missing or self._strange(_VARIABLE.sub("", text), text, place):
            return UNKNOWN
        return "".join([*parts, text[end:]])

    def _given(self, name: str, written: str, place: Place) -> Any:
        if name in self._parameters:
            self.loose = True
            return self._parameters[name]
        self._missing.setdefault(name, (written, []))[1].append(place)
        return UNKNOWN

    def report(self) -> None:
        """Report each variable without a value, once, at its first place."""
        for name, (written, places) in self._missing.items():
            detail = f"Give it as --parameter {name}=VALUE or under parameters in meshwright.yaml."
            lines = len(set(places))
            if lines > 1:
                detail += f" It stands on {lines} lines of this file."
            told = f"the variable {written} has no value"
            self._findings.add(UNRESOLVED, self._file, places[0], told, detail)

    def _strange(self, rest: str, text: str, place: Place) -> bool:
        """Whether an expression of a template language is left, which only that language can work out."""
        match = (_EXPRESSION if isinstance(text, Unquoted) else _BRACES).search(rest)
        if match is None:
            return False
        told = f"{match[0][:60]!r} is an expression of a template"
        self._findings.add(UNRESOLVED, self._file, place, told, "Render the template first and give the result.")
        return True
