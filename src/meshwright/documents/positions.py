"""Values that know where they stand: dictionaries and lists with the place of every key and item.

The one rule: a place is the line and column, from 1, at which a reader of the file finds the member.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import msgspec

if TYPE_CHECKING:
    from meshwright.diagnostics import Source

Place: TypeAlias = tuple[int, int]
"""Line and column, both from 1."""


class Elsewhere(tuple[int, int]):  # noqa: SLOT001 - what is of a tuple cannot have any
    """A place in another file than what is around it: of a field that an overlay set."""

    file: str

    @classmethod
    def of(cls, place: Place, file: str) -> Self:
        """`place` in `file`."""
        made = cls(place)
        made.file = file
        return made


NOWHERE: Place = (0, 0)

MAX_DEPTH = 100
"""How deep values may nest, aliases included; an App Mesh definition needs about fifteen."""


class Table(dict[str, Any]):
    """A mapping; `places` has the place of each key, `place` where the mapping itself begins."""

    __slots__ = ("place", "places")

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: dict[str, Place] = {}

    def put(self, key: str, value: Any, place: Place) -> None:
        """Set a member and its place."""
        self[key] = value
        self.places[key] = place

    def place_of(self, key: str) -> Place:
        """Where `key` stands, or the mapping itself where there is no such key."""
        return self.places.get(key, self.place)


class Items(list[Any]):
    """A list; `places` has the place of each item, `place` where the list itself begins."""

    __slots__ = ("place", "places")

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: list[Place] = []

    def put(self, value: Any, place: Place) -> None:
        """Append an item and its place."""
        self.append(value)
        self.places.append(place)


class Unquoted(str):
    """A scalar that stood without quotes and holds a `$` or `{{`: a template's variable may become anything."""

    __slots__ = ()


class Placed(str):
    """Text of the project file that knows where it stands."""

    __slots__ = ("source",)
    source: Source

    @classmethod
    def of(cls, text: str, source: Source) -> Self:
        """`text`, which stands at `source`."""
        made = cls(text)
        made.source = source
        return made


class Unknown:
    """Stands where a value could not be found out; the reason has been reported already."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "(unknown)"


UNKNOWN = Unknown()


def described(value: Any) -> str:
    """A value for a message: short, whatever it is."""
    if isinstance(value, Table | Items):
        return "a mapping" if isinstance(value, Table) else "a list"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


class Fault(msgspec.Struct, frozen=True):
    """Something wrong with a text: where, what, and what to do."""

    place: Place
    summary: str
    detail: str = ""


class Document(msgspec.Struct, frozen=True):
    """One document of a file; `faults` are those that leave its value usable, such as a key given twice."""

    value: Any
    place: Place
    faults: tuple[Fault, ...] = ()


class Parsed(msgspec.Struct, frozen=True):
    """What a text holds: the documents up to the first fault that makes the rest unreadable, and that fault."""

    documents: tuple[Document, ...]
    fault: Fault | None = None


_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def reach(root: Any, path: str) -> tuple[Any, Place, bool]:
    """The value at a wire path such as `spec.listeners[0].portMapping`, its place, and whether it is there.

    Where the path leads nowhere, the value and place are those of the nearest member around it.
    """
    value, place = root, root.place if isinstance(root, Table | Items) else NOWHERE
    for match in _STEP.finditer(path):
        index, name = match.groups()
        if name is not None and isinstance(value, Table):
            # A key with dots in it reads like several steps; the rest of the path is then the key.
            key = name if name in value else path[match.start() :]
            if key not in value:
                return value, place, False
            value, place = value[key], value.places.get(key, place)
            if key != name:
                return value, place, True
        elif index is not None and isinstance(value, Items) and int(index) < len(value):
            value, place = value[int(index)], value.places[int(index)]
        else:
            return value, place, False
    return value, place, True
