"""Ctrl-C, SIGTERM and SIGHUP as cancellation, so that whatever was started is cleaned up on the way out.

One signal is enough and more change nothing: cleaning up is bounded, and must not be cut short.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a polite kill, and the terminal that was closed."""


def run(main: Awaitable[int]) -> int:
    """Run `main` to its end; its result, or 128 and the signal's number when one came first."""
    return asyncio.run(_supervised(main))


async def _supervised(main: Awaitable[int]) -> int:
    with cancelled_by_signals() as came:
        try:
            return await main
        except asyncio.CancelledError:
            if not came:
                raise
            return 128 + came[0]


@contextlib.contextmanager
def cancelled_by_signals() -> Iterator[list[int]]:
    """While this lasts, the first of the signals cancels the current task; yields the signals that came."""
    came: list[int] = []
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def stop(number: int) -> None:
        came.append(number)
        if len(came) == 1 and task is not None:
            task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        yield came
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
