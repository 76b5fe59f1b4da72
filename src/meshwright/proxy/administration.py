"""Ask one Envoy's administration interface, over TCP or a Unix socket.

The one rule: every question has an end; an Envoy that does not answer is an `OSError`, like one that is not there.
Source: https://www.envoyproxy.io/docs/envoy/latest/operations/admin
"""

from __future__ import annotations

import http.client
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from meshwright.proxy.connection import XDS_CLUSTER

if TYPE_CHECKING:
    from meshwright.proxy.settings import Address

SECONDS = 2.0
"""How long one answer may take."""

_OPEN = "control_plane.connected_state"
_WAITING = f"cluster.{XDS_CLUSTER}.upstream_rq_pending_active"


class Administration:
    """The administration interface at one address."""

    def __init__(self, where: Address) -> None:
        self._where = where

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Status and body of one request.

        Raises:
            OSError: it does not answer.
        """
        connection = LocalConnection(self._where)
        try:
            connection.request(method, path, headers={"host": "admin"})
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise OSError(f"the administration of Envoy at {self._where} broke off: {error}") from error
        finally:
            connection.close()

    def state(self) -> str:
        """`LIVE`, or why it does not serve: `DRAINING`, `INITIALIZING`, `PRE_INITIALIZING`; "" without answer."""
        try:
            return self.ask("/ready")[1].decode(errors="replace").strip()
        except OSError:
            return ""

    def connected(self) -> bool:
        """Whether it has an open stream to its control plane, over a connection that is there.

        Envoy calls a stream open from when it begins to connect; until it has, the stream is one that waits.
        """
        try:
            said = self.counts(_OPEN, _WAITING)
        except OSError:
            return False
        return said.get(_OPEN) == 1 and said.get(_WAITING, 0) == 0

    def counts(self, *names: str) -> dict[str, int]:
        """Counters and gauges by name; one that there is not yet is absent.

        Raises:
            OSError: it does not answer.
        """
        wanted = "|".join(map(re.escape, names))
        _, body = self.ask(f"/stats?filter={quote(f'^({wanted})$')}")
        lines = (line.partition(": ") for line in body.decode(errors="replace").splitlines())
        return {name: int(value) for name, _, value in lines if value.isdecimal()}

    def drain(self) -> bool:
        """Fail its health checks and let its inbound connections go; whether it served and does so now.

        Listeners stay open for Envoy's drain time: whoever has not heard yet is served, and told to connect elsewhere
        next. What the application itself calls is served until the end.
        """
        if self.state() != "LIVE":
            return False
        try:
            asked = [
                self.ask(path, "POST")[0] for path in ("/healthcheck/fail", "/drain_listeners?graceful&inboundonly")
            ]
        except OSError:
            return False
        return asked == [200, 200]


class LocalConnection(http.client.HTTPConnection):
    """To a host and port, or to a Unix socket."""

    def __init__(self, where: Address, seconds: float = SECONDS) -> None:
        super().__init__(where.host if where.port else "localhost", where.port or None, timeout=seconds)
        self._path = "" if where.port else where.host

    def connect(self) -> None:
        """Connect to the socket, or as usual."""
        if not self._path:
            super().connect()
            return
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(self.timeout)
        try:
            found.connect(self._path)
        except OSError:
            found.close()
            raise
        self.sock: Any = found
