"""HTTP/1.1 for lab workloads: a server with persistent connections, and a client with one connection a request.

The protocol is h11's; here are only the sockets.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import h11
import msgspec

from meshwright.lab.exchange import Answer, Reply, Request, reply_of
from meshwright.lab.sockets import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 65_536


def server(answer: Answer) -> Server:
    """A server, not yet started, that gives `answer` to every request."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = h11.Connection(h11.SERVER)
        while (request := await _received(peer, reader)) is not None:
            reply = await answer(request, "http")
            for part in _response(reply, head=request.method == "HEAD"):
                writer.write(peer.send(part) or b"")
            await writer.drain()
            if peer.our_state is not h11.DONE:
                return
            peer.start_next_cycle()

    return Server(converse, h11.ProtocolError)


async def _received(peer: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    """The next request, read to its end; None when the client is gone."""
    request = None
    while not isinstance(event := await _next(peer, reader), h11.EndOfMessage):
        if isinstance(event, h11.ConnectionClosed):
            return None
        if isinstance(event, h11.Request):
            request = _request(event)
    return request


async def call(host: str, port: int, request: Request) -> Reply:
    """Send `request` to `host:port` on a connection of its own.

    Never raises for what happens to the request: a broken connection is a reply with status 0 that says so.
    """
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Reply(status=0, fault=f"no connection to {host}:{port}: {error.strerror or error}")
    try:
        status, body = await exchange(reader, writer, request)
    except (ConnectionError, h11.ProtocolError) as error:
        return Reply(status=0, fault=f"{host}:{port} broke off: {error}")
    finally:
        writer.close()
    return reply_of(status, body)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request) -> tuple[int, bytes]:
    """Send `request` on a fresh connection; the status and the body.

    Raises:
        ConnectionError: the connection ended before the answer did.
        h11.ProtocolError: what came is not HTTP.
    """
    peer = h11.Connection(h11.CLIENT)
    headers = [("host", request.authority), ("connection", "close"), *request.headers.items()]
    writer.write(peer.send(h11.Request(method=request.method, target=request.path, headers=headers)) or b"")
    writer.write(peer.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    status, body = 0, bytearray()
    while not isinstance(event := await _next(peer, reader), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError("it was closed without an answer")
    return status, bytes(body)


async def _next(peer: h11.Connection, reader: asyncio.StreamReader) -> object:
    """The next event of a connection, read from the socket when h11 has nothing left."""
    while (event := peer.next_event()) is h11.NEED_DATA:
        peer.receive_data(await reader.read(_CHUNK))
    return event


def _request(event: h11.Request) -> Request:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
    return Request(
        authority=headers.pop("host", ""),
        path=event.target.decode("latin-1"),
        method=event.method.decode("latin-1"),
        headers=headers,
    )


def _response(reply: Reply, *, head: bool) -> Iterator[h11.Response | h11.Data | h11.EndOfMessage]:
    body = msgspec.json.encode(reply)
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    yield h11.Response(status_code=reply.status, headers=headers)
    if not head:
        yield h11.Data(data=body)
    yield h11.EndOfMessage()
