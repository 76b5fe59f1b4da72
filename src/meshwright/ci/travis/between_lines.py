"""Puts lines of YAML between those of a text: where a block ends, and in which column it stands.

The one rule: no line that is there is changed. Whoever puts lines reads the result again, and believes only that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.documents.positions import Items
from meshwright.documents.yaml_positions import read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable


class Conflicts(Exception):  # noqa: N818 - several conflicts are one refusal
    """What stands in the way, one sentence each, with file and line."""

    def __init__(self, told: Iterable[str]) -> None:
        self.told = tuple(told)
        super().__init__("\n".join(self.told))


class Lines:
    """The lines of a text, and what is put between them; lines and columns count from 0."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = text.split("\n")
        if self._lines[-1] == "":
            self._lines.pop()
        self._ending = "\r" if text.endswith("\r\n") else ""
        self._puts: dict[int, list[str]] = {}
        self._tail: list[str] = []

    def dashes(self, items: Any) -> int | None:
        """The column of the dashes of a list; None where it is not written one item a line."""
        if not isinstance(items, Items) or not items:
            return None
        line = self._lines[items.places[0][0] - 1]
        bare = line.lstrip()
        return len(line) - len(bare) if bare.startswith("- ") else None

    def margin(self, line: int) -> int:
        """The column in which a line begins."""
        return len(self._lines[line]) - len(self._lines[line].lstrip())

    def end(self, first: int, column: int, *, mapping: bool = False) -> int:
        """The line after the last of a block that begins in the line `first`: a list, or a mapping.

        Comments below it that stand as far to the right belong to it.
        """
        end = first + 1
        for number in range(first + 1, len(self._lines)):
            bare = self._lines[number].lstrip()
            margin = self.margin(number)
            if not bare or (bare.startswith("#") and margin < column):
                continue
            inside = margin > column or (margin == column and (mapping or bare.startswith(("-", "#"))))
            if not inside:
                break
            end = number + 1
        return end

    def put(self, before: int, block: Iterable[str]) -> None:
        """Put lines before that line."""
        self._puts.setdefault(before, []).extend(block)

    def append(self, block: Iterable[str]) -> None:
        """Put lines at the end, after an empty one."""
        self._tail += ["", *block]

    def joined(self) -> str:
        """The text with what was put; the very same where nothing was."""
        if not self._puts and not self._tail:
            return self._text
        made: list[str] = []
        for number in range(len(self._lines) + 1):
            made += (f"{line}{self._ending}" for line in self._puts.get(number, ()))
            made += self._lines[number : number + 1]
        made += (f"{line}{self._ending}" for line in self._tail)
        return "\n".join([*made, ""])


def reads_as(text: str, wanted: Any) -> bool:
    """Whether a text is one document of YAML with that value."""
    read = read_yaml(text)
    return not read.fault and len(read.documents) == 1 and bool(read.documents[0].value == wanted)


def faults(text: str, file: str) -> list[str]:
    """What keeps a text from being extended, one sentence each: it is not sound, or has several documents."""
    parsed = read_yaml(text)
    found = [*(fault for one in parsed.documents for fault in one.faults), *([parsed.fault] if parsed.fault else [])]
    return [f"{file}:{one.place[0]}: {one.summary}. {one.detail}".rstrip() for one in found]
