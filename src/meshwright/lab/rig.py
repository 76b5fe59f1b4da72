"""A rig: any mesh, running on this machine from its definitions alone, to be called, watched and disturbed.

The one rule: every call takes the way that it would take in production, through real proxies that hold what the
control plane sent them; what was seen of it is told by the caller, the workloads and the proxies, each for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import secrets
import time
import uuid
from typing import TYPE_CHECKING, Self

import msgspec
from msgspec.structs import replace

from meshwright.errors import UsageError, did_you_mean
from meshwright.graph import resolve
from meshwright.lab import faults, health, witnesses
from meshwright.lab.exchange import Arrival, ClientTls, Reply, Request, bodiless
from meshwright.lab.lab import Lab, whole
from meshwright.lab.surroundings import Surroundings
from meshwright.lab.tracing import all_told, told_of, trace_of
from meshwright.lab.workload import CALLS_HEADER, PATIENCE, PATIENCE_HEADER, call
from meshwright.model.identity import Key, Kind
from meshwright.simulate import Call, route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from meshwright.documents.settings import Command
    from meshwright.lab.collector import Trace
    from meshwright.lab.instance import Instance
    from meshwright.lab.machines import Isolation
    from meshwright.model.state import State
    from meshwright.trials.trial import Given

STACK = "rig"
_REPORT_SECONDS = 10.0
"""How long proxies may take to report: spans come at once, records of access logs within the second."""


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One call, and what its sender and the workloads saw of it."""

    call: Call
    at: Key
    """The node whose application sent it; the gateway that it was sent to from outside."""
    trace: str
    """The trace that it is, 32 hexadecimal digits; its request id is the same as a UUID."""
    reply: Reply
    began_at: float
    """Seconds of this machine's clock for durations, as the times of `attempts`."""
    seconds: float
    """How long it took."""
    attempts: tuple[Arrival, ...]
    """Every time that it reached a workload, in that order, copies of a mirror included."""
    direct: bool = False
    """Whether it left the machine past its proxy, as what nothing intercepts does."""

    @property
    def taken(self) -> bool:
        """Whether a proxy took it: not where it went past, nor where nobody took the connection."""
        if self.call.straight or self.call.apart:
            # Some protocols have a status for a connection that nobody took.
            return bool(self.attempts)
        return not self.direct and bool(self.reply.status or self.attempts)


