"""One HTTP connection, with an end to what a client may send, put off or leave unread.

The one rule: nobody has been asked for a signature yet, so a connection costs a bounded amount of memory and time,
and nothing that could be read as two different requests is read at all.
Source: https://datatracker.ietf.org/doc/html/rfc9112#section-11 (request smuggling)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from meshwright.api.limits import RETRY_AFTER

if TYPE_CHECKING:
    from asyncio import TimerHandle, Transport

    from uvicorn._types import (
        ASGI3Application,
        ASGIReceiveCallable,
        ASGISendCallable,
        ASGISendEvent,
        HTTPResponseStartEvent,
        Scope,
    )
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from meshwright.api.limits import Limits
    from meshwright.api.metrics import Metrics

_ANSWER = (
    b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nx-amzn-errortype: %s\r\ncontent-length: %d\r\n"
    b"%sconnection: close\r\n\r\n%b"
)
_BAD = b"400 Bad Request"
_TOO_LARGE = b"431 Request Header Fields Too Large"
_BUSY = b"503 Service Unavailable"
_TARGET = re.compile(rb'/[!"$-~]*')
"""A path and a query in printable ASCII; a fragment would be signed by nobody."""
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


_LINGER = 1.0
"""Seconds in which a client may take in a refusal; closing earlier, with bytes unread, would take it back."""
_SPARE = 64
"""Connections beyond the limit that are told so; further ones are dropped."""


class Peer(Protocol):
    """A connection that gives way to another one."""

    def cut(self) -> None:
        """End it."""

    def leave(self) -> None:
        """It is over."""


class Connections:
    """The open connections of one server, those whose client has not sent all in the order in which they wait."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.limits = limits
        self.metrics = metrics
        self.open: set[Peer] = set()
        """Those whose TLS handshake is under way among them."""
        self.waiting: dict[Peer, None] = {}
        metrics.watch("connections", lambda: len(self.open))

    def protocol(self, **members: Any) -> BoundedConnection:
        """What uvicorn makes for each connection."""
        return BoundedConnection(self, **members)

    def admit(self, connection: Peer) -> bool:
        """Whether there is room for one more, if need be in the place of the one that has waited longest."""
        self.open.add(connection)
        if len(self.open) <= self.limits.connections:
            return True
        self.metrics.turned_away("connections")
        longest = next(iter(self.waiting), None)
        if longest is None:
            return False
        longest.cut()
        return True


