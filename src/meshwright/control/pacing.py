"""When the newest state is taken in: at once where there is time, and once for many commits where there is not.

The one rule: the wait is as long as the work. A turn of the control loop costs what the mesh and its proxies make it
cost; until as much time has passed again, commits gather, and are taken in together. So at most half of the event
loop goes into a burst, a lone change leaves at once, and none waits longer than `LONGEST_SECONDS` for its turn.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    Turn: TypeAlias = Callable[[], None]
    Pace: TypeAlias = Callable[[Turn], None]

LONGEST_SECONDS = 0.1


def at_once(turn: Turn) -> None:
    """Take every commit in when it comes."""
    turn()


class Paced:
    """Calls a turn when it is asked for, or later for several that asked. For use in one event loop."""

    def __init__(self) -> None:
        self._free_at = float("-inf")
        """When as much time has passed as the last turn took, by the event loop's clock."""
        self._due: asyncio.Handle | None = None

    def __call__(self, turn: Turn) -> None:
        """See that `turn` is called: now, or together with whoever else asks meanwhile."""
        if self._due is not None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._free_at:
            self._take(loop, turn)
        else:
            self._due = loop.call_at(self._free_at, self._take, loop, turn)

    def _take(self, loop: asyncio.AbstractEventLoop, turn: Turn) -> None:
        self._due = None
        began = loop.time()
        self._free_at = began + LONGEST_SECONDS
        try:
            turn()
        finally:
            # Called after everything that the turn woke has begun to write: that is part of what it costs.
            loop.call_soon(self._rest, began)

    def _rest(self, began: float) -> None:
        now = asyncio.get_running_loop().time()
        if self._due is None:
            self._free_at = now + min(now - began, LONGEST_SECONDS)
