"""Group commit: writes of many requests decided one after the other, made durable together.

The one rule: nobody is answered before what the answer rests on is on disk. A draft waits for the sync of its batch;
a refusal that was decided on drafts which are not on disk yet is decided anew after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from meshwright.errors import (
    RevisionConflictError,
    ServiceUnavailableException,
    StorageError,
    TooManyRequestsException,
)
from meshwright.store.contract import Head, refuse_contradiction

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self, TypeAlias

    from meshwright.api.attempts import Attempt
    from meshwright.store.contract import Draft, Revision, Store

    Decide: TypeAlias = Callable[[Head], Draft | None]
    Measured: TypeAlias = Callable[[int, float], None]
    Committed: TypeAlias = Callable[[Head, tuple[Draft, ...]], None]
    Foreseen: TypeAlias = Callable[[Head, tuple[Draft, ...], Callable[[], bool]], None]

QUEUE = 500
"""Writes that may wait; the next one is told to come again."""
BATCH = 100
"""Revisions of one transaction at most."""
DECIDING_SECONDS = 0.02
"""How long a batch is filled before it is committed: the event loop serves nobody meanwhile."""
GATHERING_TURNS = 4
"""Turns of the event loop between two batches: whoever was just answered asks again, and shares the next sync with
those who came meanwhile. Nobody waits for anything but what is there to be done. Of 32 writers 29 come together
instead of 16, and a create takes 390 to 440 µs of processor time instead of 430 to 505.
"""
HANDOVER_SECONDS = 0.00005
"""How long whoever prepares for a commit lets go of the interpreter's lock to hear whether it is done. To give it up
and take it back is not enough: its thread, woken each time and each time too late, heard of 1 ms of disk after 9 ms.
"""
PATIENCE = 10.0
"""For how many seconds a write is decided anew when another process commits first.

