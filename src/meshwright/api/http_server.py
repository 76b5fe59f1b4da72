"""The HTTP server that the API runs on: uvicorn, with signals and TLS as this server wants them.

The one rule: a client that does not do its part of a handshake, or of a farewell, is not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator

HANDSHAKE_SECONDS = 10.0
"""Seconds that a client has for its part of a TLS handshake."""
FAREWELL_SECONDS = 1.0
"""Seconds that a client has to end TLS when the server does."""


class HttpServer(uvicorn.Server):
    """Signals are the caller's business; TLS has a context of ours and an end to its handshakes."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None) -> None:
        """`tls` is None for plain HTTP."""
        super().__init__(config)
        self._tls = tls

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which would give a client a minute for its handshake."""
        await super().startup(sockets=[])

        def connection() -> asyncio.Protocol:
            made: Any = self.config.http_protocol_class
            found: asyncio.Protocol = made(
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return found

        for one in sockets or ():
            limits: dict[str, Any] = (
                {
                    "ssl": self._tls,
                    "ssl_handshake_timeout": HANDSHAKE_SECONDS,
                    "ssl_shutdown_timeout": FAREWELL_SECONDS,
                }
                if self._tls
                else {}
            )
            loop = asyncio.get_running_loop()
            self.servers.append(await loop.create_server(connection, sock=one, backlog=self.config.backlog, **limits))
