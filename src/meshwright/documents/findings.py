"""What loading finds wrong, collected as diagnostics with file and line.

The one rule: every finding of this package is made here, under one of these codes, and has a source.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity, Source, ordered
from meshwright.documents.positions import Elsewhere

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.documents.positions import Fault, Place

UNREADABLE = "MW010"
UNRESOLVED = "MW011"
INCOMPLETE = "MW012"
DUPLICATE = "MW013"
UNSUPPORTED = "MW014"
EMPTY = "MW015"
ASSUMED = "MW016"
UNMATCHED = "MW017"

CODES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        UNREADABLE: ("unreadable-document", "The file is not well-formed YAML or JSON, so that nothing is certain."),
        UNRESOLVED: ("unresolved-value", "A parameter, variable or function has no value before deployment."),
        INCOMPLETE: ("incomplete-definition", "A definition does not say which object, mesh or gateway it is about."),
        DUPLICATE: ("duplicate-definition", "One object is defined twice; which one holds would be chance."),
        UNSUPPORTED: ("unsupported-definition", "A kind, version or function that this version does not read."),
        EMPTY: ("no-definitions", "A file or folder that was named holds no App Mesh definitions."),
        ASSUMED: ("assumed-value", "Something was left out, and what it most likely means was taken."),
        UNMATCHED: ("unmatched-overlay", "An overlay names an object or an item that the definitions do not have."),
    }
)
"""Each code's name, and what it means; beside MW001 to MW003, which `model.decoding` gives."""


class Findings:
    """Collects diagnostics; the file is set once for each file."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []
        self._once: set[tuple[str, str]] = set()

    def add(
        self,
        rule: str,
        file: str,
        place: Place,
        summary: str,
        detail: str = "",
        *,
        severity: Severity = Severity.ERROR,
        subject: str = "",
        path: str = "",
    ) -> None:
        """Add one; `place` is (0, 0) where only the file is known, and may be in another file than `file`."""
        if isinstance(place, Elsewhere):
            file = place.file
        self._found.append(
            Diagnostic(
                rule=rule,
                severity=severity,
                summary=summary,
                detail=detail,
                subject=subject,
                path=path,
                source=Source(file=file, line=place[0], column=place[1]),
            )
        )

    def first(self, file: str, remedy: str) -> bool:
        """Whether `remedy` has not been asked for in this file yet; one finding is enough where one remedy serves."""
        known = (file, remedy) in self._once
        self._once.add((file, remedy))
        return not known

    def add_faults(self, file: str, *faults: Fault) -> None:
        """Add what a parser found."""
        for one in faults:
            self.add(UNREADABLE, file, one.place, one.summary, one.detail)

    def ordered(self) -> tuple[Diagnostic, ...]:
        """All of them, each once, in reading order."""
        return ordered(self._found)
