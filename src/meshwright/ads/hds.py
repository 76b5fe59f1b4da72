"""The health discovery service: an Envoy that registered its endpoint checks its own application, and reports.

The one rule: a report is of the proxy that makes it and of nobody else. One that says DRAINING is a farewell: the
endpoint goes at once, whatever its streams do afterwards.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/health/v3/hds.proto
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
from msgspec.structs import replace

from meshwright.ads.gate import current, reason
from meshwright.ads.wire import identify, registree, report
from meshwright.errors import MeshwrightError, UsageError
from meshwright.snapshot.health import OWN, specifier
from meshwright.snapshot.messages import serialized

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.ads.gate import Call
    from meshwright.ads.twins import Twins
    from meshwright.control import Control, Proxy
    from meshwright.discovery import Registrations
    from meshwright.model.identity import Key

SERVICE = "envoy.service.health.v3.HealthDiscoveryService"

_EOF = cast("Any", grpc.aio).EOF  # grpc-stubs does not know it
_HEALTHY, _DRAINING = 1, 3
"""`envoy.config.core.v3.HealthStatus`."""

_LOOK = 1.0
"""Seconds between two looks whether anything was committed."""

_log = logging.getLogger(__name__)


class _Open:
    """One open stream."""

    def __init__(self, node: Key, task: asyncio.Task[Any]) -> None:
        self.node = node
        self.task = task
        self.woken = asyncio.Event()
        """What is to be checked may have changed."""


class HealthServer:
    """Hands out what to check and takes in the reports: one stream a proxy, the newest."""

    def __init__(
        self,
        control: Control,
        registrations: Registrations,
        twins: Twins,
        *,
        home: str = "",
        most: int | None = None,
    ) -> None:
        """`twins` know which ids several have; `most` is how many proxies of a node may report."""
        self._twins = twins
        self._control = control
        self._registrations = registrations
        self._home = home
        self._most = most
        self._open: dict[str, _Open] = {}
        self._reporting: Counter[Key] = Counter()
        """How many of them are of each node: to go through all for each that came was of the square of thousands."""
        self._ending: set[asyncio.Task[Any]] = set()

    async def serve(self, _requests: None, call: Call) -> None:
        """One stream, from its first message until its proxy ends it, or comes anew."""
        try:
            named = identify(call.node, call.instance, self._home)
            proxy = self._told_apart(call, named)
            with self._held(proxy) as stream:
                await self._follow(call, proxy, stream)
        except UsageError as error:
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, reason(error))
        except _UnknownError as error:
            await call.abort(grpc.StatusCode.UNAVAILABLE, reason(error))
        except MeshwrightError as error:
            await call.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, reason(error))

    async def watch(self) -> None:
        """Tell of changed checks, until cancelled: an Envoy that has nothing to check says nothing by itself."""
        known = self._control.state
        while True:
            await asyncio.sleep(_LOOK)
            if self._control.state is not known:
                known = self._control.state
                for stream in self._open.values():
                    stream.woken.set()

    def part(self, proxy: str) -> None:
        """Several have this id: whoever reports by it comes again, and has one of its own then."""
        if proxy in self._open:
            self._end(self._open[proxy].task)

    def end(self) -> None:
        """Close all streams with status OK."""
        for stream in list(self._open.values()):
            self._end(stream.task)

    def _told_apart(self, call: Call, named: Proxy) -> Proxy:
        """The proxy whose reports these are; where no address tells it from others of its name, by its endpoint.

        Raises:
            _UnknownError: none that is connected registered that endpoint: it may be about to.
        """
        found = self._twins.told(named.id, call.peer())
        if found == named.id:
            return named
        proxy = replace(named, id=found, shared_id=named.id)
        if not self._twins.numbered(found):
            return proxy
        holders = self._holders(call, proxy)
        if not holders:
            raise _UnknownError(f"several say that they are {named.id}, and none of them registered this endpoint")
        return replace(proxy, id=holders[0])

    def _holders(self, call: Call, proxy: Proxy) -> tuple[str, ...]:
        """Who shares the name of `proxy` and registered the endpoint that the stream names."""
        registered = registree(call.node, proxy)
        return () if registered is None else self._registrations.holders(registered)

    @contextlib.contextmanager
    def _held(self, proxy: Proxy) -> Iterator[_Open]:
        """Be the one stream of this proxy until the block ends or another comes.

        Raises:
            MeshwrightError: too many others of its node report.
        """
        stream = _Open(proxy.node, current())
        older = self._open.pop(proxy.id, None)
        if older is not None:
            self._left(older)
            self._end(older.task)
        others = self._reporting[proxy.node]
        if self._most is not None and others >= self._most:
            raise MeshwrightError(
                f"{proxy.node.path} has {others} Envoys that report their health, as many as may be"
            )
        self._open[proxy.id] = stream
        self._reporting[proxy.node] += 1
        try:
            yield stream
        except asyncio.CancelledError:
            if stream.task not in self._ending:
                raise
            stream.task.uncancel()
        finally:
            self._ending.discard(stream.task)
            if self._open.get(proxy.id) is stream:
                del self._open[proxy.id]
                self._left(stream)

    def _left(self, one: _Open) -> None:
        self._reporting[one.node] -= 1
        if not self._reporting[one.node]:
            del self._reporting[one.node]

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._ending.add(task)
        task.cancel()

    async def _follow(self, call: Call, proxy: Proxy, stream: _Open) -> None:
        call.take_first()  # it says who this is, and no more
        said = await self._say(call, proxy, None)
        telling = asyncio.create_task(self._tell(call, proxy, stream, said))
        try:
            while (body := await call.read()) is not _EOF:
                if not self._take(call, proxy, body):
                    return
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, call: Call, proxy: Proxy, stream: _Open, said: Any) -> None:
        while True:
            await stream.woken.wait()
            stream.woken.clear()
            said = await self._say(call, proxy, said)

    async def _say(self, call: Call, proxy: Proxy, said: Any) -> Any:
        """Say what is to be checked, unless that was `said` before; what was said now."""
        due = specifier(self._control.graph, proxy.node, proxy.placement)
        if due != said:
            await call.finish(serialized(due))
            self._registrations.expect(proxy.id, reports=bool(due.cluster_health_checks))
        return due

    def _take(self, call: Call, proxy: Proxy, body: bytes) -> bool:
        """One report; False for a farewell."""
        found = report("envoy.service.health.v3.HealthCheckRequestOrEndpointHealthResponse", body)
        if not found.HasField("endpoint_health_response"):
            return True
        statuses = tuple(_statuses(found.endpoint_health_response))
        if _DRAINING in (status for _, status in statuses):
            # It comes over another connection than reports do, by whose address nobody who shares a name is known.
            for one in (self._holders(call, proxy) if proxy.shared_id else ()) or (proxy.id,):
                _log.info("%s leaves", one)
                self._registrations.leave(one)
                self._control.take_leave(one)
            return False
        if statuses:  # one of nothing was made before there was anything to check
            self._registrations.report(
                proxy.id,
                listening=all(status == _HEALTHY for cluster, status in statuses if cluster in {"", OWN}),
                healthy=all(status == _HEALTHY for _, status in statuses),
            )
        return True


class _UnknownError(MeshwrightError):
    """It cannot be told whose reports these are, yet."""


def _statuses(report: Any) -> Iterator[tuple[str, int]]:
    """Of every endpoint in a report, with its cluster; Envoy says the same in an older member, which names none."""
    if not report.cluster_endpoints_health:
        yield from (("", one.health_status) for one in report.endpoints_health)
    for cluster in report.cluster_endpoints_health:
        for locality in cluster.locality_endpoints_health:
            for one in locality.endpoints_health:
                yield cluster.cluster_name, one.health_status
