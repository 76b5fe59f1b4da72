"""When the newest state is taken in: at once where there is time, and once for many commits where there is not.

The one rule: the wait is as long as the work. A turn of the control loop costs what the mesh and its proxies make it
cost; until as much time has passed again, commits gather, and are taken in together. So at most half of the event
loop goes into a burst, a lone change leaves at once, and the next turn begins `LONGEST_SECONDS` after one at most.
"""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Turn: TypeAlias = Callable[[], Iterator[None]]
    """A turn goes on with each step of the iterator; between two of them others may have their time."""

    Pace: TypeAlias = Callable[[Turn], None]

LONGEST_SECONDS = 0.1
STRETCH_SECONDS = 0.001
"""How long a turn goes on at most, step by step, before others have their time: as long as some snapshots take to
build. To give way after each of them is to wake and to be woken for each, which costs the more the less there is to
do. The first stretch is one step, and each further one twice as long as the one before it: what the first proxy gets
leaves at once, since until then nobody but the server is at work."""
_EARLY_SECONDS = STRETCH_SECONDS / 3
"""How long early steps go on before it is asked whether they are still wanted, which takes a moment itself."""


def at_once(turn: Turn) -> None:
    """Take every commit in when it comes, in one go."""
    for _ in turn():
        pass


class Paced:
    """Takes turns when they are asked for, or later for several that asked. For use in one event loop.

    A turn begins at once. After each stretch of its steps the event loop serves whoever is there, whom the steps
    have woken among them: what they have to say leaves while the turn goes on.
    """

    def __init__(self) -> None:
        self._free_at = float("-inf")
        """When as much time has passed as the last turn took, by the event loop's clock."""
        self._due: asyncio.Handle | None = None
        self._under_way = False
        self._asked: Turn | None = None
        """What is to be taken next, asked for while another turn was under way."""
        self._spent = 0.0
        """Seconds that early steps of the next turn took: they are a part of it."""

    def __call__(self, turn: Turn) -> None:
        """See that `turn` is taken: now, or together with whoever else asks meanwhile."""
        if self._under_way:
            self._asked = turn
        elif self._due is None:
            self._plan(turn)

    def early(self, steps: Iterator[None], wanted: Callable[[], bool]) -> None:
        """Take `steps` of a turn that is to be asked for, as long as they are `wanted` and it would begin at once.

        After each stretch of them the event loop serves whoever is there.
        """
        self._spent = 0.0
        self._early(asyncio.get_running_loop(), steps, wanted)

    def _early(self, loop: asyncio.AbstractEventLoop, steps: Iterator[None], wanted: Callable[[], bool]) -> None:
        if self._under_way or self._due is not None or loop.time() < self._free_at or not wanted():
            return
        began = now = time.monotonic()
        for _ in steps:
            now = time.monotonic()
            if now - began >= _EARLY_SECONDS:
                loop.call_soon(self._early, loop, steps, wanted)
                break
        self._spent += now - began

    def _plan(self, turn: Turn) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._free_at:
            self._take(loop, turn)
        else:
            self._due = loop.call_at(self._free_at, self._take, loop, turn)

    def _take(self, loop: asyncio.AbstractEventLoop, turn: Turn) -> None:
        self._due = None
        self._under_way = True
        spent, self._spent = self._spent, 0.0
        self._step(loop, turn(), loop.time() - spent, 0.0)

    def _step(self, loop: asyncio.AbstractEventLoop, steps: Iterator[None], began: float, stretch: float) -> None:
        """Go on for `stretch` seconds, and after that for longer."""
        # Its end comes after all that the last step woke has begun to write: that is part of what a turn costs.
        then = functools.partial(self._rest, loop, began)
        start = time.monotonic()
        try:
            for _ in steps:
                took = time.monotonic() - start
                if took >= stretch:
                    then = functools.partial(self._step, loop, steps, began, min(2 * took, STRETCH_SECONDS))
                    break
        finally:
            loop.call_soon(then)

    def _rest(self, loop: asyncio.AbstractEventLoop, began: float) -> None:
        self._under_way = False
        now = loop.time()
        self._free_at = now + min(now - began, LONGEST_SECONDS)
        if self._asked is not None:
            turn, self._asked = self._asked, None
            self._plan(turn)
