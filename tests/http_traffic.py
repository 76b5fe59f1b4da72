"""HTTP/1.1 for tests of proxies: callers that keep their connections, applications that remember what they got."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import msgspec

from processes import DEADLINE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A request or a response; header names in lower case, repeated ones joined by commas."""

    first: str
    """The request or status line."""
    headers: Mapping[str, str]
    body: str = ""
    took: float = 0.0
    """Seconds from asking to the end of the answer."""

    @property
    def status(self) -> int:
        """Of a response."""
        return int(self.first.split()[1])

    @property
    def path(self) -> str:
        """Of a request."""
        return self.first.split()[1]


async def _read(reader: asyncio.StreamReader) -> Message:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        known = headers.get(name.lower())
        headers[name.lower()] = value.strip() if known is None else f"{known},{value.strip()}"
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Message(first=first, headers=headers, body=body.decode())


class Caller:
    """Connections to one address that stay open; a broken one fails the request that met it."""

    def __init__(self, host: str, port: int, connections: int = 1) -> None:
        self._where = host, port
        self._count = connections
        self._free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        for _ in range(self._count):
            self._free.put_nowait(await asyncio.open_connection(*self._where))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while not self._free.empty():
            self._free.get_nowait()[1].close()

    async def ask(self, host: str, path: str = "/", method: str = "GET", **headers: str) -> Message:
        """The answer to one request; underscores in the names of `headers` are dashes."""
        reader, writer = await self._free.get()
        try:
            lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
            start = time.perf_counter()
            writer.write(f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n".encode())
            answer = await asyncio.wait_for(_read(reader), DEADLINE)
        except (OSError, asyncio.IncompleteReadError) as error:
            writer.close()
            raise AssertionError(f"no answer to {method} {host}{path}: {error!r}") from None
        self._free.put_nowait((reader, writer))
        return msgspec.structs.replace(answer, took=time.perf_counter() - start)

    async def ask_often(self, count: int, host: str, path: str = "/", **headers: str) -> list[Message]:
        """The answers to `count` requests, as many at a time as there are connections."""
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(self.ask(host, path, "GET", **headers)) for _ in range(count)]
        return [one.result() for one in asking]


def plain(body: str, status: int = 200, **headers: str) -> Message:
    """A response."""
    return Message(
        first=f"HTTP/1.1 {status} Said", headers={k.replace("_", "-"): v for k, v in headers.items()}, body=body
    )


@contextlib.asynccontextmanager
async def application(
    host: str, port: int, answer: Callable[[Message], Message] | str
) -> AsyncIterator[list[Message]]:
    """An application that answers as told, or always with a word; the requests that it got so far."""
    got: list[Message] = []
    open_: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                asked = await _read(reader)
                got.append(asked)
                said = plain(answer) if isinstance(answer, str) else answer(asked)
                headers = {"content-length": str(len(said.body)), **said.headers}
                lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(f"{said.first}\r\n{lines}\r\n{said.body}".encode())
                await writer.drain()
        writer.close()
        open_.discard(writer)

    server = await asyncio.start_server(serve, host, port)
    try:
        yield got
    finally:
        server.close()
        for writer in list(open_):
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
