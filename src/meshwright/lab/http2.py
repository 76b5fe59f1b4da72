"""HTTP/2 without TLS (prior knowledge) for lab workloads: a server, and a client with one connection a request.

The protocol is h2's; here are only the sockets, and one task a stream so that a slow answer holds up no other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import msgspec

from meshwright.lab.exchange import Answer, HangUpError, Reply, Request, reply_of
from meshwright.lab.sockets import Server

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHUNK = 65_536


def server(answer: Answer) -> Server:
    """A server, not yet started, that gives `answer` to every request."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(answer, reader, writer)
        try:
            await connection.converse()
        finally:
            await connection.close()

    return Server(converse, h2.exceptions.ProtocolError)


class _Connection:
    """One client's connection: its streams, each answered by a task of its own."""

    def __init__(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._answer = answer
        self._reader, self._writer = reader, writer
        self._peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self._streams: dict[int, asyncio.Task[None]] = {}
        self._requests: dict[int, Request] = {}

    async def converse(self) -> None:
        """Read and answer until the client is gone."""
        self._peer.initiate_connection()
        self._flush()
        while chunk := await self._reader.read(_CHUNK):
            for event in self._peer.receive_data(chunk):
                self._take(event)
            self._flush()
            await self._writer.drain()

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
        try:
            reply = await self._answer(request, "http2")
        except HangUpError:
            self._writer.close()
            return
        body = msgspec.json.encode(reply)
        headers = [(":status", str(reply.status)), ("content-type", "application/json")]
        self._peer.send_headers(stream, headers)
        # A reply of this lab fits many times into the 64 KiB that a peer must let us send at first.
        self._peer.send_data(stream, body, end_stream=True)
        self._streams.pop(stream, None)
        self._flush()

    def _flush(self) -> None:
        self._writer.write(self._peer.data_to_send())


async def call(host: str, port: int, request: Request) -> Reply:
    """Send `request` to `host:port` on a connection of its own.

    Never raises for what happens to the request: a broken connection is a reply with status 0 that says so.
    """
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Reply(status=0, fault=f"no connection to {host}:{port}: {error.strerror or error}")
    try:
        return await exchange(reader, writer, request)
    except (ConnectionError, h2.exceptions.ProtocolError) as error:
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
    pseudo = {":method": request.method, ":scheme": "http", ":authority": request.authority, ":path": request.path}
    peer.send_headers(1, [*pseudo.items(), *request.headers.items()], end_stream=True)
    writer.write(peer.data_to_send())
    status, body = 0, bytearray()
    while chunk := await reader.read(_CHUNK):
        for event in peer.receive_data(chunk):
            match event:
                case h2.events.ResponseReceived():
                    status = int(_headers(event.headers)[":status"])
                case h2.events.DataReceived():
                    body += event.data or b""
                    peer.acknowledge_received_data(event.flow_controlled_length or 0, 1)
                case h2.events.StreamEnded():
                    return reply_of(status, bytes(body))
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
