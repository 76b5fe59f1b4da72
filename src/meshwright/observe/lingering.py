"""Calls that stay under way, of one proxy by one of its clusters: how many have been there for too long.

The one rule: only what cannot have ended in time is told. Reports carry how many calls are under way, and not since
when: those count that were there in every report for as long as a call may take, but for those of before.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from meshwright.observe.traffic import Load

MOST = 10_000
"""Reports that are remembered at most; the oldest go first, and nothing is told then."""


class Held(NamedTuple):
    """What was under way all the time, and what came meanwhile."""

    calls: int = 0
    """Under way at each report for as long as a call may take."""
    rate: float = 0.0
    """Calls issued a millisecond, in that time."""


class _Report(NamedTuple):
    number: int
    at: int
    active: int
    """Under way, without those of before."""
    issued: int
    """Since the first report."""


class Lingering:
    """What successive reports of one proxy tell of one cluster."""

    __slots__ = ("_before", "_reports", "_within", "issued")

    def __init__(self, within: float) -> None:
        """A call may take `within` so many milliseconds, more than none."""
        self._within = within
        self._reports: deque[_Report] = deque(maxlen=MOST)
        self._before = 0
        self.issued = 0
        """Calls since the first report."""

    def add(self, number: int, load: Load, at: int) -> None:
        """What report `number` of the proxy says, counted from 1: what is under way in the first is of before.

        A report that says nothing of a cluster says that nothing is under way there.
        """
        if number == 1:
            self._before = load.active
        else:
            self.issued += load.issued
            if not self._reports or self._reports[-1].number != number - 1:
                self._reports.clear()
                self._before = 0
        self._before = min(self._before, load.active)
        self._reports.append(_Report(number, at, load.active - self._before, self.issued))
        while len(self._reports) > 1 and self._reports[1].at <= at - self._within:
            self._reports.popleft()

    def held(self, number: int) -> Held:
        """Of report `number`, the newest of the proxy."""
        if not self._reports or self._reports[-1].number != number:
            return Held()
        first, last = self._reports[0], self._reports[-1]
        span = last.at - first.at
        if span < self._within:
            return Held()
        return Held(min(one.active for one in self._reports), (last.issued - first.issued) / span)
