"""One HTTP connection, with an end to what a client may send or put off before its request is known.

The one rule: nobody has been asked for a signature yet, so a head costs a bounded amount of memory and time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from asyncio import TimerHandle, Transport

HEAD_LIMIT = 64 * 1024
"""Bytes of a request line and headers that are read before giving up; AWS's clients send some 2 kB."""
HEAD_SECONDS = 10.0
"""How long a head may take, from the connection or from its first byte."""

_REFUSAL = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nx-amzn-errortype: BadRequestException\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
)


class BoundedConnection(HttpToolsProtocol):
    """Uvicorn's connection; it has limits for a head in its slower parser only."""

    _head: int | None = 0
    """Bytes of the head that is being read, None outside of one."""
    _late: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # as in uvicorn
        """The first head may come."""
        super().connection_made(transport)
        self._expect_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._forget_head()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a head or a body, or of both."""
        super().data_received(data)
        if self._head is not None and not self.transport.is_closing():
            self._head += len(data)
            if self._head > HEAD_LIMIT:
                self.send_400_response(f"The request's head is larger than {HEAD_LIMIT} bytes.")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the form of every other refusal, and end the connection."""
        body = msgspec.json.encode({"message": msg})
        self.transport.write(_REFUSAL % (len(body), body))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._forget_head()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._forget_head()
        self._head = 0
        self._late = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._too_late)

    def _forget_head(self) -> None:
        self._head = None
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self.transport.close()