Time and not attempts: SQLite lets a waiting writer sleep, so that a busy other process may win many times in a row.
"""
LONGEST_WAIT = 20.0
"""Seconds after which a write that still waits for its turn is told to come again."""
PROBE_SECONDS = 5.0
"""How long a write that worked vouches for the disk."""
FAILED_SECONDS = 1.0
"""How long one that did not work speaks against it."""
PROBE_PATIENCE = 2.0
"""Seconds that a trial may take before the disk counts as one that cannot be written."""

_log = logging.getLogger(__name__)


class Writer:
    """The one way to write: decides and commits, in the order in which writes were asked for."""

    def __init__(
        self,
        store: Store,
        committed: Committed,
        *,
        measured: Measured = lambda _revisions, _seconds: None,
        foreseen: Foreseen = lambda _head, _drafts, _wanted: None,
        queue: int = QUEUE,
        batch: int = BATCH,
    ) -> None:
        """`committed` is told of each batch before anybody else: the head it led to, and its drafts.

        `measured` is told of how many revisions it was, and how many seconds they took to be durable. `foreseen` is
        told of a batch while only the disk is waited for, and may prepare for it as long as what it is given says so;
        nothing may be seen of that: the disk may refuse.
        """
        self._foreseen = foreseen
        self._measured = measured
        self._store = store
        self._committed = committed
        self._most = queue
        self._batch = batch
        self._queue: deque[_Write] = deque()
        self._open: set[_Write] = set()
        """Whoever waits for an answer, queued or under way."""
        self._running: asyncio.Task[None] | None = None
        # Threads of our own: a database that is locked holds them for seconds, and nobody else shall wait for one.
        self._disk = ThreadPoolExecutor(1, "committing")
        self._mind = ThreadPoolExecutor(1, "deciding")
        self._probing: asyncio.Future[None] | None = None
        self._worked = self._failed = float("-inf")
        """When a write of the database last did and did not work, by the event loop's clock."""

    async def write(self, decide: Decide, *, attempt: Attempt | None = None, slow: bool = False) -> Revision | None:
        """Commit what `decide` answers for the newest state; None where it answers with None.

        `decide` may be called several times, each time with the state as it is then; what it raises is raised here. A
        `slow` one is called in a thread. `attempt` is whose request it is, for the audit leaf. A caller that is
        cancelled has its write committed or not; it is whole.

        Raises:
            TooManyRequestsException: too many writes wait already.
            RevisionConflictError: other processes kept committing first.
            ServiceUnavailableException: the write waited too long for its turn; nothing was changed.
            StorageError: the database refused; nothing was changed.
        """
        if len(self._queue) >= self._most:
            raise TooManyRequestsException(
                f"{len(self._queue)} writes wait already, the most that may; nothing was changed. Repeat the request."
            )
        loop = asyncio.get_running_loop()
        write = _Write(decide, loop.create_future(), loop.time(), attempt, slow=slow)
        self._queue.append(write)
        self._open.add(write)
        self._start()
        try:
            revision = await write.told
            if revision is not None and attempt is not None:
                attempt.recorded = True
            return revision
        finally:
            self._open.discard(write)

    async def works(self) -> bool:
        """Whether the database can be written now; tried where no write told of late."""
        loop = asyncio.get_running_loop()
        latest = max(self._worked, self._failed)
        if latest + (PROBE_SECONDS if self._worked > self._failed else FAILED_SECONDS) > loop.time():
            return self._worked > self._failed
        if self._probing is None or self._probing.done():
            self._probing = loop.run_in_executor(self._disk, self._store.probe)
        probing = self._probing
        await asyncio.wait({probing}, timeout=PROBE_PATIENCE)
        if not probing.done():
            return False
        self._note(works=probing.exception() is None)
        return self._worked > self._failed

    async def close(self) -> None:
        """Commit what waits, and take no more."""
        self._most = 0
        while self._running is not None:
            await asyncio.wait({self._running})
        self._disk.shutdown()
        self._mind.shutdown()

    def _note(self, *, works: bool) -> None:
        if works:
            self._worked = asyncio.get_running_loop().time()
        else:
            self._failed = asyncio.get_running_loop().time()

    def _start(self) -> None:
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="writing")
            self._running.add_done_callback(self._ended)

    def _ended(self, running: asyncio.Task[None]) -> None:
        """Nobody may wait for ever, whatever became of the task."""
        self._running = None
        if running.cancelled():
            self._queue.clear()
            for write in self._open:
                write.told.cancel()
            return
        error = running.exception()
        if error is not None:
            _log.error("writing failed, and goes on", exc_info=error)
            for write in self._open.difference(self._queue):
                write.refuse(error)
        if self._queue:
            self._start()

    async def _run(self) -> None:
        while self._queue:
            batch = await self._filled()
            if batch.taken:
                await self._commit(batch)
                for _ in range(GATHERING_TURNS):
                    await asyncio.sleep(0)
            else:
                # Refusals alone: whoever else is served on this loop has a turn too.
                await asyncio.sleep(0)

    async def _filled(self) -> _Batch:
        """Decide what waits, until a batch is full, takes long, or must be on disk first."""
        loop = asyncio.get_running_loop()
        batch = _Batch(self._store)
        until = loop.time() + DECIDING_SECONDS
        while self._queue and len(batch.taken) < self._batch and loop.time() < until:
            write = self._queue[0]
            if batch.taken and (write.slow or write.alone):
                break
            self._queue.popleft()
            if write.told.done() or _refused_for_waiting(write, loop.time()):
                continue
            if write.slow:
                deciding = loop.run_in_executor(self._mind, batch.decide, write)
                await asyncio.wait({deciding})
                decision = deciding.result()
            else:
                decision = batch.decide(write)
            batch.take(write, decision)
            if write.alone:
                break
        self._queue.extendleft(reversed(batch.postponed))
        return batch

    async def _commit(self, batch: _Batch) -> None:
        drafts = tuple(draft for _, draft in batch.taken)
        writes = [write for write, _ in batch.taken]
        loop = asyncio.get_running_loop()
        began = loop.time()
        committing = self._committing(batch.base.revision, batch.head, drafts)
        await asyncio.wait({committing})
        error = committing.exception()
        if error is None:
            self._note(works=True)
            self._measured(len(drafts), loop.time() - began)
            try:
                self._committed(batch.head, drafts)
            finally:
                for write, revision in zip(writes, committing.result(), strict=True):
                    write.tell(revision)
        elif isinstance(error, RevisionConflictError):
            self._decide_again(writes, error)
        elif isinstance(error, StorageError) or len(writes) == 1:
            self._note(works=not isinstance(error, StorageError))
            if loop.time() - began > FAILED_SECONDS:
                # Such as a lock that another program holds. Whoever came meanwhile has waited for it as well.
                writes += self._queue
                self._queue.clear()
            for write in writes:
                # An exception of its own for each: raising one adds to it.
                write.refuse(StorageError(str(error), error.kind) if isinstance(error, StorageError) else error)
        else:
            # One of them is at fault. Alone, each harms nobody but itself.
            for write in writes:
                write.alone = True
            self._queue.extendleft(reversed(writes))

    def _committing(self, base: int, head: Head, drafts: tuple[Draft, ...]) -> asyncio.Future[tuple[Revision, ...]]:
        """Commit `drafts` on the revision `base` in a thread, and have prepared for what they lead to, `head`."""
        loop, over = asyncio.get_running_loop(), threading.Event()

        def written() -> None:
            with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody is there to prepare for
                loop.call_soon_threadsafe(self._foreseen, head, drafts, lambda: not over.wait(HANDOVER_SECONDS))

        def commit() -> tuple[Revision, ...]:
            try:
                return self._store.commit_all(base, drafts, written)
            finally:
                over.set()

        return loop.run_in_executor(self._disk, commit)

    def _decide_again(self, writes: list[_Write], error: RevisionConflictError) -> None:
        """Another process was faster."""
        now = asyncio.get_running_loop().time()
        patient = [write for write in writes if write.began + PATIENCE > now]
        for write in writes:
            if write.began + PATIENCE <= now:
                write.refuse(RevisionConflictError(str(error)))
        self._queue.extendleft(reversed(patient))


