"""A small application that stands for one instance of a virtual node: it says who it is and asks its backends.

It knows nothing of the mesh but the names it calls: every call goes through its own proxy's egress address.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import random
import time
from collections import OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from meshwright.errors import MeshwrightError
from meshwright.lab import grpcs, http1, http2, tcp
from meshwright.lab.exchange import Arrival, Fault, HangUpError, Reply, Request
from meshwright.lab.sockets import HERE
from meshwright.trials.trial import instance_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshwright.lab.exchange import Answer, ClientTls
    from meshwright.lab.machines import Machine
    from meshwright.lab.sockets import Inside, Server
    from meshwright.lab.topology import Backend, Role

_LOW = (
    ": ports below net.ipv4.ip_unprivileged_port_start are for root here. Lower that with sysctl, or run as root: "
    "then --isolation netns gives each node a network of its own"
)


class Call(Protocol):
    """How a protocol's client is called; see `call`."""

    async def __call__(
        self, host: str, port: int, request: Request, tls: ClientTls | None = None, inside: Inside = HERE
    ) -> Reply:
        """Call."""
        ...


SERVERS: Mapping[str, Callable[[Answer], Server]] = MappingProxyType(
    {"http": http1.server, "http2": http2.server, "grpc": http2.server, "tcp": tcp.server}
)
CALLS: Mapping[str, Call] = MappingProxyType(
    {"http": http1.call, "http2": http2.call, "grpc": grpcs.call, "tcp": tcp.call}
)
"""By App Mesh's names of the protocols."""

CALLS_HEADER = "x-lab-calls"
"""Names the services, by commas, that workloads on the way may call; `none` for none. Absent: all of them."""

PATIENCE = 20.0
"""Seconds that a caller waits unless told otherwise; longer than App Mesh's own 15, so that the proxies decide."""
PATIENCE_HEADER = "x-lab-patience"
"""Says how many seconds workloads on the way wait for those whom they call; absent where it is `PATIENCE`."""
_MARGIN = 5.0
"""Seconds that a caller waits longer than the mesh lets a call last."""
_REMEMBERED = 10_000
"""Traces of which a workload knows what arrived."""


def patient(lasts: float) -> float:
    """Seconds that a caller waits for an answer to a call that the mesh lets last so many seconds."""
    return max(PATIENCE, lasts + _MARGIN)


async def call(
    protocol: str,
    host: str,
    port: int,
    request: Request,
    tls: ClientTls | None = None,
    inside: Inside = HERE,
    patience: float = PATIENCE,
) -> Reply:
    """Send `request` over `protocol`, from `inside` a network, and wait for `patience`, in seconds, for an answer.

    Whatever becomes of it is in the reply.
    """
    try:
        async with asyncio.timeout(patience):
            return await CALLS[protocol](host, port, request, tls, inside)
    except TimeoutError:
        return Reply(status=0, fault=f"no answer from {host}:{port} within {patience:g} s")


