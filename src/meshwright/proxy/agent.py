"""What the agent in App Mesh's Envoy image answered to orchestrators: is this proxy well, drain it, its statistics.

The one rule: it hands on exactly what is listed here. Envoy's own administration can do anything and asks for no
password, so it stays on the loopback address or its Unix socket.
Source: https://github.com/aws/amazon-ecs-service-connect-agent
"""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import socketserver
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.proxy.administration import Administration
    from meshwright.proxy.settings import Address

SECONDS = 10.0
"""How long a client may take to say what it wants."""

_STATISTICS = ("usedonly", "filter", "text_readouts")
"""What of Envoy's own parameters may be asked for.

Source: https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--stats-prometheus
"""


class Proxied(Protocol):
    """The proxy that an agent speaks for."""

    administration: Administration

    def standing(self) -> dict[str, object]:
        """What there is to say of it, with `ready` and `alive` among it."""
        ...

    def drain(self) -> bool:
        """Let its inbound connections go, once; whether it does."""
        ...


@contextlib.contextmanager
def serving(where: Address | None, proxied: Proxied) -> Iterator[None]:
    """Answer at `where` until the block ends; None answers nobody.

    Raises:
        UsageError: nothing can listen there.
    """
    if where is None:
        yield
        return
    try:
        server = _Unix(where.host, proxied) if not where.port else _Tcp(where, proxied)
    except OSError as error:
        raise UsageError(
            f"Cannot answer health checks at {where}: {error.strerror or error}. Choose another address with --agent."
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        if not where.port:
            Path(where.host).unlink(missing_ok=True)


class _Answering(http.server.BaseHTTPRequestHandler):
    """One request."""

    timeout = SECONDS
    protocol_version = "HTTP/1.1"
    server: _Tcp | _Unix

    def do_GET(self) -> None:
        """`/status`, `/healthz` or `/stats/prometheus`."""
        where = urlsplit(self.path)
        if where.path in {"/status", "/healthz"}:
            standing = self.server.proxied.standing()
            well = standing["ready" if where.path == "/status" else "alive"]
            self._answer(200 if well else 503, json.dumps(standing).encode(), "application/json")
        elif where.path == "/stats/prometheus":
            given = parse_qsl(where.query, keep_blank_values=True)
            asked = urlencode([(name, value) for name, value in given if name in _STATISTICS])
            try:
                status, body = self.server.proxied.administration.ask(f"/stats/prometheus?{asked}")
            except OSError:
                status, body = 503, b"Envoy does not answer.\n"
            self._answer(status, body, "text/plain; version=0.0.4; charset=utf-8")
        else:
            self._refuse()

    def do_POST(self) -> None:
        """`/drain_listeners`."""
        self.close_connection = True  # a body is nothing that we read
        if urlsplit(self.path).path != "/drain_listeners":
            self._refuse()
        elif self.headers.get("origin") or self.headers.get("sec-fetch-site", "none") != "none":
            # No orchestrator sends these, and every browser does: a page that is looked at here must not end service.
            self._answer(403, b"Not for web pages.\n", "text/plain")
        elif self.server.proxied.drain():
            self._answer(200, b"OK\n", "text/plain")
        else:
            self._answer(503, b"Envoy serves nobody yet.\n", "text/plain")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: orchestrators ask every few seconds."""

    def _refuse(self) -> None:
        known = "GET /status, GET /healthz, GET /stats/prometheus and POST /drain_listeners"
        self._answer(404, f"There are {known}.\n".encode(), "text/plain")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Quiet(socketserver.ThreadingMixIn):
    request_queue_size = 128  # of five, health checks wait for a second when many come at once
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that broke off is its own affair."""


class _Tcp(_Quiet, http.server.HTTPServer):
    def __init__(self, where: Address, proxied: Proxied) -> None:
        self.proxied = proxied
        self.address_family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        super().__init__((where.host, where.port), _Answering)

    def server_bind(self) -> None:
        """Without asking a name server for our own name, as the library would."""
        socketserver.TCPServer.server_bind(self)


class _Unix(_Quiet, socketserver.UnixStreamServer):
    def __init__(self, path: str, proxied: Proxied) -> None:
        self.proxied = proxied
        if Path(path).is_socket():
            Path(path).unlink()  # of one that was killed: two proxies never share a path
        super().__init__(path, _Answering)
