"""A plain socket to an HTTP server: bytes out, answers in, and whether the connection is still there."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from meshwright.trust.sigv4 import Request, sign
from serving import KEY, Answer, now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.store.contract import AccessKey


class Raw:
    """One connection; nothing is corrected."""

    def __init__(self, url: str, timeout: float = 10.0, receive_buffer: int = 0) -> None:
        self.host = urlsplit(url).netloc
        name, _, port = self.host.rpartition(":")
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect((name, int(port)))
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send these bytes, as far as the server takes them."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer; status 0 for none before the connection ended."""
        head = self._until(b"\r\n\r\n")
        if not head:
            return Answer(0, {}, b"")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        status = int(first.split()[1])
        length = 0 if method == "HEAD" or status == 100 else int(headers.get("content-length", "0"))
        while len(self._rest) < length:
            part = self._receive()
            if not part:
                break
            self._rest += part
        body, self._rest = self._rest[:length], self._rest[length:]
        return Answer(status, headers, body)

    def ended(self) -> bool:
        """Whether the server closes the connection without another byte."""
        return not self._rest and not self._receive()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            part = self._receive()
            if not part:
                return b""
            self._rest += part
        head, _, self._rest = self._rest.partition(mark)
        return head

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(65_536)
        except ConnectionError:
            return b""


def head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """A request line and headers."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def signed(
    host: str,
    method: str,
    target: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    key: AccessKey = KEY,
    service: str = "appmesh",
    hash_header: bool = False,
    at: int | None = None,
) -> bytes:
    """A whole request, signed by `key`; `headers` are signed too."""
    sent = {"host": host, **(headers or {})}
    request = Request.of(method, target, sent.items(), body)
    moment = now() if at is None else at
    sent |= sign(request, key.id, key.secret, "us-east-1", service, moment, hash_header=hash_header)
    if body:
        sent["content-length"] = str(len(body))
    return head(method, target, sent) + body