class Workload:
    """One instance of a virtual node's application; set `fault` to make it misbehave."""

    def __init__(
        self, role: Role, number: int, machine: Machine, lookup: Callable[[str], str] = str, *, calls: bool = True
    ) -> None:
        """The `number`-th instance, counted from 1, on `machine`; `lookup` is its name server.

        With `calls`, it asks all of its backends for each request that does not say which; else none.
        """
        self.node = role.key.name
        self.instance = instance_name(self.node, number)
        self.fault = Fault()
        self.given: list[Fault] = []
        """More faults, each of which holds too."""
        self.received = 0
        """Requests that reached it, health checks not counted."""
        self.checked = 0
        """Health checks that reached it, but those that are no more than a connection."""
        self._role = role
        self._calls = calls
        self._machine = machine
        self._lookup = lookup
        self._servers: list[Server] = []
        self._arrivals: OrderedDict[str, list[Arrival]] = OrderedDict()

    async def start(self) -> None:
        """Listen on every port of the node.

        Raises:
            MeshwrightError: a port is taken, or not for whoever is not root.
        """
        for port in self._role.ports:
            answer = functools.partial(self._answered, port.number)
            tells = port.protocol == "tcp"
            server = tcp.server(answer, self._ended) if tells else SERVERS[port.protocol](answer)
            try:
                await server.start(self._machine.application, port.number, None, self._machine.inside)
            except OSError as error:
                where = f"{self._machine.application}:{port.number}"
                told = f"{self.instance} cannot listen on {where}: {error.strerror}"
                raise MeshwrightError(f"{told}{_LOW if error.errno == errno.EACCES else ''}") from error
            self._servers.append(server)

    async def crash(self) -> None:
        """The same as `stop`: a socket has nothing to clean up."""
        await self.stop()

    async def stop(self) -> None:
        """Stop listening and break off every connection."""
        while self._servers:
            await self._servers.pop().stop()

    async def become(self, role: Role) -> None:
        """Be an instance of `role`, the same node defined otherwise.

        Raises:
            MeshwrightError: a port is taken.
        """
        before, self._role = self._role, role
        if role.ports != before.ports:
            await self.stop()
            await self.start()

    async def refuse(self) -> None:
        """Take no connection until `resume`, and break off those that are open."""
        for server in self._servers:
            await server.refuse()

    async def resume(self) -> None:
        """Take connections again."""
        for server in self._servers:
            await server.resume()

    def narrow(self, bandwidth: float) -> None:
        """Send at most so many bytes a second on each connection; 0 for as many as there are."""
        for server in self._servers:
            server.bandwidth = bandwidth

    def arrivals(self, trace: str) -> tuple[Arrival, ...]:
        """The requests of one trace that reached it, in that order, as far as it remembers."""
        return tuple(self._arrivals.get(trace, ()))

    async def _answered(self, port: int, request: Request, protocol: str) -> Reply:
        """As `answer`, having noted what arrived at which port."""
        key = self._role.key
        arrival = Arrival(
            node=key, instance=self.instance, port=port, at=time.monotonic(), request=request, protocol=protocol
        )
        if request.checks_health:
            self.checked += 1
        elif request.trace:
            arrival.open = protocol == "tcp"
            self._arrivals.setdefault(request.trace, []).append(arrival)
            if len(self._arrivals) > _REMEMBERED:
                self._arrivals.popitem(last=False)
        try:
            return await self.answer(request, protocol)
        except asyncio.CancelledError:
            arrival.given_up_at = time.monotonic()
            raise

    def _ended(self, request: Request) -> None:
        """The connection that brought `request` is over."""
        for one in self._arrivals.get(request.trace, ()):
            if one.request is request:
                one.open = False

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
        faults = [one for one in (self.fault, *self.given) if one.concerns(request)]
        if request.checks_health:
            if any(one.silent for one in faults):
                await _never()
            ill = any(one.ill and one.path in {"", request.path} for one in (self.fault, *self.given))
            return replace(me, status=503, fault=f"{self.instance} was told to be ill") if ill else me
        self.received += 1
        for fault in faults:
            if fault.delay or fault.jitter:
                await asyncio.sleep(fault.delay + random.uniform(-fault.jitter, fault.jitter))  # noqa: S311 - no secret
            if fault.silent:
                await _never()
            if fault.hang_up or fault.reset:
                raise HangUpError(reset=fault.reset)
            if fault.status != 200:
                told = f"{self.instance} was told to fail"
                grpc_status = fault.grpc_status if protocol == "grpc" else None
                return replace(me, status=fault.status, grpc_status=grpc_status, fault=told)
        calls = await asyncio.gather(*(self._ask(one, request) for one in self._wanted(request)))
        # A backend that failed is in `calls`; its caller still answers, so that the whole path can be read.
        return replace(me, calls=tuple(calls))

    def _wanted(self, request: Request) -> tuple[Backend, ...]:
        asked = request.headers.get(CALLS_HEADER)
        if asked is None:
            return self._role.backends if self._calls else ()
        names = {name.strip() for name in asked.split(",")}
        return tuple(one for one in self._role.backends if one.service in names)

    async def _ask(self, backend: Backend, request: Request) -> Reply:
        host, inside = self._machine.towards(backend.service, self._lookup), self._machine.inside
        sent = onward(backend, request)
        said = request.headers.get(PATIENCE_HEADER, "")
        patience = float(said) if said.isdecimal() else PATIENCE
        reply = await call(backend.port.protocol, host, backend.port.number, sent, None, inside, patience)
        return replace(reply, service=backend.service)


async def _never() -> None:
    """Return never."""
    await asyncio.Event().wait()


def onward(backend: Backend, request: Request) -> Request:
    """What a workload sends to a backend when `request` has reached it."""
    path = "/lab.Workload/Who" if backend.port.protocol == "grpc" else request.path
    return Request(authority=backend.service, path=path, headers=_passed_on(request.headers))


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """What a well-behaved application hands on: the user's own headers and the trace, not proxies' bookkeeping."""
    return {
        name: value
        for name, value in headers.items()
        if name in {"traceparent", "tracestate"}
        or (name.startswith("x-") and not name.startswith(("x-envoy-", "x-forwarded-")))
    }
