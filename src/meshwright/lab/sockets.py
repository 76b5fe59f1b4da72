"""A TCP listener whose every connection is one conversation, ended with the listener and quiet about broken peers.

The one rule: every protocol that a workload speaks stands on it, so what goes wrong with connections goes wrong here,
the same for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any, TypeAlias

from meshwright.lab.exchange import HangUpError, Reply

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractContextManager

    from meshwright.lab.exchange import ClientTls

Conversation: TypeAlias = "Callable[[asyncio.StreamReader, Outlet], Awaitable[None]]"
Inside: TypeAlias = "Callable[[], AbstractContextManager[object]]"
"""Enters the network that sockets are made in: they stay there, whoever uses them. Nothing is awaited inside."""
HERE: Inside = contextlib.nullcontext
"""This process's own network."""

_PIECES = 20
"""Into how many pieces a second what is sent slowly is cut."""
_RESET = struct.pack("ii", 1, 0)
"""The SO_LINGER with which a socket is closed by a reset (socket(7))."""
_CHUNK = 65_536


class Outlet:
    """What a conversation writes to, no faster than its server's bandwidth."""

    def __init__(self, writer: asyncio.StreamWriter, server: Server) -> None:
        self._writer = writer
        self._server = server
        self._turn = asyncio.Lock()

    async def send(self, data: bytes) -> None:
        """Write `data` after whatever was given before."""
        async with self._turn:
            while data:
                rate = self._server.bandwidth
                piece = data[: max(1, int(rate / _PIECES))] if rate else data
                self._writer.write(piece)
                await self._writer.drain()
                data = data[len(piece) :]
                if rate:
                    await asyncio.sleep(len(piece) / rate)

    def hang_up(self, *, reset: bool = False) -> None:
        """End the connection: by a reset, or as somebody who has no more to say."""
        if reset:
            with contextlib.suppress(OSError):
                self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._writer.transport.abort()
        else:
            self._writer.close()


class Server:
    """Holds conversations on one address until it is stopped."""

    def __init__(self, converse: Conversation, *expected: type[Exception]) -> None:
        """`expected` are errors, beside a lost connection, that a peer may cause: they end its conversation only."""
        self.bandwidth = 0.0
        """Bytes a second that each connection is sent at most; 0 for no limit."""
        self._converse = converse
        self._expected: tuple[type[Exception], ...] = (ConnectionError, *expected)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._where = ("", 0)
        self._tls: ssl.SSLContext | None = None
        self._inside = HERE

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None, inside: Inside = HERE) -> int:
        """Listen `inside` a network, on a free port when `port` is 0; the port. `::` is every address, IPv4 too.

        Raises:
            OSError: the port is taken.
        """
        listening = made(host, socket.SOCK_STREAM, inside)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            self._server = await asyncio.start_server(self._connected, sock=listening, ssl=tls)
        except BaseException:
            listening.close()
            raise
        self._where, self._tls, self._inside = (host, int(listening.getsockname()[1])), tls, inside
        return self._where[1]

    async def stop(self) -> None:
        """Close the listener and every connection."""
        self._close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def refuse(self) -> None:
        """Refuse connections, and end those that are open, until `resume`."""
        await self.stop()

    async def resume(self) -> None:
        """Take connections again.

        Raises:
            OSError: somebody else took the port.
        """
        if self._server is None:
            await self.start(*self._where, self._tls, self._inside)

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: one that asyncio makes would be reported as an error when `stop` cancels it.
        task = asyncio.create_task(self.talk(reader, Outlet(writer, self)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def talk(self, reader: asyncio.StreamReader, outlet: Outlet) -> None:
        """Hold one conversation, to its end, whoever took the connection."""
        reset = False
        try:
            await self._converse(reader, outlet)
        except HangUpError as error:
            reset = error.reset
        except self._expected:
            pass
        finally:
            outlet.hang_up(reset=reset)


async def attended(answer: Coroutine[object, object, Reply], reader: asyncio.StreamReader) -> tuple[Reply, bytes]:
    """The answer, and what the peer sent meanwhile; a peer that leaves meanwhile ends it.

    Raises:
        ConnectionResetError: the peer left.
    """
    tasks: list[asyncio.Future[Any]] = []
    try:
        tasks.append(answering := asyncio.ensure_future(answer))
        await asyncio.sleep(0)
        if answering.done():  # as most are at once
            return answering.result(), b""
        tasks.append(listening := asyncio.ensure_future(reader.read(_CHUNK)))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if listening.done() and not listening.result() and not answering.done():
            raise ConnectionResetError("the peer left before it was answered")
        reply = await answering
        return reply, listening.result() if listening.done() else b""
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def made(host: str, kind: int, inside: Inside) -> socket.socket:
    """A socket `inside` a network, for the family of the address `host`; of IPv6 it serves IPv4 too.

    Raises:
        OSError: the kernel has no such family.
    """
    with inside():
        found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    if found.family is socket.AF_INET6:
        found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return found


async def connect(
    host: str, port: int, tls: ClientTls | None, protocol: str, inside: Inside = HERE
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | Reply:
    """A connection, which speaks `protocol` where it is encrypted; where there is none, a reply that says why."""
    try:
        return await _opened(host, port, tls, protocol, inside)
    except OSError as error:
        return Reply(status=0, fault=f"no connection to {host}:{port}: {error.strerror or error}")


async def _opened(
    host: str, port: int, tls: ClientTls | None, protocol: str, inside: Inside
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    found = made(host, socket.SOCK_STREAM, inside)
    try:
        found.setblocking(False)
        await asyncio.get_running_loop().sock_connect(found, (host, port))
        if tls is None:
            return await asyncio.open_connection(sock=found)
        return await asyncio.open_connection(sock=found, ssl=tls.context(protocol), server_hostname=tls.name)
    except BaseException:
        found.close()
        raise


async def relay(
    reader: asyncio.StreamReader,
    outlet: Outlet,
    host: str,
    port: int,
    inside: Inside = HERE,
    *,
    tls: ClientTls | None = None,
    protocol: str = "",
) -> None:
    """Be the wire between a connection and one to `host:port`, `inside` a network, until that ends.

    With `tls`, that one is encrypted and speaks `protocol`.

    Raises:
        HangUpError: there is nobody, or nobody with whom TLS comes about.
    """
    opened = await connect(host, port, tls, protocol, inside)
    if isinstance(opened, Reply):
        raise HangUpError(reset=True)
    answers, writer = opened

    async def onward() -> None:
        while piece := await reader.read(_CHUNK):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():  # TLS has no half of an end
            writer.write_eof()

    sending = asyncio.ensure_future(onward())
    try:
        while piece := await answers.read(_CHUNK):
            await outlet.send(piece)
    finally:
        sending.cancel()
        writer.close()
        await asyncio.gather(sending, return_exceptions=True)
