"""A small application that stands for one instance of a virtual node: it says who it is and asks its backends.

It knows nothing of the mesh but the names it calls: every call goes through its own proxy's egress address.
"""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from meshwright.errors import MeshwrightError
from meshwright.lab import grpcs, http1, http2, tcp
from meshwright.lab.exchange import Fault, HangUpError, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from meshwright.lab.exchange import Answer
    from meshwright.lab.topology import Backend, Role
    from meshwright.snapshot.resources import Loopback


class Server(Protocol):
    """What a server of any protocol can do."""

    async def start(self, host: str, port: int) -> int:
        """Listen, on a free port when `port` is 0; the port."""
        ...

    async def stop(self) -> None:
        """Close the listener and every connection."""
        ...


SERVERS: Mapping[str, Callable[[Answer], Server]] = MappingProxyType(
    {"http": http1.server, "http2": http2.server, "grpc": grpcs.Server, "tcp": tcp.server}
)
CALLS: Mapping[str, Callable[[str, int, Request], Awaitable[Reply]]] = MappingProxyType(
    {"http": http1.call, "http2": http2.call, "grpc": grpcs.call, "tcp": tcp.call}
)
"""By App Mesh's names of the protocols."""

CALLS_HEADER = "x-lab-calls"
"""Names the services, by commas, that workloads on the way may call; `none` for none. Absent: all of them."""

PATIENCE = 20.0
"""Seconds that a caller waits; longer than App Mesh's own 15, so that the proxies decide."""


async def call(protocol: str, host: str, port: int, request: Request) -> Reply:
    """Send `request` over `protocol`; whatever becomes of it is in the reply."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await CALLS[protocol](host, port, request)
    except TimeoutError:
        return Reply(status=0, fault=f"no answer from {host}:{port} within {PATIENCE:g} s")


class Workload:
    """One instance of a virtual node's application; set `fault` to make it misbehave."""

    def __init__(self, role: Role, number: int, place: Loopback) -> None:
        """The `number`-th instance, counted from 1, listening on `place.application`."""
        self.node = role.key.name
        self.instance = f"{self.node}-{number}"
        self.fault = Fault()
        self.received = 0
        """Requests that reached it, health checks not counted."""
        self._ports = role.ports
        self._backends = role.backends
        self._place = place
        self._servers: list[Server] = []

    async def start(self) -> None:
        """Listen on every port of the node.

        Raises:
            MeshwrightError: a port is taken.
        """
        for port in self._ports:
            server = SERVERS[port.protocol](self.answer)
            try:
                await server.start(self._place.application, port.number)
            except OSError as error:
                where = f"{self._place.application}:{port.number}"
                raise MeshwrightError(f"{self.instance} cannot listen on {where}: {error.strerror}") from error
            self._servers.append(server)

    async def stop(self) -> None:
        """Stop listening and break off every connection."""
        while self._servers:
            await self._servers.pop().stop()

    async def answer(self, request: Request, protocol: str) -> Reply:
        """Misbehave as told, ask the backends, and say who answered and what arrived.

        Raises:
            HangUpError: it was told to hang up.
        """
        me = Reply(
            node=self.node,
            instance=self.instance,
            protocol=protocol,
            service=request.authority,
            method=request.method,
            path=request.path,
            headers=request.headers,
        )
        if request.headers.get("user-agent", "").startswith("Envoy/HC"):
            return me
        self.received += 1
        fault = self.fault
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.hang_up:
            raise HangUpError
        if fault.status != 200:
            return replace(me, status=fault.status, fault=f"{self.instance} was told to fail")
        calls = await asyncio.gather(*(self._ask(one, request) for one in self._wanted(request)))
        # A backend that failed is in `calls`; its caller still answers, so that the whole path can be read.
        return replace(me, calls=tuple(calls))

    def _wanted(self, request: Request) -> tuple[Backend, ...]:
        asked = request.headers.get(CALLS_HEADER)
        if asked is None:
            return self._backends
        names = {name.strip() for name in asked.split(",")}
        return tuple(one for one in self._backends if one.service in names)

    async def _ask(self, backend: Backend, request: Request) -> Reply:
        path = "/lab.Workload/Who" if backend.port.protocol == "grpc" else request.path
        onward = Request(authority=backend.service, path=path, headers=_passed_on(request.headers))
        reply = await call(backend.port.protocol, self._place.egress, backend.port.number, onward)
        return replace(reply, service=backend.service)


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """What a well-behaved application hands on: the user's own headers and the trace, not proxies' bookkeeping."""
    return {
        name: value
        for name, value in headers.items()
        if name in {"traceparent", "tracestate"}
        or (name.startswith("x-") and not name.startswith(("x-envoy-", "x-forwarded-")))
    }
