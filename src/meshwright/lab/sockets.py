"""A TCP listener whose every connection is one conversation, ended with the listener and quiet about broken peers.

The three protocols that we serve ourselves stand on it; what a conversation says is theirs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

from meshwright.lab.exchange import HangUpError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Conversation: TypeAlias = "Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]"


class Server:
    """Holds conversations on one address until it is stopped."""

    def __init__(self, converse: Conversation, *expected: type[Exception]) -> None:
        """`expected` are errors, beside a lost connection, that a peer may cause: they end its conversation only."""
        self._converse = converse
        self._expected: tuple[type[Exception], ...] = (ConnectionError, HangUpError, *expected)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, on a free port when `port` is 0; the port.

        Raises:
            OSError: the port is taken.
        """
        self._server = await asyncio.start_server(self._connected, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: one that asyncio makes would be reported as an error when `stop` cancels it.
        task = asyncio.create_task(self._talk(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._converse(reader, writer)
        except self._expected:
            pass
        finally:
            writer.close()