class BoundedConnection(HttpToolsProtocol):
    """Uvicorn's connection, which trusts its clients to come to an end.

    At each moment one timer runs for what the client owes: a head, the next request, the rest of a body that nobody
    wants any more, or the reading of an answer. While a request is worked on, none does: that is the server's time.
    """

    def __init__(self, all_of_them: Connections, **members: Any) -> None:
        super().__init__(**members)
        self._all = all_of_them
        self.handshake: Peer | None = None
        """What led to it, for TLS."""
        self._limits = all_of_them.limits
        self._in_head = False
        self._heads = 0
        """How many heads began."""
        self._head = 0
        """Bytes of the head that is being read, whole headers and the rest."""
        self._unwanted = 0
        """Bytes of a body whose request has been answered."""
        self._deaf = False
        """Whether what comes is not looked at any more."""
        self._owed: TimerHandle | None = None
        self._writing: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # as in uvicorn
        """The first head may come, if there is room."""
        super().connection_made(transport)
        if self.handshake is not None:
            self.handshake.leave()
        if self._all.admit(self):
            self._wait("head_seconds")
        elif len(self._all.open) > self._limits.connections + _SPARE:
            transport.abort()
        else:
            self._refuse(_BUSY, "ServiceUnavailableException", "Too many connections are open.")

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.leave()
        self._stop_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of a head or a body, or of both."""
        if self._deaf:
            return
        before = self._heads if self._in_head else -1
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request is answered as if it had not offered another protocol; what follows could be that protocol.
            self._deaf = True
        except httptools.HttpParserError as error:
            self._not_understood(error)
        else:
            if self._in_head and self._heads != before:
                self._wait("head_seconds")
            elif self._in_head:
                self._head += len(data)
                if self._head > self._limits.head_bytes:
                    self._not_read(_head_too_large(self._limits))

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head, self._head = True, 0
        self._heads += 1

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        super().on_url(url)
        if len(self.url) > self._limits.target_bytes:
            text = f"The target is larger than {self._limits.target_bytes} bytes."
            raise _RefusedHead(b"414 URI Too Long", text, "target_bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; all are judged together."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head, self._unwanted = False, 0
        names = [name for name, _ in self.headers]
        values = b"".join([value for _, value in self.headers])
        self._judge(names, values)
        self.expect_100_continue = b"expect" in names and (b"expect", b"100-continue") in self.headers
        self._stop_waiting()
        super().on_headers_complete()
        if not self.pipeline:
            # Until all of it is there, it is the client that is waited for.
            self._all.waiting[self] = None
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False
        if len(self.pipeline) > self._limits.pipelined:
            self._all.metrics.turned_away("pipelined")
            self.cut()

    def _judge(self, names: list[bytes], values: bytes) -> None:
        """Refuse a head that is too large, or that two readers might read differently."""
        if len(values) + sum(map(len, names)) > self._limits.head_bytes:
            raise _head_too_large(self._limits)
        if len(names) > self._limits.head_count:
            raise _RefusedHead(_TOO_LARGE, f"There are more than {self._limits.head_count} headers.", "head_count")
        if _CONTROL.search(values):
            raise _RefusedHead(_BAD, "A header is folded or holds control characters.")
        if not _TARGET.fullmatch(self.url):
            raise _RefusedHead(_BAD, "The target must be a path, in printable ASCII and without a fragment.")
        version = self.parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            raise _RefusedHead(_BAD, f"HTTP/{version} is not spoken here; HTTP/1.1 is.")
        hosts = names.count(b"host")
        if hosts > 1 or (hosts == 0 and version != "1.0"):
            raise _RefusedHead(_BAD, f"There must be one Host header; there are {hosts}.")

    def on_body(self, body: bytes) -> None:
        """A part of a body; one that nobody waits for is thrown away, up to a limit."""
        super().on_body(body)
        if self.cycle.response_complete:
            self._unwanted += len(body)
            if self._unwanted > self._limits.our_body_bytes:
                self.cut()

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        self._all.waiting.pop(self, None)
        self.cycle.more_body = False
        if self.cycle.response_complete:
            self._wait("idle_seconds")

    def on_response_complete(self) -> None:
        """The answer is written; the rest of the body, or the next request, may come."""
        # As uvicorn's, but for its timer: a blank line between two requests would stop that for good.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        if self.transport.get_write_buffer_size():
            self._watch_writing()
        if self.cycle.response_complete:
            self._wait("body_seconds" if self.cycle.more_body else "idle_seconds")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        super()._start_asgi_task(cycle, _Whole(cycle, app))

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._stop_writing()

    def cut(self) -> None:
        """End the connection; what was written is sent still, for as long as the client reads it in time."""
        self._deaf = True
        self._stop_waiting()
        if self.transport.get_write_buffer_size():
            self._watch_writing()
        self.transport.close()

    def leave(self) -> None:
        """It counts no more."""
        self._all.open.discard(self)
        self._stop_waiting()

    def _not_understood(self, error: httptools.HttpParserError) -> None:
        """Refuse what is no HTTP, or none that is read here; nothing is logged, for anybody may send it."""
        found = error.__context__
        self._not_read(found if isinstance(found, _RefusedHead) else _RefusedHead(_BAD, f"This is no HTTP: {error}."))

    def _not_read(self, found: _RefusedHead) -> None:
        if found.limit:
            self._all.metrics.turned_away(found.limit)
        else:
            self._all.metrics.refused("MalformedRequest")
        self._refuse(found.status, "BadRequestException", str(found))

    def _refuse(self, status: bytes, code: str, message: str) -> None:
        """Answer in the form of every other refusal, unless another answer is due first, and end the connection."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or self.pipeline or not cycle.more_body:
                cycle.keep_alive, self._deaf = False, True
                return
            # It is this request's own body that cannot be read: whoever works on it is told that nobody waits.
            cycle.disconnected = True
            cycle.message_event.set()
        body = msgspec.json.encode({"message": message})
        retry = b"retry-after: %d\r\n" % RETRY_AFTER if status == _BUSY else b""
        self.transport.write(_ANSWER % (status, code.encode(), len(body), retry, body))
        self._deaf = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._wait("linger")
        else:
            self.cut()

    def _wait(self, limit: str) -> None:
        """Until something more is there, as long as `limit` says; meanwhile a newer connection may take its place."""
        if self.transport.is_closing():
            return
        self._stop_waiting()
        self._all.waiting[self] = None
        seconds = _LINGER if limit == "linger" else getattr(self._limits, limit)
        self._owed = self.loop.call_later(seconds, self._too_late, limit)

    def _stop_waiting(self) -> None:
        self._all.waiting.pop(self, None)
        if self._owed is not None:
            self._owed.cancel()
            self._owed = None

    def _too_late(self, limit: str) -> None:
        if limit in {"head_seconds", "body_seconds"}:
            self._all.metrics.turned_away(limit)
        self.cut()

    def _watch_writing(self) -> None:
        if self._writing is None:
            self._writing = self.loop.call_later(self._limits.write_seconds, self._unread_answer)

    def _stop_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _unread_answer(self) -> None:
        self._writing = None
        if self.transport.get_write_buffer_size():
            self._all.metrics.turned_away("write_seconds")
            self.transport.abort()


