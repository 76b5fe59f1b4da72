"""A lean HTTP client: ready-made requests over N connections kept open, from one loop, in a process of its own.

`python -m benchmarks.load` reads one JSON line a run on standard input and answers each with one on standard output.
"""

from __future__ import annotations

import base64
import json
import selectors
import socket
import sys
import time
from collections import Counter, deque
from typing import Any

from benchmarks.process import say


class Connection:
    """One connection, which opens anew when the server closes it."""

    def __init__(self, address: tuple[str, int], selector: selectors.BaseSelector) -> None:
        self._address = address
        self._selector = selector
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._began = 0.0
        self._request = b""
        self.opened = 0

    def ask(self, request: bytes) -> None:
        """Send one request whole."""
        self._request, self._buffer, self._began = request, b"", time.perf_counter()
        if self._socket is None:
            self._socket = socket.create_connection(self._address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(self._socket, selectors.EVENT_READ, self)
            self.opened += 1
        self._socket.sendall(request)

    def hear(self) -> tuple[int, float, bytes] | None:
        """The status, the seconds it took and the body, once the answer is whole."""
        assert self._socket is not None
        part = self._socket.recv(1 << 18)
        self._buffer += part
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not part:
            self._drop()
            if not found:
                if self._buffer:
                    raise RuntimeError(f"a connection ended within an answer: {self._buffer[:200]!r}")
                self.ask(self._request)
                return None
        elif not found:
            return None
        lower = head.lower()
        start = lower.find(b"content-length:")
        if part and (start < 0 or len(body) < int(lower[start + 15 :].split(b"\r", 1)[0])):
            return None
        if part and (b"connection: close" in lower or lower.startswith(b"http/1.0")):
            self._drop()
        return int(head[9:12]), time.perf_counter() - self._began, body

    def _drop(self) -> None:
        assert self._socket is not None
        self._selector.unregister(self._socket)
        self._socket.close()
        self._socket = None


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Send every request once, in order, as fast as the connections answer."""
    requests = deque(base64.b64decode(one) for one in asked["requests"])
    selector = selectors.EpollSelector()
    connections = [Connection((asked["host"], asked["port"]), selector) for _ in range(asked["connections"])]
    statuses: Counter[int] = Counter()
    seconds: list[float] = []
    last = b""
    total, spent = len(requests), time.process_time()
    began = time.perf_counter()
    for connection in connections[:total]:
        connection.ask(requests.popleft())
    while len(seconds) < total:
        for key, _ in selector.select():
            heard = key.data.hear()
            if heard is None:
                continue
            status, taken, last = heard
            statuses[status] += 1
            seconds.append(taken)
            if requests:
                key.data.ask(requests.popleft())
    elapsed = time.perf_counter() - began
    selector.close()
    seconds.sort()
    return {
        "rate": total / elapsed,
        "p50": seconds[total // 2],
        "p99": seconds[min(total - 1, total * 99 // 100)],
        "statuses": {str(status): count for status, count in statuses.items()},
        "opened": sum(one.opened for one in connections),
        "busy": (time.process_time() - spent) / elapsed,
        "last": last.decode("utf-8", "replace"),
    }


def main() -> None:
    """Run what comes, line by line."""
    for line in sys.stdin:
        say(run(json.loads(line)))


if __name__ == "__main__":
    main()
