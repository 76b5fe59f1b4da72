"""Variables of templates: `${…}` and `{{NAME}}` in text, `$NAME` and the like standing alone without quotes.

The one rule: a variable is replaced by its value or reported with every place that needs it; nothing else is touched.
`$${NAME}` stands for the text `${NAME}`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from meshwright.documents.expressions import EXPRESSION, NAME, Reference, misread, reference
from meshwright.documents.findings import UNRESOLVED
from meshwright.documents.positions import UNKNOWN, Items, Place, Table, Unquoted
from meshwright.documents.values import MISREAD, Lack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.diagnostics import Severity
    from meshwright.documents.findings import Findings
    from meshwright.documents.values import Values

_VARIABLE = re.compile(rf"{EXPRESSION}|\{{\{{\s*\.?({NAME})\s*\}}\}}")
_BARE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)\Z")
_EXPRESSION = re.compile(r"\{\{[^{}]*\}\}|\$\{(?!\d+\})[^{}]*\}")
_BRACES = re.compile(r"\{\{[^{}]*\}\}")


class Substitution:
    """Replaces the variables of documents, of however many files."""

    def __init__(self, values: Values, findings: Findings) -> None:
        self._values = values
        self._findings = findings
        self._file = ""
        self.loose = False
        """Whether a variable was replaced: text may stand for a number then, as in `{port: "${PORT}"}`."""
        self._lacking: dict[object, tuple[Lack, list[tuple[str, Place, str]]]] = {}

    def document(self, value: Any, place: Place, file: str) -> Any:
        """A document of `file` with its variables replaced; `UNKNOWN` stands where one has no value."""
        self._file, self.loose = file, False
        return self._apply(value, place, "")

    def _apply(self, value: Any, place: Place, path: str) -> Any:
        if isinstance(value, Table):
            table = Table(value.place)
            for key, member in value.items():
                at = f"{path}.{key}" if path else key
                table.put(key, self._apply(member, value.places[key], at), value.places[key])
            return table
        if isinstance(value, Items):
            items = Items(value.place)
            for index, (one, where) in enumerate(zip(value, value.places, strict=True)):
                items.put(self._apply(one, where, f"{path}[{index}]"), where)
            return items
        return self._text(value, place, path) if isinstance(value, str) else value

    def _text(self, text: str, place: Place, path: str) -> Any:
        if "$" not in text and "{{" not in text:
            return text
        if isinstance(text, Unquoted) and (bare := _BARE.match(text)):
            return self._given(Reference(str(text), bare[1]), place, path)
        wrong = misread(text)
        if wrong is not None:
            told = f"{wrong[:60]!r} is not understood"
            self._findings.add(UNRESOLVED, self._file, place, told, MISREAD, path=path)
            return UNKNOWN
        lacking = False
        parts: list[str] = []
        end = 0
        for match in _VARIABLE.finditer(text):
            parts.append(text[end : match.start()])
            end = match.end()
            if match[1]:
                parts.append(match[0][1:])
                continue
            wanted = Reference(match[0], match[7]) if match[7] else reference(match)
            value = self._given(wanted, place, path)
            lacking = lacking or value is UNKNOWN
            parts.append("" if value is UNKNOWN else value)
        if lacking or self._strange(text, place):
            return UNKNOWN
        return "".join([*parts, text[end:]])

    def _given(self, wanted: Reference, place: Place, path: str) -> Any:
        found = self._values.value(wanted)
        if isinstance(found, str):
            self.loose = True
            return str(found)
        # One name may be written in several ways; whatever else is lacking has its own reason.
        same = found.kind == "missing" and wanted.why is None
        key = (wanted.source, wanted.name) if same else found
        self._lacking.setdefault(key, (found, []))[1].append((self._file, place, path))
        return UNKNOWN

    def report(self, withheld: Severity) -> None:
        """Report whatever is lacking, once, at its first place and with all others.

        What is `withheld` in a pull request is as grave as that.
        """
        for lack, places in self._lacking.values():
            file, place, path = places[0]
            told = [
                f"{file}:{line}:{column}{at and f' ({at})'}" for file, (line, column), at in dict.fromkeys(places)
            ]
            detail = lack.remedy
            if len(told) > 1:
                detail += f" Needed at {', '.join(told)}."
            severity = {"severity": withheld} if lack.kind == "withheld" else {}
            self._findings.add(UNRESOLVED, file, place, lack.told, detail, path=path, **severity)

    def _strange(self, text: str, place: Place) -> bool:
        """Whether an expression of a template language is left, which only that language can work out."""
        match = (_EXPRESSION if isinstance(text, Unquoted) else _BRACES).search(_VARIABLE.sub("", text))
        if match is None:
            return False
        told = f"{match[0][:60]!r} is an expression of a template"
        self._findings.add(UNRESOLVED, self._file, place, told, "Render the template first and give the result.")
        return True


def stored(value: Any) -> Iterator[str]:
    """The texts in `value`, at any depth, that name something in Parameter Store."""
    if isinstance(value, str):
        if "${ssm:" in value:
            yield value
    elif isinstance(value, Table | Items):
        for one in value.values() if isinstance(value, Table) else value:
            yield from stored(one)