class _Whole:
    """Sends the head of an answer together with its body: half the system calls, and one packet."""

    def __init__(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._cycle = cycle
        self._app = app
        self._start: HTTPResponseStartEvent | None = None

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one request."""
        del send
        # Whoever reads the body need not set a time for what is there: that takes 15 µs.
        scope["state"]["body_is_there"] = not self._cycle.more_body
        await self._app(scope, receive, self._send)

    async def _send(self, message: ASGISendEvent) -> None:
        cycle = self._cycle
        if message["type"] == "http.response.start":
            self._start = message
            return
        start, self._start = self._start, None
        if start is None or message["type"] != "http.response.body" or message.get("more_body", False):
            if start is not None:
                await cycle.send(start)
            await cycle.send(message)
            return
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if not cycle.disconnected:
            self._write(_head_of(cycle, start), message.get("body", b""))

    def _write(self, head: bytes, body: bytes) -> None:
        """Send all of the answer, and leave the cycle as uvicorn's own sending would."""
        cycle = self._cycle
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(head if cycle.scope["method"] == "HEAD" else head + body)
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


def _head_of(cycle: RequestResponseCycle, start: HTTPResponseStartEvent) -> bytes:
    """The status line and the headers."""
    headers = [*cycle.default_headers, *start.get("headers", ())]
    if (b"connection", b"close") in headers:
        cycle.keep_alive = False
    elif not cycle.keep_alive:
        headers.append((b"connection", b"close"))
    for name, value in headers:
        if _CONTROL.search(value):
            raise RuntimeError(f"the value of the header {name!r} would break the answer")
    lines = [b"%b: %b\r\n" % pair for pair in headers]
    return b"".join((STATUS_LINE[start["status"]], *lines, b"\r\n"))


class _RefusedHead(Exception):  # noqa: N818 - a refusal; the parser is left by it and it goes no further
    """A head that is HTTP and is not read here; `limit` is the one that it ran into, "" for none."""

    def __init__(self, status: bytes, message: str, limit: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.limit = limit


def _head_too_large(limits: Limits) -> _RefusedHead:
    return _RefusedHead(_TOO_LARGE, f"The request's head is larger than {limits.head_bytes} bytes.", "head_bytes")
