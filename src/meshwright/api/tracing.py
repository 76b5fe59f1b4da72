"""From an object that a proxy's rejection leads to, to the build that brought it: its release, its file and line.

The one rule: a place is told only as the release that wrote the object last gave it; nobody looks into files again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

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


class Tracing:
    """Reads each object's history once; for one answer, then thrown away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._authors: dict[Key, Author | None] = {}
        self._releases: dict[tuple[str, str, int], Release | None] = {}

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
        release = self._release(one.key.mesh, named[1], int(named[2]))
        return msgspec.structs.replace(
            one,
            author=author,
            release=f"{named[1]}#{named[2]}",
            build=release.build if release is not None else None,
        )

    def _release(self, mesh: str, stack: str, number: int) -> Release | None:
        place = (mesh, stack, number)
        if place not in self._releases:
            self._releases[place] = self._store.release(*place)
        return self._releases[place]
