"""What lies outside a mesh, in its stead: one server that answers for every host, over HTTP and TLS.

The one rule: it says that it was reached, and by which name; it is no part of the mesh, and has no proxy.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from typing import TYPE_CHECKING

from meshwright import routing
from meshwright.errors import MeshwrightError
from meshwright.lab.certificates import Issuer
from meshwright.lab.exchange import Arrival, Reply
from meshwright.lab.sockets import Server
from meshwright.lab.workload import SERVERS
from meshwright.model.identity import Key, Kind
from meshwright.trials.trial import OUTSIDE

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.lab.exchange import Answer, Request
    from meshwright.lab.sockets import Inside, Outlet

NAME = OUTSIDE
"""What it calls itself."""

_TELLING = 4
"""Bytes by which a client tells what it speaks."""
_CHUNK = 65_536


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
            await self.listen(port, encrypted=protocol == "tls")

    async def listen(self, port: int, *, encrypted: bool = False) -> None:
        """Answer on `port` too, if it does not yet, in whatever protocol somebody speaks there.

        Raises:
            MeshwrightError: the port is taken.
        """
        if port in self._servers:
            return

        async def answer(request: Request, spoken: str) -> Reply:
            return self._answer(request, spoken, port)

        # It is known at once, so that of two who ask for a port together only one opens it.
        server = self._servers[port] = _polyglot(answer)
        try:
            await server.start(self.host, port, self._context() if encrypted else None, self.inside)
        except OSError as error:
            del self._servers[port]
            raise MeshwrightError(f"nothing can listen on {self.host}:{port}: {error.strerror}") from error

    async def stop(self) -> None:
        """Answer nobody any more."""
        while self._servers:
            await self._servers.popitem()[1].stop()

    def arrivals(self, trace: str) -> tuple[Arrival, ...]:
        """The requests of one trace that came here."""
        return tuple(self._arrivals.get(trace, ()))

    def _answer(self, request: Request, protocol: str, port: int) -> Reply:
        if request.trace:
            arrival = Arrival(
                node=self._key, instance=NAME, port=port, at=time.monotonic(), request=request, protocol=protocol
            )
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


def _polyglot(answer: Answer) -> Server:
    """A server, not yet started, that speaks what its client begins with: HTTP/1.1, HTTP/2, gRPC or lines."""
    known = {
        first: SERVERS[protocol](answer) for first, protocol in ((b"PRI ", "http2"), (b"{", "tcp"), (b"", "http"))
    }

    async def converse(reader: asyncio.StreamReader, outlet: Outlet) -> None:
        said = await reader.readexactly(_TELLING)
        spoken = next(server for first, server in known.items() if said.startswith(first))
        again = asyncio.StreamReader()
        again.feed_data(said)

        async def pass_on() -> None:
            try:
                while piece := await reader.read(_CHUNK):
                    again.feed_data(piece)
            finally:
                again.feed_eof()

        passing = asyncio.ensure_future(pass_on())
        try:
            await spoken.talk(again, outlet)
        finally:
            passing.cancel()
            await asyncio.gather(passing, return_exceptions=True)

    return Server(converse, asyncio.IncompleteReadError)
