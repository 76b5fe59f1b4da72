"""A protocol of our own over TCP for lab workloads: one line of JSON asks, one line of JSON answers.

A proxy sees bytes only, as it does with any TCP service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from meshwright.lab.exchange import Answer, Reply, Request, reply_of
from meshwright.lab.sockets import HERE, Outlet, Server, attended, connect

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from meshwright.lab.exchange import ClientTls
    from meshwright.lab.sockets import Inside


def server(answer: Answer, ended: Callable[[Request], object] = bool) -> Server:
    """A server, not yet started, that gives `answer` to every line; a failure is a closed connection.

    `ended` is told of each request once the connection that brought it is over.
    """

    async def converse(reader: asyncio.StreamReader, outlet: Outlet) -> None:
        requests: list[Request] = []
        try:
            line = await reader.readline()
            while line:
                requests.append(msgspec.json.decode(line, type=Request))
                reply, early = await attended(answer(requests[-1], "tcp"), reader)
                if reply.status != 200:
                    return
                await outlet.send(msgspec.json.encode(reply) + b"\n")
                line = early + await reader.readline()
        finally:
            for one in requests:
                ended(one)

    # A line that is no request, or longer than a line may be, is answered by closing.
    return Server(converse, msgspec.DecodeError, ValueError)


async def _says_envoy(reader: asyncio.StreamReader) -> bool:
    """Whether an answer in HTTP, of which the first line is read, is a proxy's own and not that of who was called."""
    while line := (await reader.readline()).strip():
        if line.lower() == b"server: envoy":
            return True
    return False


async def call(host: str, port: int, request: Request, tls: ClientTls | None = None, inside: Inside = HERE) -> Reply:
    """Send `request` to `host:port` on a connection of its own.

    Never raises for what happens to the request: a closed connection is a reply with status 503 that says so.
    """
    opened = await connect(host, port, tls, "", inside)
    if isinstance(opened, Reply):
        return opened
    reader, writer = opened
    port = int(writer.get_extra_info("sockname")[1])
    try:
        writer.write(msgspec.json.encode(request) + b"\n")
        await writer.drain()
        line = await reader.readline()
        taken_for_http = line.startswith(b"HTTP/1.1 400") and await _says_envoy(reader)
    except OSError as error:
        return Reply(status=503, fault=f"{host} broke off: {error}", port=port)
    finally:
        writer.close()
    if not line or taken_for_http:
        told = "a proxy takes HTTP there, and answered 400" if line else "the connection was closed without an answer"
        return Reply(status=503, fault=told, port=port)
    return replace(reply_of(200, line), port=port)
