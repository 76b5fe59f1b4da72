"""JSON with the place of every key and item, and the unquoted `$NAME` that jq templates hold.

The one rule: exactly RFC 8259 otherwise, with keys given twice refused and depth limited.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import Any

from meshwright.documents.positions import MAX_DEPTH, Document, Fault, Items, Parsed, Place, Table, Unquoted

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"', re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,999})(\.[0-9]+)?([eE][-+]?[0-9]+)?(?![0-9A-Za-z_.])")
_WORD = re.compile(r"(?:true|false|null)(?![0-9A-Za-z_])")
_WORDS = {"true": True, "false": False, "null": None}
_VARIABLE = re.compile(r"\$[A-Za-z_]\w*|\$\{[^{}\n]*\}|\{\{[^{}\n]*\}\}")
_SURROGATE = re.compile("[\ud800-\udfff]")


class _FatalError(Exception):
    """The text is not JSON from here on."""

    def __init__(self, offset: int, summary: str, detail: str = "") -> None:
        super().__init__(summary)
        self.offset = offset
        self.summary = summary
        self.detail = detail


def read_json(text: str) -> Parsed:
    """The one document of `text`; never raises for what is in it."""
    reader = _Reader(text)
    try:
        return Parsed((reader.document(),))
    except _FatalError as error:
        return Parsed((), Fault(reader.place(error.offset), error.summary, error.detail))


class _Reader:
    """Goes through the text once; recursion is bounded by `MAX_DEPTH`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._faults: list[Fault] = []

    def place(self, offset: int) -> Place:
        """Line and column of a character."""
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def document(self) -> Document:
        """The whole text as one document."""
        at = self._skip(0)
        if at == len(self._text):
            return Document(None, (1, 1))
        value, end = self._value(at, 1)
        end = self._skip(end)
        if end < len(self._text):
            told = "Several objects in one file stand in a list: [ {…}, {…} ]."
            raise _FatalError(end, f"this is not JSON: {self._shown(end)} after the end of the document", told)
        return Document(value, self.place(at), tuple(self._faults))

    def _skip(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return match.end() if match else at

    def _value(self, at: int, depth: int) -> tuple[Any, int]:
        first = self._text[at : at + 1]
        if first == '"':
            return self._string(at)
        if (first == "$" or self._text.startswith("{{", at)) and (match := _VARIABLE.match(self._text, at)):
            return Unquoted(match[0]), match.end()
        if first in {"{", "["} and depth > MAX_DEPTH:
            raise _FatalError(
                at, f"values nest deeper than {MAX_DEPTH} levels", "No App Mesh definition needs a tenth of that."
            )
        if first == "{":
            return self._object(at, depth)
        if first == "[":
            return self._list(at, depth)
        if match := _NUMBER.match(self._text, at):
            whole = match[1] is None and match[2] is None
            return (int if whole else float)(match[0]), match.end()
        if match := _WORD.match(self._text, at):
            return _WORDS[match[0]], match.end()
        raise _FatalError(at, f"this is not JSON: a value should stand here, found {self._shown(at)}", self._hint(at))

    def _object(self, start: int, depth: int) -> tuple[Table, int]:
        table = Table(self.place(start))
        at = self._skip(start + 1)
        if self._text.startswith("}", at):
            return table, at + 1
        while True:
            if not self._text.startswith('"', at):
                told = f"this is not JSON: a key in double quotes should stand here, found {self._shown(at)}"
                raise _FatalError(at, told, self._hint(at))
            place = self.place(at)
            key, at = self._string(at)
            at = self._expect(":", self._skip(at), "after a key")
            value, at = self._value(self._skip(at), depth + 1)
            if key in table:
                told = f"the key {key!r} is given twice, first on line {table.places[key][0]}"
                self._faults.append(Fault(place, told, "Only one of them can hold; remove the other."))
            else:
                table.put(key, value, place)
            at = self._skip(at)
            if self._text.startswith("}", at):
                return table, at + 1
            at = self._skip(self._expect(",", at, "or } after a member"))

    def _list(self, start: int, depth: int) -> tuple[Items, int]:
        items = Items(self.place(start))
        at = self._skip(start + 1)
        if self._text.startswith("]", at):
            return items, at + 1
        while True:
            place = self.place(at)
            value, at = self._value(at, depth + 1)
            items.put(value, place)
            at = self._skip(at)
            if self._text.startswith("]", at):
                return items, at + 1
            at = self._skip(self._expect(",", at, "or ] after an item"))

    def _string(self, at: int) -> tuple[str, int]:
        match = _STRING.match(self._text, at)
        if match is None:
            raise _FatalError(at, "this is not JSON: the string that begins here has no end on its line")
        raw = match[0]
        if "\\" not in raw:
            return raw[1:-1], match.end()
        try:
            value = json.loads(raw)
        except ValueError:
            raise _FatalError(at, f"this is not JSON: {raw[:60]} holds an escape that JSON does not know") from None
        if _SURROGATE.search(value):
            raise _FatalError(at, f"this is not JSON: {raw[:60]} holds half of a surrogate pair")
        return value, match.end()

    def _expect(self, token: str, at: int, where: str) -> int:
        if self._text.startswith(token, at):
            return at + 1
        told = f"this is not JSON: {token} should stand {where}, found {self._shown(at)}"
        raise _FatalError(at, told, self._hint(at))

    def _shown(self, at: int) -> str:
        shown = self._text[at : at + 20].splitlines()
        return repr(shown[0]) if shown else "the end of the file"

    def _hint(self, at: int) -> str:
        if self._text.startswith(("}", "]"), at):
            return "JSON allows no comma before a closing bracket."
        if self._text.startswith(("//", "/*", "#"), at):
            return "JSON has no comments; YAML does."
        if self._text.startswith("'", at):
            return "JSON strings stand in double quotes."
        return ""
