"""Calls, made from tests in Python.

The one rule: a call comes back whatever becomes of it; to judge it is the test's.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, overload

from meshwright.documents.trial_files import Meaning
from meshwright.lab.workload import patient
from meshwright.testing.answers import Answers
from meshwright.testing.words import meant
from meshwright.trials import written
from meshwright.trials.lasting import lasting
from meshwright.trials.trial import FaultKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from meshwright.testing.answers import Answer
    from meshwright.testing.running import Running

_WAITED = 1_000
"""Milliseconds of latency from which on calls do little else but wait, and keep nobody from the processors."""
_PAUSE = 0.02
"""Seconds between two calls of those that are made steadily."""


class Send:
    """The fixture `send`."""

    def __init__(self, running: Running) -> None:
        self._running = running

    @overload
    def __call__(
        self,
        from_: str,
        url: str,
        method: str = "GET",
        *,
        headers: Mapping[str, str] | None = None,
        onward: Sequence[str] = (),
        of: None = None,
    ) -> Answer: ...
    @overload
    def __call__(
        self,
        from_: str,
        url: str,
        method: str = "GET",
        *,
        headers: Mapping[str, str] | None = None,
        onward: Sequence[str] = (),
        of: int,
        at_once: int | None = None,
    ) -> Answers: ...
    def __call__(
        self,
        from_: str,
        url: str,
        method: str = "GET",
        *,
        headers: Mapping[str, str] | None = None,
        onward: Sequence[str] = (),
        of: int | None = None,
        at_once: int | None = None,
    ) -> Answer | Answers:
        """Call `url` from virtual node `from_`, or from outside where that is a gateway, once or `of` times.

        With `at_once`, so many calls are under way at the same time; else a few, and no more than connection pools on
        their way take.

        Raises:
            UsageError: something of it means nothing in this mesh.
        """
        __tracebackhide__ = True
        answers = self._answers(from_, url, method, headers, onward)
        self._running.loop.run(self._burst(answers, 1 if of is None else of, at_once))
        return answers[0] if of is None else answers

    @contextlib.contextmanager
    def steadily(
        self,
        from_: str,
        url: str,
        method: str = "GET",
        *,
        headers: Mapping[str, str] | None = None,
        onward: Sequence[str] = (),
    ) -> Iterator[Answers]:
        """Call one time after another for as long as the block lasts; who looks after it sees all of them.

        Raises:
            UsageError: something of it means nothing in this mesh.
        """
        answers = self._answers(from_, url, method, headers, onward)
        with self._running.loop.within(self._steady(answers)):
            yield answers

    def _answers(
        self, from_: str, url: str, method: str, headers: Mapping[str, str] | None, onward: Sequence[str]
    ) -> Answers:
        __tracebackhide__ = True
        running = self._running
        words = {"url": url, "method": method, "headers": dict(headers or {}), "onward": list(onward)}
        call = meant(running, written.Request, words, Meaning.call)
        caller = running.rig.named(from_)
        answers = Answers(running, call, caller, onward, running.given)
        running.keep(answers)
        return answers

    async def _burst(self, answers: Answers, count: int, at_once: int | None) -> None:
        turns = asyncio.Semaphore(at_once or max(count, 1))

        async def one() -> None:
            async with turns:
                await self._one(answers, chosen=at_once is not None)

        await asyncio.gather(*(one() for _ in range(count)))

    async def _one(self, answers: Answers, *, chosen: bool = False) -> None:
        """One call when it is its turn, or now where somebody has `chosen` how many there are at once."""
        running = self._running
        lasts = lasting(running.graph, answers.caller, answers.call, answers.given, answers.onward)
        patience = patient((lasts.most or 0) / 1_000)
        waits = any(one.latency >= _WAITED or one.kind is FaultKind.BLACKHOLE for one in answers.given)
        pools = {} if chosen else running.turns.pools(answers.caller, answers.call, answers.onward)
        async with running.turns.call(pools, waits=waits or chosen):
            sent = await running.rig.send(answers.call, answers.caller, calls=answers.onward, patience=patience)
        answers.add(sent)

    @contextlib.asynccontextmanager
    async def _steady(self, answers: Answers) -> AsyncIterator[None]:
        """A call before the block, calls while it lasts, and one when it is over."""
        over = asyncio.Event()

        async def calling() -> None:
            while not over.is_set():
                await self._one(answers)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), _PAUSE)

        await self._one(answers)
        task = asyncio.create_task(calling())
        try:
            yield
        finally:
            over.set()
            await task
        await self._one(answers)
