"""The HTTP server that the API runs on: uvicorn, with signals and TLS as this server wants them.

The one rule: a client that does not do its part of a handshake, or of a farewell, is not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Iterator

    from meshwright.api.connection import BoundedConnection, Connections

HANDSHAKE_SECONDS = 10.0
"""Seconds that a client has for its part of a TLS handshake."""
FAREWELL_SECONDS = 1.0
"""Seconds that a client has to end TLS when the server does."""
_PAUSE = 0.2
"""Seconds until connections are taken again when none could be, as without a free file descriptor."""


class HttpServer(uvicorn.Server):
    """Signals are the caller's business; TLS has a context of ours and an end to its handshakes."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None, connections: Connections) -> None:
        """`tls` is None for plain HTTP; handshakes count among the `connections`."""
        super().__init__(config)
        self._tls = tls
        self._connections = connections
        self._tasks: set[asyncio.Task[None]] = set()
        """What takes connections and shakes hands; one that fails takes no other one along."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which would give a client a minute for its handshake, and leave it uncounted meanwhile."""
        await super().startup(sockets=[])

        def connection() -> BoundedConnection:
            made: Any = self.config.http_protocol_class
            found: BoundedConnection = made(
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return found

        loop = asyncio.get_running_loop()
        for one in sockets or ():
            if self._tls is None:
                self.servers.append(await loop.create_server(connection, sock=one, backlog=self.config.backlog))
                continue
            one.listen(self.config.backlog)
            one.setblocking(False)
            self._begin(self._accept(one, self._tls, connection))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; no further connection is taken."""
        for one in self._tasks:
            one.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().shutdown(sockets)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(
        self, listener: socket.socket, tls: ssl.SSLContext, connection: Callable[[], BoundedConnection]
    ) -> None:
        """Take connections until cancelled.

        asyncio's own server tells of a connection once its handshake is over, so that any number could be in one.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                taken, _ = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(_PAUSE)
                continue
            shaking = Handshake(self._connections, taken)
            if shaking.admitted:
                self._begin(shaking.shake(tls, connection))


class Handshake:
    """A TLS handshake that is under way: a connection among the others, which gives way as they do."""

    def __init__(self, connections: Connections, taken: socket.socket) -> None:
        """`admitted` tells whether there is room for it; where there is none, it is closed."""
        self._connections = connections
        self._socket = taken
        self.admitted = connections.admit(self)
        if self.admitted:
            connections.waiting[self] = None
        else:
            self.leave()
            taken.close()

    async def shake(self, tls: ssl.SSLContext, connection: Callable[[], BoundedConnection]) -> None:
        """Have `connection` serve it once the handshake is over."""

        def served() -> BoundedConnection:
            made = connection()
            made.handshake = self
            return made

        try:
            # Where it fails, it was not TLS or not in time: whose fault that is, nobody knows.
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().connect_accepted_socket(
                    served,
                    self._socket,
                    ssl=tls,
                    ssl_handshake_timeout=HANDSHAKE_SECONDS,
                    ssl_shutdown_timeout=FAREWELL_SECONDS,
                )
        finally:
            self.leave()

    def cut(self) -> None:
        """Make room for another connection; whoever waits for the handshake sees its end."""
        self.leave()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        """It is over: the connection that it led to counts instead."""
        self._connections.open.discard(self)
        self._connections.waiting.pop(self, None)
