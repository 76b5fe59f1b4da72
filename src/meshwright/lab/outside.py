"""What lies outside a mesh, in its stead: one server that answers for every host, over HTTP and TLS.

The one rule: it says that it was reached, and by which name; it is no part of the mesh, and has no proxy.
"""

from __future__ import annotations

import ssl
import tempfile
import time
from typing import TYPE_CHECKING

from meshwright import routing
from meshwright.errors import MeshwrightError
from meshwright.lab.certificates import Issuer
from meshwright.lab.exchange import Arrival, Reply
from meshwright.lab.workload import SERVERS
from meshwright.model.identity import Key, Kind
from meshwright.trials.trial import OUTSIDE

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.lab.exchange import Request
    from meshwright.lab.sockets import Inside, Server

NAME = OUTSIDE
"""What it calls itself."""


class Outside:
    """The hosts that the nodes of a mesh may call outside of it."""

    def __init__(self, graph: Graph, host: str, inside: Inside) -> None:
        """They all answer at the address `host`, on the ports that egress policies name, and on others on demand."""
        self.host = host
        self.inside = inside
        """The network of that address."""
        found = [routing.egress(graph, node.key) for node in graph.state.of(Kind.VIRTUAL_NODE)]
        self.open = frozenset(
            node.key for node, egress in zip(graph.state.of(Kind.VIRTUAL_NODE), found, strict=True) if egress.anything
        )
        """The nodes that may call whatever they want."""
        allowed = [one for egress in found for one in egress.allowed]
        self.names = tuple(dict.fromkeys(one.host for one in allowed))
        """The hosts that policies name, exact or `*.` and a domain."""
        self._ports = {port: one.protocol for one in allowed for port in one.ports}
        self._servers: dict[int, Server] = {}
        self._key = Key(graph.state.meshes[0], Kind.VIRTUAL_NODE, NAME)
        self._arrivals: dict[str, list[Arrival]] = {}
        self.issuer = Issuer(NAME)
        """Whose certificates it shows."""

    async def start(self) -> None:
        """Answer on the ports that policies name."""
        for port, protocol in self._ports.items():
            await self.listen(port, "http", encrypted=protocol == "tls")

    async def listen(self, port: int, protocol: str, *, encrypted: bool = False) -> None:
        """Answer on `port` too, if it does not yet.

        Raises:
            MeshwrightError: the port is taken.
        """
        if port in self._servers:
            return

        async def answer(request: Request, spoken: str) -> Reply:
            return self._answer(request, spoken, port)

        server = SERVERS[protocol](answer)
        try:
            await server.start(self.host, port, self._context() if encrypted else None, self.inside)
        except OSError as error:
            raise MeshwrightError(f"nothing can listen on {self.host}:{port}: {error.strerror}") from error
        self._servers[port] = server

    async def stop(self) -> None:
        """Answer nobody any more."""
        while self._servers:
            await self._servers.popitem()[1].stop()

    def arrivals(self, trace: str) -> tuple[Arrival, ...]:
        """The requests of one trace that came here."""
        return tuple(self._arrivals.get(trace, ()))

    def _answer(self, request: Request, protocol: str, port: int) -> Reply:
        if request.trace:
            arrival = Arrival(node=self._key, instance=NAME, port=port, at=time.monotonic(), request=request)
            self._arrivals.setdefault(request.trace, []).append(arrival)
        return Reply(
            node=NAME,
            instance=NAME,
            protocol=protocol,
            service=request.authority,
            method=request.method,
            path=request.path,
            headers=request.headers,
        )

    def _context(self) -> ssl.SSLContext:
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued = self.issuer.issue(*self.names)
        with tempfile.NamedTemporaryFile(prefix="meshwright-") as file:  # which the library insists on
            file.write(issued.certificate + issued.key)
            file.flush()
            found.load_cert_chain(file.name)
        return found
