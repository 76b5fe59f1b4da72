"""How long calls took, as counts between bounds.

The one rule: what proxies report is added up and never averaged; a quantile is as fine as the bounds around it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_BOUNDS = 200
_LARGEST = 2.0**53
"""Milliseconds; what says more, or no number at all, is nonsense that would spoil all other counts."""
_MOST_CALLS = 2**53
"""In one bucket."""


class Latency:
    """A histogram in milliseconds; the first bounds that were added are kept, others are laid over them."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self) -> None:
        self.bounds: tuple[float, ...] = ()
        self.counts = array("Q")
        """Eight bytes a bucket, which a list of numbers has five times."""
        self.total = 0.0

    @property
    def count(self) -> int:
        """How many calls were measured."""
        return sum(self.counts)

    def add(self, bounds: Sequence[float], counts: Sequence[int], total: float) -> None:
        """Add `counts`, one more than there are `bounds`, of values that sum up to `total`, if they fit."""
        if len(counts) != len(bounds) + 1 or not 0 < len(bounds) <= _MOST_BOUNDS or list(bounds) != sorted(bounds):
            return
        if not all(0 <= one <= _LARGEST for one in chain(bounds, (total,))):
            return
        if not self.bounds:
            self.bounds, self.counts = tuple(bounds), array("Q", bytes(8 * len(counts)))
        same = self.bounds == tuple(bounds)
        for index, count in enumerate(counts):
            # A call that took at most so long belongs where that bound lies here.
            place = index if same else bisect_left(self.bounds, bounds[index]) if index < len(bounds) else -1
            self.counts[place] = min(self.counts[place] + count, _MOST_CALLS)
        self.total += total

    def merge(self, other: Latency) -> None:
        """Add all of another one."""
        if other.bounds:
            self.add(other.bounds, other.counts, other.total)

    def quantile(self, share: float) -> float | None:
        """The time within which that share of the calls was answered, in milliseconds; None without any.

        Calls are taken to lie evenly between two bounds; of those beyond the last bound that bound is told.
        """
        wanted, before = share * self.count, 0
        for index, count in enumerate(self.counts):
            if count and before + count >= wanted:
                if index == len(self.bounds):
                    return self.bounds[-1]
                low = self.bounds[index - 1] if index else 0.0
                return low + (self.bounds[index] - low) * max(wanted - before, 0.0) / count
            before += count
        return None
