"""The health discovery service: an Envoy that registered its endpoint checks its own application, and reports.

The one rule: a report is of the proxy that makes it and of nobody else. One that says DRAINING is a farewell: the
endpoint goes at once, whatever its streams do afterwards.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/health/v3/hds.proto
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from meshwright.ads.gate import current, reason
from meshwright.ads.wire import identify
from meshwright.errors import MeshwrightError, UsageError
from meshwright.snapshot.health import specifier
from meshwright.snapshot.messages import message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.ads.gate import Call
    from meshwright.control import Control, Proxy
    from meshwright.discovery import Registrations
    from meshwright.model.identity import Key

SERVICE = "envoy.service.health.v3.HealthDiscoveryService"

_EOF = cast("Any", grpc.aio).EOF  # grpc-stubs does not know it
_HEALTHY, _DRAINING = 1, 3
"""`envoy.config.core.v3.HealthStatus`."""

_log = logging.getLogger(__name__)


class HealthServer:
    """Hands out what to check and takes in the reports: one stream a proxy, the newest."""

    def __init__(
        self, control: Control, registrations: Registrations, *, home: str = "", most: int | None = None
    ) -> None:
        """`most` is how many proxies of a node may report."""
        self._control = control
        self._registrations = registrations
        self._home = home
        self._most = most
        self._open: dict[str, tuple[Key, asyncio.Task[Any]]] = {}
        self._ending: set[asyncio.Task[Any]] = set()

    async def serve(self, _requests: None, call: Call) -> None:
        """One stream, from its first message until its proxy ends it, or comes anew."""
        try:
            proxy = identify(call.node, call.peer(), self._home)
            with self._held(proxy):
                await self._follow(call, proxy)
        except UsageError as error:
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, reason(error))
        except MeshwrightError as error:
            await call.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, reason(error))

    def end(self) -> None:
        """Close all streams with status OK."""
        for _, task in list(self._open.values()):
            self._end(task)

    @contextlib.contextmanager
    def _held(self, proxy: Proxy) -> Iterator[None]:
        """Be the one stream of this proxy until the block ends or another comes.

        Raises:
            MeshwrightError: too many others of its node report.
        """
        task = current()
        older = self._open.pop(proxy.id, None)
        if older is not None:
            self._end(older[1])
        others = sum(node == proxy.node for node, _ in self._open.values())
        if self._most is not None and others >= self._most:
            raise MeshwrightError(
                f"{proxy.node.path} has {others} Envoys that report their health, as many as may be"
            )
        self._open[proxy.id] = proxy.node, task
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._ending:
                raise
            task.uncancel()
        finally:
            self._ending.discard(task)
            if self._open.get(proxy.id, (None, None))[1] is task:
                del self._open[proxy.id]

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._ending.add(task)
        task.cancel()

    async def _follow(self, call: Call, proxy: Proxy) -> None:
        graph = self._control.graph
        said = specifier(graph, proxy.node, proxy.placement)
        await call.write(said)
        while (body := await call.read()) is not _EOF:
            if not self._take(proxy, body):
                return
            if graph is self._control.graph:
                continue
            # What is to be checked is looked at with each report, so that nobody need tell.
            graph = self._control.graph
            due = specifier(graph, proxy.node, proxy.placement)
            if due != said:
                said = due
                await call.write(said)

    def _take(self, proxy: Proxy, body: bytes) -> bool:
        """One report; False for a farewell."""
        try:
            found = message("envoy.service.health.v3.HealthCheckRequestOrEndpointHealthResponse").FromString(body)
        except DecodeError as error:
            raise UsageError(f"{len(body)} bytes that are no report of health: {error}") from None
        if not found.HasField("endpoint_health_response"):
            return True
        statuses = tuple(_statuses(found.endpoint_health_response))
        if _DRAINING in statuses:
            _log.info("%s leaves", proxy.id)
            self._registrations.leave(proxy.id)
            return False
        self._registrations.report(proxy.id, healthy=all(one == _HEALTHY for one in statuses))
        return True


def _statuses(report: Any) -> Iterator[int]:
    """Of every endpoint in a report; Envoy says the same in an older and a newer member."""
    for one in report.endpoints_health:
        yield one.health_status
    for cluster in report.cluster_endpoints_health:
        for locality in cluster.locality_endpoints_health:
            for one in locality.endpoints_health:
                yield one.health_status
