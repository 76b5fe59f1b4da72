"""Whose snapshots are built again because instances came or went: at once where it is calm, seldom in a storm.

The one rule: what a storm costs a caller is bounded by its length, not by how many take part in it. A lone change is
taken in at once; each further one waits for twice as long as the one before it, `LONGEST_SECONDS` at most, until that
long nothing has changed.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from meshwright.control.group import Group
    from meshwright.model.identity import Key

LONGEST_SECONDS = 0.25
_SHORTEST_SECONDS = 0.01


class Easing:
    """Which groups of proxies instances concern that changed, and since when. For use in one event loop."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is called when it is time to ask `due` again."""
        self._wake = wake
        self._nodes: set[Key] = set()
        """Whose instances changed since `due` was asked."""
        self._stale: dict[Group, float] = {}
        """Those that are to be built again, and when, by the monotonic clock."""
        self._taken: WeakKeyDictionary[Group, tuple[float, float]] = WeakKeyDictionary()
        """When a group was built last because of its instances, and how long it rests from then, in seconds."""
        self._timer: asyncio.TimerHandle | None = None

    def note(self, nodes: Iterable[Key]) -> None:
        """The instances of `nodes` are others than before."""
        self._nodes.update(nodes)

    def due(self, groups: Iterable[Group]) -> list[Group]:
        """Those of `groups`, which are all there are, that are to be built again now; the others in time."""
        now = time.monotonic()
        nodes, self._nodes = frozenset(self._nodes), set()
        if nodes:
            for one in groups:
                if one not in self._stale and not nodes.isdisjoint(one.reach):
                    self._stale[one] = self._free_at(one, now)
        due = [one for one, at in self._stale.items() if at <= now]
        for one in due:
            del self._stale[one]
            rest = self._taken[one][1] if one in self._taken else 0.0
            self._taken[one] = now, min(max(2 * rest, _SHORTEST_SECONDS), LONGEST_SECONDS)
        if self._stale and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(min(self._stale.values()) - now, self._ring)
        return [one for one in due if one.members]

    def _free_at(self, group: Group, now: float) -> float:
        """When the group may be built again because of what changed now."""
        at, rest = self._taken.get(group, (now, 0.0))
        if now - at >= LONGEST_SECONDS:
            del self._taken[group]  # it has been calm
            return now
        return at + rest

    def _ring(self) -> None:
        self._timer = None
        self._wake()
