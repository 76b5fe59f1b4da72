"""HTTP/1.1 for lab workloads: a server with persistent connections, and a client with one connection a request.

The protocol is h11's; here are only the sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import msgspec
from msgspec.structs import replace

from meshwright.lab.exchange import Answer, Reply, Request, reply_of
from meshwright.lab.sockets import HERE, Outlet, Server, attended, connect

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from meshwright.lab.exchange import ClientTls
    from meshwright.lab.sockets import Inside

_CHUNK = 65_536


def server(answer: Answer) -> Server:
    """A server, not yet started, that gives `answer` to every request."""

    async def converse(reader: asyncio.StreamReader, outlet: Outlet) -> None:
        peer = h11.Connection(h11.SERVER)
        while (request := await received(peer, reader)) is not None:
            reply, early = await attended(answer(request, "http"), reader)
            if early:
                peer.receive_data(early)
            await outlet.send(b"".join(peer.send(part) or b"" for part in _response(reply, request.method)))
            if peer.our_state is not h11.DONE:
                return
            peer.start_next_cycle()

    return Server(converse, h11.ProtocolError)


async def received(peer: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    """The next request, read to its end; None when the client is gone."""
    request, body = None, bytearray()
    while not isinstance(event := await _next(peer, reader), h11.EndOfMessage):
        if isinstance(event, h11.ConnectionClosed):
            return None
        if isinstance(event, h11.Request):
            request = _request(event)
        elif isinstance(event, h11.Data):
            body += event.data
    return replace(request, body=bytes(body)) if request and body else request


async def call(host: str, port: int, request: Request, tls: ClientTls | None = None, inside: Inside = HERE) -> Reply:
    """Send `request` to `host:port` on a connection of its own.

    Never raises for what happens to the request: a broken connection is a reply with status 0 that says so.
    """
    opened = await connect(host, port, tls, "http/1.1", inside)
    if isinstance(opened, Reply):
        return opened
    reader, writer = opened
    try:
        status, headers, body = await exchange(reader, writer, request)
    except (OSError, h11.ProtocolError) as error:
        return Reply(status=0, fault=f"{host}:{port} broke off: {error}")
    finally:
        writer.close()
    return replace(reply_of(status, body), returned=headers)


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request
) -> tuple[int, dict[str, str], bytes]:
    """Send `request` on a fresh connection; the status, the headers and the body.

    Raises:
        ConnectionError: the connection ended before the answer did.
        h11.ProtocolError: what came is not HTTP.
    """
    peer = h11.Connection(h11.CLIENT)
    texts = [("host", request.authority), ("connection", "close"), *request.headers.items()]
    headers = [(name.encode(), value.encode()) for name, value in texts]
    writer.write(peer.send(h11.Request(method=request.method, target=request.path.encode(), headers=headers)) or b"")
    writer.write(peer.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    status, returned, body = 0, dict[str, str](), bytearray()
    while not isinstance(event := await _next(peer, reader), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            status, returned = event.status_code, _headers(event)
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError("it was closed without an answer")
    return status, returned, bytes(body)


async def _next(peer: h11.Connection, reader: asyncio.StreamReader) -> object:
    """The next event of a connection, read from the socket when h11 has nothing left."""
    while (event := peer.next_event()) is h11.NEED_DATA:
        peer.receive_data(await reader.read(_CHUNK))
    return event


def _request(event: h11.Request) -> Request:
    headers = _headers(event)
    return Request(
        authority=headers.pop("host", ""),
        path=event.target.decode("latin-1"),
        method=event.method.decode("latin-1"),
        headers=headers,
    )


def _headers(event: h11.Request | h11.Response) -> dict[str, str]:
    return {name.decode("latin-1"): _text(value) for name, value in event.headers}


def _text(value: bytes) -> str:
    """A header's value: UTF-8, as over HTTP/2, unless it is not."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _response(reply: Reply, method: str) -> Iterator[h11.Response | h11.Data | h11.EndOfMessage]:
    body = msgspec.json.encode(reply)
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    yield h11.Response(status_code=reply.status, headers=headers)
    if method != "HEAD":
        yield h11.Data(data=body)
    yield h11.EndOfMessage()
