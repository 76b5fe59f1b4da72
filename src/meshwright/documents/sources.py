"""Where each field of each loaded object stands in its file.

The one rule: positions are looked up by subject and wire path, whatever the dialect spelled there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.diagnostics import Diagnostic, Source, Written
from meshwright.documents.positions import Elsewhere, Items, Table, reach

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from meshwright.documents.positions import Place


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
        file = place.file if isinstance(place, Elsewhere) else file
        return Source(file=file, line=place[0], column=place[1])

    def written(self, subjects: Iterable[str]) -> dict[str, Written]:
        """Where each of `subjects` that was loaded is written, with the line of every field."""
        found = {}
        for subject in subjects:
            if subject in self._objects:
                file, table = self._objects[subject]
                places = dict(_places(table, ""))
                others = {path: place.file for path, place in places.items() if isinstance(place, Elsewhere)}
                lines = {path: place[0] for path, place in places.items()}
                found[subject] = Written(file=file, line=table.place[0], fields=lines, files=others)
        return found

    def attach(self, diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """`diagnostics` with a source wherever one had none and its subject was loaded."""
        return tuple(
            one
            if one.source is not None or one.subject not in self._objects
            else msgspec.structs.replace(one, source=self.find(one.subject, one.path))
            for one in diagnostics
        )


def _places(value: Table | Items, path: str) -> Iterator[tuple[str, Place]]:
    """The place of each scalar below `value`, by wire path."""
    if isinstance(value, Table):
        members = [(f"{path}.{name}" if path else name, one, value.place_of(name)) for name, one in value.items()]
    else:
        members = [
            (f"{path}[{index}]", one, place)
            for index, (one, place) in enumerate(zip(value, value.places, strict=True))
        ]
    for where, one, place in members:
        if isinstance(one, Table | Items):
            yield from _places(one, where)
        else:
            yield where, place
