"""HTTP/1.1 on a plain socket: exactly the given bytes go out, one answer comes back; nothing is corrected."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from meshwright.trust.sigv4 import Request, sign

if TYPE_CHECKING:
    from meshwright.store.contract import AccessKey

REGION = "us-east-1"


class Answer(NamedTuple):
    """What the server said to one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error's name."""
        return self.headers.get("x-amzn-errortype", "")

    @property
    def message(self) -> str:
        """The error's words."""
        return str(self.document["message"])

    @property
    def document(self) -> Any:
        """The JSON body."""
        return json.loads(self.body)


class NoAnswerError(Exception):
    """The connection ended, or the time was up, before a whole answer had come."""


class Connection:
    """One kept-alive connection, made anew when the server has closed it between two requests."""

    def __init__(self, port: int, timeout: float = 20.0) -> None:
        self._port = port
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._rest = b""

    def exchange(self, raw: bytes, *, method: bytes = b"GET") -> Answer:
        """Send `raw` and read one answer.

        Raises:
            NoAnswerError: none came.
        """
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=self._timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A server that refuses a head may close before all of a large body was sent; its answer is there anyway.
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(raw)
        try:
            answer = self._answer(method)
        except (OSError, ValueError) as error:
            self.close()
            raise NoAnswerError(str(error)) from error
        except NoAnswerError:
            self.close()
            raise
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def _answer(self, method: bytes) -> Answer:
        status = 100
        while status < 200:
            head, self._rest = self._until(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            status = int(lines[0].split()[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if method == b"HEAD" or status in {204, 304}:
            body = b""
        elif headers.get("transfer-encoding", "") == "chunked":
            body = self._chunks()
        elif "content-length" in headers:
            body = self._exactly(int(headers["content-length"]))
        else:
            body = self._all()
        return Answer(status, headers, body)

    def _chunks(self) -> bytes:
        parts = []
        while True:
            size, self._rest = self._until(b"\r\n")
            parts.append(self._exactly(int(size, 16) + 2)[:-2])
            if not parts[-1]:
                return b"".join(parts)

    def _until(self, end: bytes) -> tuple[bytes, bytes]:
        while end not in self._rest:
            self._more()
        found, _, rest = self._rest.partition(end)
        return found, rest

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def _all(self) -> bytes:
        with contextlib.suppress(NoAnswerError):
            while True:
                self._more()
        found, self._rest = self._rest, b""
        return found

    def _more(self) -> None:
        assert self._socket is not None
        data = self._socket.recv(65_536)
        if not data:
            raise NoAnswerError("the server closed the connection")
        self._rest += data


def now() -> int:
    """Milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


def signed(
    method: str,
    target: str,
    body: bytes,
    key: AccessKey,
    port: int,
    *,
    service: str = "appmesh",
    headers: tuple[tuple[str, str], ...] = (),
    token: str | None = None,
) -> bytes:
    """One request as bytes, signed by `key`."""
    sent = [("host", f"127.0.0.1:{port}"), *headers]
    added = sign(Request.of(method, target, sent, body), key.id, key.secret, REGION, service, now(), token)
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in [*sent, *added.items()])]
    lines.append(f"content-length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Client:
    """Signed requests with JSON bodies over one connection."""

    def __init__(self, port: int, key: AccessKey, timeout: float = 20.0) -> None:
        self._connection = Connection(port, timeout)
        self._port = port
        self._key = key

    def ask(
        self, method: str, target: str, body: object = None, *, token: str | None = None, **headers: str
    ) -> Answer:
        """One request; keywords are headers, `_` for `-`.

        Raises:
            NoAnswerError: the server went away.
        """
        data = b"" if body is None else json.dumps(body).encode()
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return self._connection.exchange(
            signed(method, target, data, self._key, self._port, headers=named, token=token), method=method.encode()
        )

    def close(self) -> None:
        """End the connection."""
        self._connection.close()
