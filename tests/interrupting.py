"""A relay between clients and a control plane that kills a client at one of its requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)


class Relay:
    """Hands HTTP/1.1 requests on, one by one, and counts them."""

    def __init__(self, port: int) -> None:
        """`port` is the control plane's."""
        self._port = port
        self.url = ""
        self.asked: list[str] = []
        """The method and target of each request since the last `doom`."""
        self._doomed: tuple[Path, int, bool] | None = None

    def doom(self, pid: Path, number: int | None, *, done: bool = False) -> None:
        """Kill the process whose id is in the file `pid` at its request `number`, from 0; None for never.

        With `done` the control plane does what is asked, and the client never hears of it.
        """
        self.asked = []
        self._doomed = None if number is None else (pid, number, done)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        there, here = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while await self._handed_on(reader, writer, there, here):
                    pass
        finally:
            here.close()
            writer.close()

    async def _handed_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        here: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; False once the client is dead."""
        request = await _message(reader)
        number = len(self.asked)
        self.asked.append(request.partition(b" HTTP/")[0].partition(b"?")[0].decode())
        if self._killed(number, done=False):
            return False
        here.write(request)
        answer = await _message(there)
        if self._killed(number, done=True):
            return False
        writer.write(answer)
        await writer.drain()
        return True

    def _killed(self, number: int, *, done: bool) -> bool:
        if self._doomed is None or self._doomed[1:] != (number, done):
            return False
        os.kill(int(self._doomed[0].read_text()), signal.SIGKILL)
        return True


async def _message(reader: asyncio.StreamReader) -> bytes:
    """A request or an answer, whole."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


@contextlib.asynccontextmanager
async def relayed(port: int) -> AsyncIterator[Relay]:
    """A relay to the control plane at `port`, open until the block ends."""
    found = Relay(port)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
