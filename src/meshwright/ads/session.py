"""One open xDS stream: between gRPC's messages, the state machine that decides what is said, and who keeps the books.

The one rule: a slow or hostile client costs a bounded amount. At most one response of a type waits for its ack, a
write waits for the reader, and of all snapshots only the newest counts.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio

from meshwright.ads.gate import reason
from meshwright.ads.stream import LONGEST_RETRY_SECONDS, RETRY_SECONDS, Acked, Nacked, Stream, asks
from meshwright.ads.subscription import WHOLE_TYPES
from meshwright.ads.wire import said
from meshwright.errors import UsageError

if TYPE_CHECKING:
    from meshwright.ads.encoding import Encoder
    from meshwright.ads.gate import Call, Counts
    from meshwright.ads.stream import Event, Request, Response
    from meshwright.control import Lane
    from meshwright.discovery import Held
    from meshwright.snapshot.resources import Snapshot

MAX_TYPES = 32
MAX_NAMES = 100_000
"""Names that one stream may subscribe to or claim to have; a node of App Mesh has some hundred."""
_EOF = cast("Any", grpc.aio).EOF  # grpc-stubs does not know it

_log = logging.getLogger(__name__)


class Session:
    """A reader that feeds the state machine, and a writer that empties it.

    Whatever arrives while a write waits for a slow reader changes what is said next and is stored nowhere: nothing
    more is written before the client has read.
    """

    def __init__(
        self,
        context: Call,
        encode: Encoder,
        counts: Counts | None,
        *,
        delta: bool,
        only: str = "",
        retry: float = RETRY_SECONDS,
    ) -> None:
        """`only` is the type that the stream is of, "" for all.

        `retry` is how many seconds after a refusal what was refused is offered once more.
        """
        self._counts = counts
        self.lane: Lane | None = None
        self.node = context.node
        """What the proxy says of itself."""
        self.held: Held | None = None
        """The endpoint that the proxy brought along."""
        self._context = context
        self._encode = encode
        self._delta = delta
        self._only = only
        self._woken = asyncio.Event()
        self._ended = False
        self.displaced = False
        """Whether another stream of the same id took over."""
        self._failure: UsageError | None = None
        self._snapshot: Snapshot | None = None
        self._retry = self._first_retry = retry
        self._retrying: asyncio.TimerHandle | None = None
        self._ready: deque[Response] = deque()
        """What the state machine says is on its way, and is not yet written."""
        self._reported = False
        """Whether nothing happened to the stream since its standing was told."""

    def push(self, snapshot: Snapshot | None) -> None:
        """A new snapshot, or None: another stream of the same proxy took over."""
        self._snapshot = snapshot
        self.displaced = self.displaced or snapshot is None
        self._ended = self._ended or self.displaced
        self._woken.set()

    @property
    def peer(self) -> str:
        """Where it comes from: of one connection, always the same."""
        return self._context.peer()

    def end(self) -> None:
        """Close the stream with status OK: the client connects again."""
        self._ended = True
        self._woken.set()

    async def run(self, lane: Lane, first: Request) -> None:
        """Serve until either side ends the stream."""
        stream = Stream(lane.snapshot, delta=self._delta, only=self._only)
        self._take(stream, lane, first)
        if self._only:
            lane.asks(stream.wants)
        reader = asyncio.create_task(self._read(stream, lane))
        try:
            while not self._ended:
                self._woken.clear()
                self._advance(stream)
                if not (self._ready or self._reported):
                    # Else the answer to what is sent will tell where the proxy stands.
                    self._report(stream, lane)
                while self._ready:
                    await self._write(self._ready[0], lane)
                    self._ready.popleft()
                await self._woken.wait()
        finally:
            if self._retrying is not None:
                self._retrying.cancel()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if self._failure is not None:
            await self._context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason(self._failure))

    async def _write(self, response: Response, lane: Lane) -> None:
        whole = not self._delta and response.type_url in WHOLE_TYPES
        lane.sent(response.type_url, response.resources, None if whole else response.removed)
        if self._counts is not None:
            self._counts.sent(response.type_url, len(response.resources))
        await self._context.write(self._encode(response))

    def _advance(self, stream: Stream) -> None:
        """Let the state machine say what is next, unless something it said is still to be written."""
        if self._ready:
            return
        if self._snapshot is not None:
            stream.publish(self._snapshot)
            self._snapshot = None
            self._reported = False
        self._ready.extend(stream.send())

    async def _read(self, stream: Stream, lane: Lane) -> None:
        try:
            while (body := await self._context.read()) is not _EOF:
                self._take(stream, lane, said(body, delta=self._delta, only=self._only))
                busy = bool(self._ready)
                self._advance(stream)
                self._report(stream, lane)
                self._plan_retry(stream)
                # Most acks are answered with silence, for which the writer need not be woken.
                if busy or self._ready:
                    self._woken.set()
        except UsageError as error:
            self._failure = error
        finally:
            self.end()

    def _plan_retry(self, stream: Stream) -> None:
        """What is refused is left alone for a while; with some spread, for others refused it at the same moment."""
        if not stream.refuses:
            if self._retrying is not None:
                self._retrying.cancel()
            self._retrying, self._retry = None, self._first_retry
        elif self._retrying is None:
            delay = self._retry * random.uniform(1, 1.2)  # noqa: S311 - no secret depends on it
            self._retrying = asyncio.get_running_loop().call_later(delay, self._try_again, stream)
            self._retry = min(2 * self._retry, LONGEST_RETRY_SECONDS)

    def _try_again(self, stream: Stream) -> None:
        self._retrying = None
        stream.retry()
        self._reported = False
        self._woken.set()

    def _take(self, stream: Stream, lane: Lane, request: Request) -> None:
        self._reported = False
        for event in stream.receive(request):
            self._note(event, lane)
        if not asks(request):
            return
        types, names = stream.size
        if types > MAX_TYPES or names > MAX_NAMES:
            self._failure = UsageError(f"more than {MAX_TYPES} resource types or {MAX_NAMES} names on one stream")
            self.end()

    def _note(self, event: Event, lane: Lane) -> None:
        if isinstance(event, Acked | Nacked):
            accepted = isinstance(event, Acked)
            lane.settled(event.type_url, accepted=accepted)
            if self._counts is not None:
                self._counts.acked(event.type_url, accepted=accepted)
        if isinstance(event, Nacked):
            _log.warning(
                "%s refused %s of %s: %s",
                lane.proxy.id,
                ", ".join(event.resources) or "something",
                event.type_url.rpartition(".")[2],
                event.message,
            )

    def _report(self, stream: Stream, lane: Lane) -> None:
        if self._snapshot is not None:
            # The state machine speaks of an older snapshot than the delivery's: neither what it has nor what it
            # refused of that is said of the new one. It is told once the new one is taken in.
            return
        refused = {
            url: {name: refusal.message for name, refusal in some.items()} for url, some in stream.refusals().items()
        }
        lane.report(stream.outstanding(), refused)
        self._reported = True
        if self.held is not None and not self.held.listening and lane.delivery.listening:
            self.held.listen()
