"""Where each field of each loaded object stands in its file.

The one rule: positions are looked up by subject and wire path, whatever the dialect spelled there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.diagnostics import Diagnostic, Source
from meshwright.documents.positions import Table, reach

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Sources:
    """The objects by subject (`Key.path`), each with its file and its positioned request."""

    def __init__(self, objects: Mapping[str, tuple[str, Table]]) -> None:
        self._objects = dict(objects)

    def __contains__(self, subject: object) -> bool:
        return subject in self._objects

    def __len__(self) -> int:
        return len(self._objects)

    def find(self, subject: str, path: str = "") -> Source | None:
        """Where the field at wire `path` of `subject` stands, or the nearest one around it; None when not loaded."""
        found = self._objects.get(subject)
        if found is None:
            return None
        file, table = found
        _, place, _ = reach(table, path)
        return Source(file=file, line=place[0], column=place[1])

    def attach(self, diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """`diagnostics` with a source wherever one had none and its subject was loaded."""
        return tuple(
            one
            if one.source is not None or one.subject not in self._objects
            else msgspec.structs.replace(one, source=self.find(one.subject, one.path))
            for one in diagnostics
        )