class _Write:
    """One call of `Writer.write`."""

    def __init__(
        self,
        decide: Decide,
        told: asyncio.Future[Revision | None],
        began: float,
        attempt: Attempt | None,
        *,
        slow: bool,
    ) -> None:
        self.decide = decide
        self.attempt = attempt
        self.told = told
        self.began = began
        self.slow = slow
        """Whether it is decided in a thread, first of its batch: it may look for more in the store than the head."""
        self.alone = False
        """Whether it is to have a batch of its own."""

    def tell(self, revision: Revision | None) -> None:
        if not self.told.done():
            self.told.set_result(revision)

    def refuse(self, error: BaseException) -> None:
        if not self.told.done():
            self.told.set_exception(error)


class _Decision:
    """What became of one `decide`: it carries an exception to its caller, and handles none."""

    draft: Draft | None = None
    error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self.error = error
        return self.error is not None


class _Batch:
    """Drafts that are to be committed together, each decided on the state that those before it leave."""

    base: Head
    """What is on disk."""
    head: Head

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tokens: set[tuple[str, str]] = set()
        self._begun = False
        self.taken: list[tuple[_Write, Draft]] = []
        self.postponed: list[_Write] = []
        """What is to be decided anew once this batch is on disk."""

    def decide(self, write: _Write) -> _Decision:
        with _Decision() as decision:
            if not self._begun:
                self.base = self.head = self._store.head()
                self._begun = True
            decision.draft = write.decide(self.head)
            if decision.draft is not None:
                refuse_contradiction(decision.draft, self.head.revision + 1)
                if write.attempt is not None:
                    decision.draft = msgspec.structs.replace(decision.draft, trail=write.attempt.trail)
        return decision

    def take(self, write: _Write, decision: _Decision) -> None:
        """Let the draft in; tell a refusal if it rests on nothing but what is on disk."""
        draft = decision.draft if decision.error is None else None
        answered = draft.answered if draft is not None else None
        token = (answered.scope, answered.token) if answered is not None else None
        if (draft is None or token in self._tokens) and self.taken:
            self.postponed.append(write)
        elif decision.error is not None:
            write.refuse(decision.error)
        elif draft is None:
            write.tell(None)
        else:
            self.taken.append((write, draft))
            after = draft.after
            if after is None:
                after = self.head.state.drop(*draft.deletes).put(*draft.puts)
            self.head = Head(self.head.revision + 1, after)
            if token is not None:
                self._tokens.add(token)


def _refused_for_waiting(write: _Write, now: float) -> bool:
    late = write.began + LONGEST_WAIT <= now
    if late:
        write.refuse(
            ServiceUnavailableException(
                f"The write waited {LONGEST_WAIT:g} s for its turn; nothing was changed. Repeat the request."
            )
        )
    return late
