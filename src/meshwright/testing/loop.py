"""An event loop in a thread of its own, for tests that do not await.

The one rule: what was begun in it is over when whoever waited goes on, also after Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

T = TypeVar("T")


class Loop:
    """A context manager; everything in it is to be over when it is left."""

    def __init__(self) -> None:
        self._thread = threading.Thread(target=self._turn, name="meshwright", daemon=True)
        self._loop: Future[asyncio.AbstractEventLoop] = Future()

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop.result()
        return self

    def __exit__(self, *_: object) -> None:
        loop = self._loop.result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()

    def _turn(self) -> None:
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            self._loop.set_result(loop)
            loop.run_forever()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives, which is cancelled where waiting for it is broken off."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop.result())
        try:
            return future.result()
        finally:
            future.cancel()

    @contextlib.contextmanager
    def within(self, context: contextlib.AbstractAsyncContextManager[T]) -> Iterator[T]:
        """`context`, entered and left in the loop by one task, however the block ends."""
        entered, over, left = Future[T](), Future[None](), asyncio.Event()

        async def hold() -> None:
            async with context as value:
                entered.set_result(value)
                await left.wait()

        async def begin() -> asyncio.Task[None]:
            task = asyncio.create_task(hold())
            task.add_done_callback(lambda _: over.set_result(None))
            return task

        task, loop = self.run(begin()), self._loop.result()
        either: tuple[Future[Any], ...] = (entered, over)
        try:
            wait(either, return_when=FIRST_COMPLETED)
            if entered.done():
                yield entered.result()
        finally:
            loop.call_soon_threadsafe(left.set if entered.done() else task.cancel)
            _ended(over)
        task.result()


def _ended(over: Future[None]) -> None:
    """Return when it is over; that is bounded, so Ctrl-C has to wait for it."""
    interrupted = None
    while not over.done():
        try:
            wait((over,))
        except KeyboardInterrupt as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
