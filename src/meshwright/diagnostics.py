"""Problems in a user's mesh, as values: found all at once, sorted, rendered by `meshwright.views`.

The one rule: a diagnostic says what is wrong, where, why it matters and what to do, without raising.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable


class Severity(enum.StrEnum):
    """How bad a finding is: an `error` would be refused or break traffic, a `warning` is unwise."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for an error, larger for milder severities."""
        return list(Severity).index(self)


class Source(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A place in a file; `line` and `column` count from 1, 0 where only the file is known."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Written(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an object is written in the files that it was read from."""

    file: str
    line: int = 0
    """Where it begins, from 1; 0 where only the file is known."""
    fields: dict[str, int] = {}
    """The line of each field, by wire path such as `spec.listeners[0].portMapping.port`."""
    files: dict[str, str] = {}
    """The file of each field that stands in another one, an overlay's, by wire path."""

    def at(self, path: str) -> Source:
        """Where the field at `path` stands, or the object."""
        if path not in self.fields:
            return Source(file=self.file, line=self.line)
        return Source(file=self.files.get(path, self.file), line=self.fields[path])


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """One finding about one place of one object."""

    rule: str
    """The rule's code, such as `MW203`."""
    severity: Severity
    summary: str
    """One line: the thing, the value, the fault."""
    detail: str = ""
    """Why it matters and what to do."""
    subject: str = ""
    """The object as a path without a leading slash: `mesh/shop/virtualNode/cart` (`Key.path`)."""
    path: str = ""
    """The field inside the object, in wire names: `spec.listeners[0].portMapping.port`."""
    source: Source | None = None
    """Where the field stands, when it came from a file."""

    @property
    def sort_key(self) -> tuple[str, int, int, int, str, str, str, str]:
        """Files first in reading order, then severity, subject, path, rule and text."""
        where = self.source or Source(file="")
        return (
            where.file,
            where.line,
            where.column,
            self.severity.rank,
            self.subject,
            self.path,
            self.rule,
            self.summary,
        )


def ordered(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """`found` without repetitions, in reading order."""
    return tuple(sorted(set(found), key=lambda one: one.sort_key))


def worst(found: Iterable[Diagnostic]) -> Severity | None:
    """The gravest severity among `found`, None when there is nothing."""
    return min((one.severity for one in found), key=lambda severity: severity.rank, default=None)