class Rig:
    """A running mesh; an async context manager. Everything is gone when it is left, however it is left."""

    def __init__(
        self,
        state: State,
        *,
        instances: Mapping[str, int] | None = None,
        traced: bool = True,
        isolation: Isolation = "loopback",
        programs: Mapping[str, Command] | None = None,
    ) -> None:
        """`state` is one mesh; `instances` says how many of a node to run where it is not one, by name.

        With `traced`, proxies report what they do to the rig, and to nobody that the definitions name. `programs`
        run in place of the workloads of nodes, by name; their proxies tell of them.

        Raises:
            UsageError: `state` is not exactly one mesh, or `instances` or `programs` name no node of it.
        """
        state = whole(state)
        self.graph = resolve(state)
        self._around = Surroundings(state, traced=traced, programs=programs)
        self._traced = traced
        self.lab = Lab(state, stack=STACK, instances=instances, around=self._around, isolation=isolation)

    async def __aenter__(self) -> Self:
        """Start everything, and wait until every proxy has what is defined and knows whom it calls.

        Raises:
            MeshwrightError: something did not start, was refused, or was rejected by an Envoy; with its words.
        """
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.lab)
            await health.acquainted(self)
            stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.lab.__aexit__(kind, error, trace)

    async def apply(self, state: State) -> None:
        """Run `state` instead, in which the same nodes and gateways are defined otherwise, and have it in use.

        Raises:
            UsageError: they are others.
            MeshwrightError: it is refused, rejected by an Envoy, or not in use in time; then start another rig.
        """
        state = whole(state)
        stale = await self._around.restage(state)
        await self.lab.fleet.follow(self._around.state)
        number = await self.lab.apply(self._around.state)
        self.graph = resolve(state)
        await asyncio.gather(*(one.restart() for one in self.lab.fleet.instances if one.role.key in stale))
        await self.lab.propagated(number)
        await health.warmed(self)

    def instances(self, key: Key) -> tuple[Instance, ...]:
        """The instances of a node or gateway, in the order of their numbers.

        Raises:
            UsageError: there is no such node or gateway.
        """
        found = tuple(one for one in self.lab.fleet.instances if one.role.key == key)
        if not found:
            raise UsageError(f"no {key.kind} {key.name!r} runs here")
        return found

    def named(self, name: str) -> Key:
        """The virtual node, or else the virtual gateway, of that name.

        Raises:
            UsageError: there is none.
        """
        for kind in (Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY):
            if (key := Key(self.lab.mesh, kind, name)) in self.graph.state:
                return key
        known = [one.role.key.name for one in self.lab.fleet.instances]
        hint = f"there is {', '.join(dict.fromkeys(known))}"
        raise UsageError(f"no virtual node or gateway {name!r} runs here; {did_you_mean(name, known, hint)}")

    def fault(
        self,
        given: Given,
        unnoticed: Callable[[str], None] | None = None,
        settle: faults.Settle = health.settled,
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """A fault that holds while the context lasts; when it ends, callers know that all is well again.

        Those that take long are started anew, unless there is another way to `settle`.

        Where callers are to find out that instances are ill and do not, `unnoticed` is told why; without it, that is
        an error.

        Raises:
            UsageError: nothing like it runs here, or it cannot be confined to some requests.
        """
        return faults.holding(self, given, unnoticed, settle)

    async def send(
        self,
        sent: Call,
        at: Key | None = None,
        *,
        calls: Iterable[str] = (),
        instance: int = 1,
        patience: float = PATIENCE,
    ) -> Sent:
        """Send one call from the application of node `at`, or from outside to gateway `at`, or to the only gateway.

        A straight one goes from outside to the listener of node `at`.

        Of the instances that run there, it is from or to the one of that number. It returns whatever becomes of it.
        Workloads on its way call those of their own backends that `calls` names. An answer is waited for for
        `patience`, in seconds.

        Raises:
            UsageError: nothing like `at` runs here, or not so many of it.
        """
        key = at or self._gateway(sent.port)
        running = self.instances(key)
        if instance > len(running):
            raise UsageError(f"instance {instance} of {key.name!r} cannot call: {len(running)} run here")
        source = running[instance - 1]
        request = _request(sent, uuid.uuid4().hex, calls, patience)
        trace = request.trace
        inside = key.kind is Kind.VIRTUAL_NODE and not sent.straight
        machine, ground = source.machine, self.lab.ground
        tls = self._tls(sent, key)
        host, direct = await self._towards(sent, source) if inside else (machine.address, False)
        began_at = time.monotonic()
        within = machine.inside if inside else ground.inside
        reply = await call(sent.protocol, host, sent.port, request, tls, within, patience)
        seconds = time.monotonic() - began_at
        attempts = self.attempts(trace)
        whole = Sent(
            call=sent,
            at=key,
            trace=trace,
            reply=bodiless(reply, attempts) if sent.verb == "HEAD" else reply,
            began_at=began_at,
            seconds=seconds,
            attempts=attempts,
            direct=direct,
        )
        return await self._witnessed(whole) if self._programs() and self._traced else whole

    async def _towards(self, sent: Call, source: Instance) -> tuple[str, bool]:
        """The address to which a node's application sends a call, and whether that is past its proxy."""
        key, machine, outside = source.role.key, source.machine, self._around.outside
        host = source.towards(sent.host)
        declared = key not in outside.open or route(self.graph, key, sent).outcome != "outside"
        if declared or host == machine.address:
            return host, False
        await outside.listen(sent.port, encrypted=sent.encrypted)
        # Past the mesh it goes to whom its sender meant, and everybody there is one. On loopback addresses the proxy
        # knows that; where it takes nothing up, nothing does on its way.
        direct = bool(machine.egress) and not await _taken(host, sent.port)
        return (host if machine.egress and not direct else outside.host), direct

    def _programs(self) -> list[Instance]:
        return [one for one in self.lab.fleet.instances if one.program is not None]

    async def _witnessed(self, sent: Sent) -> Sent:
        """The same, with what proxies say where a program of the user took it."""
        collector, programs, at = self._around.collector, self._programs(), sent.at.path

        def known() -> bool:
            told = told_of(collector, sent)
            if not any(one.proxy == at for one in told.records):
                lost = sent.call.straight and not sent.attempts
                return sent.direct or lost or not sent.reply.status  # else it is still to come
            taken = witnesses.chosen(told, at, programs)
            return taken is None or witnesses.heard(told, taken)

        await collector.until(known, _REPORT_SECONDS)
        told = told_of(collector, sent)
        reply = witnesses.said(told, at, sent.reply, programs)
        found = witnesses.arrivals(told, programs) if sent.call.protocol == "tcp" else self.attempts(sent.trace)
        return replace(sent, reply=reply, attempts=found)

    def attempts(self, trace: str) -> tuple[Arrival, ...]:
        """Every time that a request of `trace` reached a workload or the world outside, by time, as known now."""
        workloads = [one.workload for one in self.lab.fleet.instances if one.workload is not None]
        found = [arrival for one in workloads for arrival in one.arrivals(trace)]
        found += self._around.outside.arrivals(trace)
        found += witnesses.arrivals(self._around.collector.trace(trace), self._programs())
        return tuple(sorted(found, key=lambda arrival: arrival.at))

    def hide(self, instance: Instance) -> None:
        """Let discovery tell of an instance no more."""
        self.lab.fleet.hidden.add(instance.name)
        self._announce(instance)

    def show(self, instance: Instance) -> None:
        """Let discovery tell of it again."""
        self.lab.fleet.hidden.discard(instance.name)
        self._announce(instance)

    def _announce(self, instance: Instance) -> None:
        fleet = self.lab.fleet
        fleet.names.publish(fleet.records())
        self._around.enlist(
            instance.role.key, instance.name, instance.machine, there=instance.name not in fleet.hidden
        )

    def expired(self, key: Key) -> contextlib.AbstractContextManager[None]:
        """While this lasts, the certificates of a node or gateway are expired ones: proxies see it when they start.

        Raises:
            UsageError: it has none.
        """
        return self._around.expired(key)

    async def report(self, sent: Iterable[Sent], *, wait: bool = True) -> tuple[Trace, ...]:
        """What proxies said of calls, in their order: spans, and records of access logs.

        Unless told not to, it waits, bounded, until the proxy that took a call first and the one of whoever answered
        have said what they have to say: a record each and, where a route was found, a span. TCP connections have
        records alone.
        """
        wanted, collector = tuple(sent), self._around.collector
        if self._traced and wait:
            await collector.heard(
                ((trace_of(one), functools.partial(all_told, collector, one)) for one in wanted), _REPORT_SECONDS
            )
        return tuple(told_of(collector, one) for one in wanted)

    async def heard(self, wanted: Mapping[str, Callable[[Trace], bool]]) -> Mapping[str, Trace]:
        """The traces of these names, once each is as `wanted`, or when proxies have had the time to report it."""
        collector = self._around.collector

        def held(name: str, holds: Callable[[Trace], bool]) -> bool:
            return holds(collector.trace(name))

        await collector.heard(
            ((name, functools.partial(held, name, holds)) for name, holds in wanted.items()), _REPORT_SECONDS
        )
        return {name: collector.trace(name) for name in wanted}

    @property
    def received(self) -> int:
        """How many requests have reached workloads, health checks not counted."""
        return sum(one.workload.received for one in self.lab.fleet.instances if one.workload is not None)

    @property
    def release(self) -> str:
        """What the proxies are told that they were deployed with."""
        return self._around.release

    @property
    def traced(self) -> bool:
        """Whether proxies report to the rig."""
        return self._traced

    def _gateway(self, port: int) -> Key:
        gateways = {one.role.key for one in self.lab.fleet.instances if one.role.key.kind is Kind.VIRTUAL_GATEWAY}
        there = [key for key in sorted(gateways) if port in {one.number for one in self.instances(key)[0].role.ports}]
        if len(there) != 1:
            known = ", ".join(key.name for key in there or sorted(gateways)) or "none"
            raise UsageError(f"say which gateway is called on port {port}; there is {known}")
        return there[0]

    def _tls(self, sent: Call, at: Key) -> ClientTls | None:
        if not sent.encrypted:
            return None
        entering = sent.straight or at.kind is Kind.VIRTUAL_GATEWAY
        found = self._around.tls(at, sent.port, sent) if entering else None
        outside = ClientTls(authorities=self._around.outside.issuer.certificate, name=sent.host)
        return found or outside


async def _taken(host: str, port: int) -> bool:
    """Whether anybody listens there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def _request(sent: Call, trace: str, calls: Iterable[str], patience: float) -> Request:
    named = ",".join(calls)
    own = {
        "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01",
        "x-request-id": str(uuid.UUID(trace)),
        **({CALLS_HEADER: named} if named else {}),
        **({PATIENCE_HEADER: str(math.ceil(patience))} if named and patience != PATIENCE else {}),
    }
    given: dict[str, str] = {}
    for name, value in sent.headers:
        if name.lower() not in {"host", ":authority"}:
            # Blanks around a value are no part of it.
            before, value = given.get(name.lower()), value.strip(" \t")  # noqa: PLW2901 - the same, as it is sent
            given[name.lower()] = value if before is None else f"{before},{value}"
    return Request(authority=sent.authority, path=sent.path, method=sent.verb, headers=own | given)
