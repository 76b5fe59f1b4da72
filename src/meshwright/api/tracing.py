"""From an object that a proxy's rejection leads to, to the build that brought it: its release, its file and line.

The one rule: a place is told only as the release that wrote the object last gave it; nobody looks into files again.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeVar

    from meshwright.control import ProxyStatus
    from meshwright.model.identity import Key
    from meshwright.release import Account, Author, Cause, Release
    from meshwright.store.contract import Store

    T = TypeVar("T", Account, ProxyStatus)

_CAUSE = re.compile(r"(?:release|rollback) (.+)#(\d+)")
"""What a revision says that is a release."""

_LOOK_BACK = 1000
"""Releases among which the one is searched whose definitions a rollback restored."""

_BUILDS_BACK = 20
"""Releases that changed an object, among which the one is searched that gave a field its value."""
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
"""One step of a path: a member, or a place in a list."""


async def traced(store: Store, found: tuple[T, ...]) -> tuple[T, ...]:
    """`found` with what is known of the causes of their rejections; read in a thread, where there is any."""
    if not any(one.rejections for one in found):
        return found
    return await asyncio.to_thread(Tracing(store).traced, found)


class Tracing:
    """Reads each object's history once; for one answer, then thrown away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._authors: dict[Key, Author | None] = {}
        self._releases: dict[tuple[str, str, int], Release | None] = {}
        self._listed: dict[tuple[str, str], tuple[Release, ...]] = {}

    def traced(self, found: Iterable[T]) -> tuple[T, ...]:
        """`found` with what is known of the causes of their rejections."""
        return tuple(self._traced(one) if one.rejections else one for one in found)

    def _traced(self, one: T) -> T:
        rejections = tuple(
            msgspec.structs.replace(rejection, causes=tuple(self.cause(cause) for cause in rejection.causes))
            for rejection in one.rejections
        )
        return msgspec.structs.replace(one, rejections=rejections)

    def cause(self, one: Cause) -> Cause:
        """`one` with who brought it; as it is where that is known already, or nothing is."""
        if one.author is not None:
            return one
        if one.key not in self._authors:
            self._authors[one.key] = self._store.author(one.key)
        author = self._authors[one.key]
        if author is None:
            return one
        named = _CAUSE.fullmatch(author.cause)
        if named is None:
            return msgspec.structs.replace(one, author=author)
        brought = self._brought(one.key, named[1], int(named[2]))
        if brought is not None and one.path and (older := self._first_with(one, brought)) is not brought:
            brought = older
            author = msgspec.structs.replace(
                author,
                principal=older.principal,
                cause=f"release {older.title}",
                revision=older.revision,
                at=older.at,
            )
        written = brought.sources.get(one.key.path) if brought is not None else None
        return msgspec.structs.replace(
            one,
            author=author,
            release=brought.title if brought is not None else f"{named[1]}#{named[2]}",
            build=brought.build if brought is not None else None,
            source=written.at(one.path) if written is not None else None,
        )

    def _brought(self, key: Key, stack: str, number: int) -> Release | None:
        """The release whose definition of `key` release `number` left running: an older one, if it rolled back."""
        found = self._release(key.mesh, stack, number)
        while found is not None and found.restores is not None:
            older = self._last_change(key, stack, found.restores)
            if older is None:
                return found
            found = self._release(key.mesh, stack, older)
        return found

    def _first_with(self, one: Cause, found: Release) -> Release:
        """The release that gave the field at fault its value, if later ones changed only what is beside it."""
        value = _value(found, one)
        for _ in range(_BUILDS_BACK if value is not None else 0):
            number = self._last_change(one.key, found.stack, found.number - 1)
            older = self._brought(one.key, found.stack, number) if number is not None else None
            if older is None or older.number >= found.number or _value(older, one) != value:
                break
            found = older
        return found

    def _last_change(self, key: Key, stack: str, most: int) -> int | None:
        """The number of the newest release up to `most` that wrote `key`; None where it deleted it."""
        if (key.mesh, stack) not in self._listed:
            self._listed[key.mesh, stack] = self._store.releases(key.mesh, stack, _LOOK_BACK)
        for one in self._listed[key.mesh, stack]:
            for it in one.changes if one.number <= most else ():
                if it.key == key:
                    return one.number if it.action != "delete" else None
        return None

    def _release(self, mesh: str, stack: str, number: int) -> Release | None:
        place = (mesh, stack, number)
        if place not in self._releases:
            self._releases[place] = self._store.release(*place)
        return self._releases[place]


def _value(release: Release, cause: Cause) -> object:
    """What the field at fault holds in a release; None where it has none."""
    found: Any = next((item.spec for item in release.content if item.key == cause.key), None)
    for member, place in _STEP.findall(cause.path.removeprefix("spec")):
        try:
            found = found[int(place) if place else member]
        except (KeyError, IndexError, TypeError):
            return None
    return found
