"""Events and metrics on their way to OpenTelemetry and CloudWatch, each in a thread of its own.

The one rule: whoever has something to tell leaves it and goes on. A receiver that is slow or gone costs events, which
are counted, and nobody's time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Protocol

from meshwright.complaining import Complaint
from meshwright.errors import RefusedError, StorageError, UnreachableError
from meshwright.release import Status
from meshwright.server.parts import now
from meshwright.telemetry.happening import PartlyTakenError, Reading, event, passed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from meshwright.api.metrics import Metrics
    from meshwright.control import Control
    from meshwright.release import Release
    from meshwright.server.settings import Settings
    from meshwright.store.contract import Store
    from meshwright.telemetry.happening import Event

FLUSH_SECONDS = 2.0
"""How long a stop waits for what is left to be told."""
_MOST = 4_096
"""Events that wait for one receiver."""
_AT_ONCE = 512
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds between two tries; twice as long each time."""
_LOOK_BACK = 1_000
"""Releases that one rollback takes back, of which it is told."""

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """What takes events and readings: `UnreachableError` is tried again, what raises `RefusedError` is dropped.

    Of a `PartlyTakenError` all is taken but what it counts.
    """

    name: str

    def tell(self, events: Sequence[Event], /) -> None: ...  # noqa: D102 - see the class
    def read(self, reading: Reading, /) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Exporter:
    """What waits for one receiver, and the thread that sends it."""

    def __init__(self, sink: Sink, metrics: Metrics, most: int = _MOST) -> None:
        """`most` events wait; those that come then are dropped and counted."""
        self._sink = sink
        self._metrics = metrics
        self._most = most
        self._complaint = Complaint(_log)
        self._rest = {one: Complaint(_log, then="") for one in ("events", "metrics")}
        self._events: deque[Event] = deque()
        self._reading: Reading | None = None
        self._ending = False
        self._news = threading.Condition()
        # It must not hold up the end of the program while a receiver keeps it waiting.
        self._thread = threading.Thread(target=self._run, name=f"telling {sink.name}", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def tell(self, one: Event) -> None:
        """Leave an event; returns at once."""
        with self._news:
            if len(self._events) >= self._most:
                self._metrics.event_dropped(self._sink.name)
                return
            self._events.append(one)
            self._news.notify()

    def read(self, reading: Reading) -> None:
        """Leave a reading, in place of an older one that nobody took; returns at once."""
        with self._news:
            self._reading = reading
            self._news.notify()

    def end(self, seconds: float) -> None:
        """Send what is left, once more where that failed, within so many seconds; drop and count the rest."""
        with self._news:
            self._ending = True
            self._news.notify()
        self._thread.join(seconds)
        with self._news:
            left = len(self._events)
            self._events.clear()
        self._drop(left)
        if left:
            _log.warning("%d events were not told to %s before the control plane stopped", left, self._sink.name)

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            with self._news:
                self._news.wait_for(lambda: self._events or self._reading or self._ending)
                ending = self._ending
                if not self._events and self._reading is None:
                    break
            if self._send():
                pause = _FIRST_PAUSE
            elif ending:
                break
            else:
                with self._news:
                    self._news.wait_for(lambda: self._ending, pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        self._sink.close()

    def _send(self) -> bool:
        """Send some of what waits; whether to go on at once."""
        with self._news:
            batch = [self._events[place] for place in range(min(len(self._events), _AT_ONCE))]
            reading = self._reading
        try:
            if batch:
                self._tell(batch)
            if reading is not None:
                self._read(reading)
        except UnreachableError as error:
            self._failed(error)
            return False
        except RefusedError as error:
            self._failed(error)
        else:
            self._complaint.over(f"{self._sink.name} takes events and metrics")
        self._taken(reading)
        return True

    def _tell(self, batch: list[Event]) -> None:
        rejected = 0
        try:
            self._sink.tell(batch)
        except PartlyTakenError as error:
            rejected = min(error.rejected, len(batch))
            self._left_out("events", error)
        except RefusedError:
            self._forget(len(batch))
            self._drop(len(batch))
            raise
        else:
            self._taken_whole("events")
        self._forget(len(batch))
        self._drop(rejected)
        self._metrics.events_told(self._sink.name, len(batch) - rejected)

    def _read(self, reading: Reading) -> None:
        try:
            self._sink.read(reading)
        except PartlyTakenError as error:
            self._left_out("metrics", error)
        else:
            self._taken_whole("metrics")

    def _left_out(self, what: str, error: PartlyTakenError) -> None:
        if error.rejected:
            self._metrics.telling_failed(self._sink.name)
        self._rest[what].made(f"{self._sink.name} does not take all {what} as they are", error)

    def _taken_whole(self, what: str) -> None:
        self._rest[what].over(f"{self._sink.name} takes all {what}")

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._metrics.event_dropped(self._sink.name)

    def _forget(self, count: int) -> None:
        with self._news:
            for _ in range(min(count, len(self._events))):
                self._events.popleft()

    def _taken(self, reading: Reading | None) -> None:
        with self._news:
            if self._reading is reading:
                self._reading = None

    def _failed(self, error: Exception) -> None:
        self._metrics.telling_failed(self._sink.name)
        self._complaint.made(f"events and metrics cannot be told to {self._sink.name}", error)


class Exporting:
    """Everybody who is to be told; nobody, where nobody asked for it."""

    def __init__(self, store: Store, exporters: Sequence[Exporter] = ()) -> None:
        self._store = store
        self._exporters = exporters
        self._asking: set[asyncio.Task[None]] = set()

    def tell(self, one: Event) -> None:
        """Leave an event for each; returns at once."""
        for exporter in self._exporters:
            exporter.tell(one)

    def released(self, one: Release) -> None:
        """A release was committed, and took back those that it rolled back; on the event loop."""
        if not self._exporters:
            return
        for each in passed(one):
            self.tell(each)
        self.tell(event("applied", one, one.at))
        if one.kind == "rollback" and one.restores is not None:
            task = asyncio.create_task(self._taken_back(one, one.restores), name="telling of a rollback")
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def close(self) -> None:
        """Wait for what is still being looked up."""
        await asyncio.gather(*self._asking)

    async def _taken_back(self, by: Release, restores: int) -> None:
        limit = min(by.number - restores, _LOOK_BACK)
        try:
            found = await asyncio.to_thread(self._store.releases, by.mesh, by.stack, _LOOK_BACK + limit)
        except StorageError as error:
            _log.warning("what %s rolled back is not told: %s", by.title, error)
            return
        later = [one for one in found if restores < one.number < by.number]
        for one in reversed(later[:limit]):
            before = any(it.kind == "rollback" and (it.restores or 0) < one.number < it.number for it in later)
            if one.status is Status.ROLLED_BACK and not before:
                self.tell(event("rolled_back", one, by.at, principal=by.principal, instead=by.title))


def sinks(settings: Settings) -> tuple[Sink, ...]:
    """Those that the settings name; nothing is imported for others.

    Raises:
        UsageError: one of them cannot be used.
    """
    found: list[Sink] = []
    if settings.otlp is not None:
        from meshwright.telemetry.sending import Otlp  # noqa: PLC0415 - httpx takes longer than the rest of a start

        found.append(Otlp(settings.otlp))
    if settings.cloudwatch is not None:
        from meshwright.telemetry.metering import Metering  # noqa: PLC0415 - as above

        found.append(Metering(settings.cloudwatch, settings.region))
    return tuple(found)


@contextlib.asynccontextmanager
async def exporting(
    settings: Settings, store: Store, control: Control, metrics: Metrics
) -> AsyncIterator[tuple[Exporting, tuple[asyncio.Task[None], ...]]]:
    """Tell until the block ends, and what was left until then; the task that reads metrics, none without receivers.

    Raises:
        UsageError: a receiver cannot be used as it is named.
    """
    exporters = [Exporter(one, metrics) for one in await asyncio.to_thread(sinks, settings)]
    found = Exporting(store, exporters)
    if not exporters:
        yield found, ()
        return
    since = now()

    def read() -> None:
        reading = Reading(
            at=now(), since=since, metrics=tuple(metrics.collect()), proxies=_standing(settings, control)
        )
        for one in exporters:
            one.read(reading)

    async def keep_reading() -> None:
        while True:
            await asyncio.sleep(settings.otlp.interval if settings.otlp else 60.0)
            read()

    for one in exporters:
        one.start()
    task = asyncio.create_task(keep_reading(), name="reading metrics")
    try:
        yield found, (task,)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await found.close()
        read()
        await asyncio.to_thread(_end, exporters)


def _end(exporters: Sequence[Exporter]) -> None:
    end = time.monotonic() + FLUSH_SECONDS
    for one in exporters:
        one.end(max(0.0, end - time.monotonic()))


def _standing(settings: Settings, control: Control) -> dict[tuple[str, str], int]:
    """Connected proxies by mesh and state; only CloudWatch is told of meshes in numbers."""
    if settings.cloudwatch is None:
        return {}
    return Counter((one.node.mesh, one.state) for one in control.statuses())
