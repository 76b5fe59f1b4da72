"""gRPC calls of lab workloads, by gRPC's own library; their servers are those of HTTP/2.

Messages are bytes throughout, so that no generated code is needed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from msgspec.structs import replace

from meshwright.lab.exchange import Reply, Request, plain, reply_of
from meshwright.lab.sockets import HERE, Server, relay
from meshwright.trials.sendable import BINARY, binary, written

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from meshwright.lab.exchange import ClientTls
    from meshwright.lab.sockets import Inside, Outlet


async def call(host: str, port: int, request: Request, tls: ClientTls | None = None, inside: Inside = HERE) -> Reply:
    """Call `request.path` (`/SERVICE/METHOD`) at `host:port` on a channel of its own.

    Never raises for what happens to the call: any status but OK is a reply with status 503 that says so, or with
    status 0 where the library made it up because no connection came about.
    """
    options: list[tuple[str, str | int]] = [
        ("grpc.default_authority", request.authority),
        ("grpc.use_local_subchannel_pool", 1),
        # Of its own accord it would try some calls again: whoever counts them wants to see each.
        ("grpc.enable_retries", 0),
    ]
    async with _reached(host, port, tls, inside) as where:
        return await _called(where, options, request)


@contextlib.asynccontextmanager
async def _reached(host: str, port: int, tls: ClientTls | None, inside: Inside) -> AsyncIterator[str]:
    """Where `host:port` `inside` a network can be reached from here: the library makes its own sockets.

    Nor can it speak TLS with a server whose certificate does not carry the Host that is asked for.
    """

    async def pass_on(reader: asyncio.StreamReader, outlet: Outlet) -> None:
        await relay(reader, outlet, host, port, inside, tls=tls, protocol="h2")

    if inside is HERE and tls is None:
        yield f"{host}:{port}"
        return
    server = Server(pass_on, OSError)
    try:
        yield f"127.0.0.1:{await server.start('127.0.0.1', 0)}"
    finally:
        await server.stop()


async def _called(where: str, options: list[tuple[str, str | int]], request: Request) -> Reply:
    channel = grpc.aio.insecure_channel(where, options=options)
    async with channel:
        method = channel.unary_unary(request.path, request_serializer=None, response_deserializer=None)
        calling = method(b"", metadata=tuple(_metadata(request.headers)))
        try:
            body = await calling
        except grpc.aio.AioRpcError as error:
            told = plain(f"gRPC {error.code().name}: {error.details()}")
            returned = _texts(error.initial_metadata()) | _texts(error.trailing_metadata())
            status = 0 if channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE else 503
            return Reply(status=status, fault=told, grpc_status=error.code().value[0], returned=returned)
        returned = _texts(await calling.initial_metadata()) | _texts(await calling.trailing_metadata())
    return replace(reply_of(200, body), grpc_status=0, returned=returned)


def _metadata(headers: Mapping[str, str]) -> Iterator[tuple[str, str | bytes]]:
    """Headers as the library takes them: binary ones as bytes, and none that are not what their name says."""
    for name, value in headers.items():
        if not name.endswith(BINARY):
            yield name, value
        elif (found := binary(value)) is not None:
            yield name, found


def _texts(metadata: Iterable[Any] | None) -> dict[str, str]:
    return {str(name): _text(value) for name, value in metadata or ()}


def _text(value: str | bytes) -> str:
    """As it was on the wire."""
    return value if isinstance(value, str) else written(value)
