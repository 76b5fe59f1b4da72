"""HTTP/2 (prior knowledge) for lab workloads: a server, of gRPC too, and a client with one connection a request.

The protocol is h2's; here are only the sockets, and one task a stream so that a slow answer holds up no other. A call
of gRPC, whatever its method, is answered with the reply as JSON for its message, so that no generated code is needed
and no proxy on the way can tell.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import msgspec
from msgspec.structs import replace

from meshwright.lab.exchange import UNAVAILABLE, Answer, HangUpError, Reply, Request, reply_of
from meshwright.lab.sockets import HERE, Outlet, Server, connect
from meshwright.trials.checks import HEALTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.lab.exchange import ClientTls
    from meshwright.lab.sockets import Inside

_CHUNK = 65_536
_GRPC = "application/grpc"
_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"
"""A HealthCheckResponse with the status: field 1, a variant, 1 or 2."""


def server(answer: Answer, *, calls: bool = True) -> Server:
    """A server, not yet started, that gives `answer` to every request.

    Without `calls` it knows nothing of gRPC: a call is a request like any other, answered with a status of HTTP.
    """

    async def converse(reader: asyncio.StreamReader, outlet: Outlet) -> None:
        connection = _Connection(answer, reader, outlet, calls=calls)
        try:
            await connection.converse()
        finally:
            await connection.close()

    return Server(converse, h2.exceptions.ProtocolError)


class _Connection:
    """One client's connection: its streams, each answered by a task of its own."""

    def __init__(self, answer: Answer, reader: asyncio.StreamReader, outlet: Outlet, *, calls: bool) -> None:
        self._answer = answer
        self._calls = calls
        self._reader, self._outlet = reader, outlet
        self._peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self._streams: dict[int, asyncio.Task[None]] = {}
        self._requests: dict[int, Request] = {}

    async def converse(self) -> None:
        """Read and answer until the client is gone."""
        self._peer.initiate_connection()
        await self._flush()
        while chunk := await self._reader.read(_CHUNK):
            for event in self._peer.receive_data(chunk):
                self._take(event)
            await self._flush()

    async def close(self) -> None:
        """End every answer under way."""
        tasks = tuple(self._streams.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self._requests[_number(event.stream_id)] = _request(_headers(event.headers))
            case h2.events.DataReceived():
                self._peer.acknowledge_received_data(event.flow_controlled_length or 0, _number(event.stream_id))
            case h2.events.StreamEnded():
                stream = _number(event.stream_id)
                self._streams[stream] = asyncio.create_task(self._respond(stream, self._requests.pop(stream)))
            case h2.events.StreamReset():
                stream = _number(event.stream_id)
                self._requests.pop(stream, None)
                if (task := self._streams.pop(stream, None)) is not None:
                    task.cancel()

    async def _respond(self, stream: int, request: Request) -> None:
        grpc = self._calls and request.headers.get("content-type", "").startswith(_GRPC)
        try:
            reply = await self._answer(request, "grpc" if grpc else "http2")
        except HangUpError as error:
            self._outlet.hang_up(reset=error.reset)
            return
        self._streams.pop(stream, None)
        if grpc:
            self._end_call(stream, request, reply)
        else:
            headers = [(":status", str(reply.status)), ("content-type", "application/json")]
            head = request.method == "HEAD"
            self._peer.send_headers(stream, headers, end_stream=head)
            if not head:
                # A reply of this lab fits many times into the 64 KiB that a peer must let us send at first.
                self._peer.send_data(stream, msgspec.json.encode(reply), end_stream=True)
        await self._flush()

    def _end_call(self, stream: int, request: Request, reply: Reply) -> None:
        """Answer a call of gRPC: one message and a status, or a status alone.

        Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
        """
        headers = [(":status", "200"), ("content-type", _GRPC)]
        if request.path == HEALTH:
            body = _SERVING if reply.status == 200 else _NOT_SERVING
        elif reply.status != 200:
            status = UNAVAILABLE if reply.grpc_status is None else reply.grpc_status
            words = [("grpc-status", str(status)), ("grpc-message", f"the workload failed with {reply.status}")]
            self._peer.send_headers(stream, [*headers, *words], end_stream=True)
            return
        else:
            body = msgspec.json.encode(reply)
        self._peer.send_headers(stream, headers)
        self._peer.send_data(stream, struct.pack(">BI", 0, len(body)) + body)
        self._peer.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    async def _flush(self) -> None:
        await self._outlet.send(self._peer.data_to_send())


async def call(host: str, port: int, request: Request, tls: ClientTls | None = None, inside: Inside = HERE) -> Reply:
    """Send `request` to `host:port` on a connection of its own.

    Never raises for what happens to the request: a broken connection is a reply with status 0 that says so.
    """
    opened = await connect(host, port, tls, "h2", inside)
    if isinstance(opened, Reply):
        return opened
    reader, writer = opened
    try:
        return await exchange(reader, writer, request)
    except (OSError, h2.exceptions.ProtocolError) as error:
        return Reply(status=0, fault=f"{host}:{port} broke off: {error}")
    finally:
        writer.close()


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request) -> Reply:
    """Send `request` on a fresh connection; the reply, of status 0 where the connection ends before the answer.

    Raises:
        ConnectionError: the connection broke.
        h2.exceptions.ProtocolError: what came is not HTTP/2.
    """
    peer = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    peer.initiate_connection()
    scheme = "http" if writer.get_extra_info("ssl_object") is None else "https"
    pseudo = {":method": request.method, ":scheme": scheme, ":authority": request.authority, ":path": request.path}
    peer.send_headers(1, [*pseudo.items(), *request.headers.items()], end_stream=True)
    writer.write(peer.data_to_send())
    status, returned, body = 0, dict[str, str](), bytearray()
    while chunk := await reader.read(_CHUNK):
        for event in peer.receive_data(chunk):
            match event:
                case h2.events.ResponseReceived():
                    returned = _headers(event.headers)
                    status = int(returned.pop(":status"))
                case h2.events.DataReceived():
                    body += event.data or b""
                    peer.acknowledge_received_data(event.flow_controlled_length or 0, 1)
                case h2.events.StreamEnded():
                    return replace(reply_of(status, bytes(body)), returned=returned)
                case h2.events.StreamReset():
                    return Reply(status=0, fault=f"the stream was reset: {event.error_code}")
        writer.write(peer.data_to_send())
    return Reply(status=0, fault="the connection was closed without an answer")


def _request(headers: dict[str, str]) -> Request:
    return Request(
        authority=headers.pop(":authority", ""),
        path=headers.pop(":path", "/"),
        method=headers.pop(":method", "GET"),
        headers={name: value for name, value in headers.items() if not name.startswith(":")},
    )


def _headers(pairs: object) -> dict[str, str]:
    """The header list of an event as text, which the configured encoding makes it."""
    return dict(cast("Iterable[tuple[str, str]]", pairs or ()))


def _number(stream: int | None) -> int:
    if stream is None:
        raise h2.exceptions.ProtocolError("an event without a stream")
    return stream
