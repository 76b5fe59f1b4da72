"""Load reports over gRPC: every proxy says every few seconds whom it called, how often, and with how many errors.

The one rule: a proxy reports for itself alone, and a cluster stands for whom the proxy's own snapshot says it is;
what leads to nobody's node, such as the way to the application itself, is not counted.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/load_stats/v3/lrs.proto
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
from msgspec.structs import replace

from meshwright.ads.gate import current, reason
from meshwright.ads.wire import identify, report
from meshwright.errors import UsageError
from meshwright.model.identity import Kind
from meshwright.observe import Load
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import CLUSTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.ads.gate import Call
    from meshwright.ads.twins import Twins
    from meshwright.control import Control, Proxy
    from meshwright.model.identity import Key
    from meshwright.observe import Traffic
    from meshwright.snapshot.resources import Snapshot

SERVICE = "envoy.service.load_stats.v3.LoadReportingService"
METHOD = "StreamLoadStats"

_REQUEST = "envoy.service.load_stats.v3.LoadStatsRequest"
_WAITING = 10_000
"""Loads of clusters that are kept until the proxy's snapshot is known; older ones go. No report holds more."""

_EOF = cast("Any", grpc.aio).EOF  # grpc-stubs does not know it


class LoadReports:
    """Takes the reports of all proxies in."""

    def __init__(self, control: Control, traffic: Traffic, twins: Twins, *, home: str = "") -> None:
        """`twins` know which ids several have; `home` is the account whose meshes have bare names."""
        self._twins = twins
        self._control = control
        self._traffic = traffic
        self._home = home
        whole = int(traffic.every)
        response = message("envoy.service.load_stats.v3.LoadStatsResponse")
        interval = {"seconds": whole, "nanos": int((traffic.every - whole) * 1e9)}
        self._asked: bytes = response(send_all_clusters=True, load_reporting_interval=interval).SerializeToString()
        self._open: dict[asyncio.Task[Any], str] = {}
        """Whose stream each task serves; "" until that is known."""
        self._newest: dict[str, _Reporting] = {}
        """By proxy: one that lost its connection may be back before the end of the old stream is noticed."""
        self._ending: set[asyncio.Task[Any]] = set()
        self._numbers = itertools.count(1)

    async def serve(self, _requests: None, call: Call) -> None:
        """One stream, until its proxy ends it."""
        task = current()
        self._open[task] = ""
        try:
            await self._follow(call)
        except UsageError as error:
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, reason(error))
        except asyncio.CancelledError:
            if task not in self._ending:
                raise
            task.uncancel()
        finally:
            self._ending.discard(task)
            del self._open[task]

    def part(self, proxy: str) -> None:
        """Several have this id: whoever reports by it comes again, and has one of its own then."""
        for task, whose in self._open.items():
            if whose == proxy:
                self._end(task)

    def end(self) -> None:
        """Close all streams with status OK."""
        for task in self._open:
            self._end(task)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._ending.add(task)
        task.cancel()

    async def _follow(self, call: Call) -> None:
        named = identify(call.node, call.instance, self._home)
        proxy = replace(named, id=self._twins.told(named.id, call.peer()))
        self._open[current()] = proxy.id
        unknown = self._twins.numbered(proxy.id)
        if unknown:
            # Each of its streams is of another one: what they report of calls under way is of each alone.
            proxy = replace(proxy, id=f"{proxy.id}report {next(self._numbers)}")
        reporting = self._newest[proxy.id] = _Reporting(self._control, self._traffic, proxy, unknown=unknown)
        self._traffic.leave(proxy.id)
        try:
            # A proxy that was connected before begins with what it counted meanwhile.
            reporting.take(call.take_first())
            await call.finish(self._asked)
            while (body := await call.read()) is not _EOF:
                # Only now is it certain that it counts.
                if reporting.take(body):
                    self._traffic.watch(proxy.node, self._control.now())
        finally:
            if self._newest.get(proxy.id) is reporting:
                del self._newest[proxy.id]
                self._traffic.leave(proxy.id)


class _Reporting:
    """One proxy's reports, in order."""

    def __init__(self, control: Control, traffic: Traffic, proxy: Proxy, *, unknown: bool) -> None:
        """`unknown` says that nothing tells which of several of one name and node it is."""
        self._unknown = unknown
        self._control = control
        self._traffic = traffic
        self._proxy = proxy
        self._taken = 0
        self._waiting: deque[tuple[Load, bool]] = deque(maxlen=_WAITING)
        """What came before the proxy asked for its snapshot, on its other stream."""

    def take(self, body: bytes) -> bool:
        """One report; whether the proxy is one that is connected, of which alone anything is kept.

        Raises:
            UsageError: the bytes are none.
        """
        self._traffic.reports += 1
        self._taken += 1
        # The first may be of before the connection, and the second begin in the middle of calls.
        early = self._taken <= 2
        self._waiting.extend((load, early) for load in _loads(body))
        snapshot = snapshot_of(self._control, self._proxy.id, self._proxy.node, unknown=self._unknown)
        if snapshot is None:
            return False
        clusters = snapshot.of(CLUSTER)
        self._traffic.reported(self._proxy.id)
        while self._waiting:
            load, early = self._waiting.popleft()
            found = clusters.get(load.cluster)
            # A cluster that was taken away has a last report.
            callee = found.leads_to if found else self._traffic.callee(self._proxy.id, load.cluster)
            if callee is not None:
                way = way_to(self._proxy.node, callee, load.cluster)
                self._traffic.count(self._proxy.id, way, load, self._control.now(), early=early)
        return True


def snapshot_of(control: Control, proxy: str, node: Key, *, unknown: bool) -> Snapshot | None:
    """What the connected `proxy` of `node` should hold; of one that is `unknown`, what any of that node should.

    A cluster's name stands for the same in all of them.
    """
    return control.snapshot_at(node) if unknown else control.snapshot_of(proxy)


def way_to(caller: Key, callee: Key, cluster: str) -> tuple[Key, Key, str]:
    """The edge that a cluster is: between two nodes, or out of the mesh by that cluster."""
    return caller, callee, cluster if callee.kind is Kind.MESH else ""


def _loads(body: bytes) -> Iterator[Load]:
    """What a report says of each cluster in which anything happened.

    Raises:
        UsageError: the bytes are no report, or too many.
    """
    left = _WAITING
    for one in itertools.islice(report(_REQUEST, body).cluster_stats, _WAITING):
        issued = successes = errors = active = 0
        parts = one.upstream_locality_stats[:left]
        left -= len(parts)
        for part in parts:
            issued += part.total_issued_requests
            successes += part.total_successful_requests
            errors += part.total_error_requests
            active += part.total_requests_in_progress
        if issued or successes or errors or active:
            yield Load(cluster=one.cluster_name, issued=issued, successes=successes, errors=errors, active=active)
