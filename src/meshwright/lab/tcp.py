"""A protocol of our own over TCP for lab workloads: one line of JSON asks, one line of JSON answers.

A proxy sees bytes only, as it does with any TCP service.
"""

from __future__ import annotations

import asyncio

import msgspec

from meshwright.lab.exchange import Answer, Reply, Request
from meshwright.lab.sockets import Server


def server(answer: Answer) -> Server:
    """A server, not yet started, that gives `answer` to every line; a failure is a closed connection."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            reply = await answer(msgspec.json.decode(line, type=Request), "tcp")
            if reply.status != 200:
                return
            writer.write(msgspec.json.encode(reply) + b"\n")
            await writer.drain()

    # A line that is no request, or longer than a line may be, is answered by closing.
    return Server(converse, msgspec.DecodeError, ValueError)


async def call(host: str, port: int, request: Request) -> Reply:
    """Send `request` to `host:port` on a connection of its own.

    Never raises for what happens to the request: a closed connection is a reply with status 503 that says so.
    """
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Reply(status=0, fault=f"no connection to {host}:{port}: {error.strerror or error}")
    try:
        writer.write(msgspec.json.encode(request) + b"\n")
        await writer.drain()
        line = await reader.readline()
    except ConnectionError as error:
        return Reply(status=503, fault=f"{host}:{port} broke off: {error}")
    finally:
        writer.close()
    if not line:
        return Reply(status=503, fault="the connection was closed without an answer")
    return msgspec.json.decode(line, type=Reply)
