"""A mapping that is never changed, and from which another one is made without copying the whole.

The one rule: what a mapping holds is the same for ever, whatever was made from it since.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# Any for its bound: keys are hashable and ordered, which no single type of the library says.
K = TypeVar("K", bound=Any)
V = TypeVar("V")

_Sorted: TypeAlias = tuple[list[K], tuple[V, ...]]
"""Keys and their values, in order of the keys."""

_ABSENT: Any = object()
_STALE = 64
"""By how many changes an order is let fall behind before it is mended unasked."""


class Layered(Generic[K, V]):
    """Most entries in a large dictionary that many mappings share, the newest changes in a small one of its own.

    The small one is folded into a new large one when it has grown to about the square root of all: so a change costs
    that much on average, and a lookup never more than two. None is no value: it stands for an entry that is gone.
    """

    __slots__ = ("_base", "_most", "_over", "_size", "_sorted", "_unsorted")

    def __init__(self, base: dict[K, V] | None = None) -> None:
        """`base` is kept as it is and must not be changed any more."""
        self._base: dict[K, V] = {} if base is None else base
        self._over: dict[K, V | None] = {}
        self._most = 8 + math.isqrt(2 * len(self._base))
        self._size = len(self._base)
        self._sorted: _Sorted[K, V] | None = None
        self._unsorted: tuple[_Sorted[K, V], dict[K, V | None]] | None = None
        """The order of a mapping that this one was made from, and what was changed since."""

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: K) -> bool:
        return self.get(key) is not None

    def get(self, key: K) -> V | None:
        """The value of `key`, or None."""
        if self._over:
            found = self._over.get(key, _ABSENT)
            if found is not _ABSENT:
                return found
        return self._base.get(key)

    def items(self) -> Iterable[tuple[K, V]]:
        """Every entry, in no order."""
        return (self._merged() if self._over else self._base).items()

    def ordered(self) -> tuple[V, ...]:
        """Every value, in the order of their keys; made when first asked for."""
        if self._sorted is None:
            unsorted = self._unsorted
            if unsorted is None:
                found = sorted(self.items(), key=lambda item: item[0])
                self._sorted = ([key for key, _ in found], tuple(value for _, value in found))
            else:
                self._sorted = _mended(*unsorted)
                self._unsorted = None
        return self._sorted[1]

    def changed(self, changes: Mapping[K, V | None]) -> Layered[K, V]:
        """This mapping with `changes`: a value, or None for an entry that is to go."""
        made: Layered[K, V] = Layered.__new__(Layered)
        made._base, made._most, made._over = self._base, self._most, {**self._over, **changes}
        made._size = self._size
        for key, value in changes.items():
            made._size += (value is not None) - (self.get(key) is not None)
        made._sorted = made._unsorted = None
        if len(made._over) > made._most:
            made._fold()
        known = (self._sorted, {}) if self._sorted is not None else self._unsorted
        if known is not None:
            made._unsorted = known[0], {**known[1], **changes}
            if len(made._unsorted[1]) > _STALE:
                made.ordered()
        return made

    def differing(self, other: Layered[K, V]) -> Iterator[K]:
        """The keys whose values are not the same object in both; cheap where one was made from the other."""
        if self is other:
            return
        keys = self._over.keys() | other._over.keys()
        if self._base is not other._base:
            keys = keys | self._base.keys() | other._base.keys()
        yield from (key for key in keys if self.get(key) is not other.get(key))

    def _merged(self) -> dict[K, V]:
        found: dict[K, Any] = {**self._base, **self._over}
        for key, value in self._over.items():
            if value is None:
                del found[key]
        return found

    def _fold(self) -> None:
        self._base, self._over = self._merged(), {}
        self._most = 8 + math.isqrt(2 * len(self._base))


def _mended(known: _Sorted[K, V], changes: Mapping[K, V | None]) -> _Sorted[K, V]:
    keys, values = list(known[0]), list(known[1])
    for key, value in changes.items():
        place = bisect_left(keys, key)
        there = place < len(keys) and keys[place] == key
        if value is None:
            if there:
                del keys[place], values[place]
        elif there:
            values[place] = value
        else:
            keys.insert(place, key)
            values.insert(place, value)
    return keys, tuple(values)
