"""How long calls took, as proxies' statistics sinks tell by OpenTelemetry over the same connection.

The one rule: nothing but the time until upstreams answered is taken, and only of clusters that the proxy was sent.
Load reports hold no times, and this one histogram a cluster is the least that does.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/stat_sinks/open_telemetry/v3/open_telemetry.proto
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import grpc

from meshwright.ads.gate import reason
from meshwright.ads.lrs import snapshot_of, way_to
from meshwright.ads.wire import report
from meshwright.errors import UsageError
from meshwright.snapshot.resources import CLUSTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.ads.gate import Call
    from meshwright.ads.twins import Twins
    from meshwright.control import Control
    from meshwright.model.identity import Key
    from meshwright.observe import Traffic
    from meshwright.snapshot.resources import Snapshot

SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
METHOD = "Export"
PREFIX, SUFFIX = "cluster.", ".upstream_rq_time"
"""Around a cluster's name in the name of the histogram."""
_MOST = 20_000
"""Histograms of one export that are looked at; a cluster has one."""

_KIND = "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest"


class Latencies:
    """Takes the histograms of all proxies in."""

    def __init__(self, control: Control, traffic: Traffic, twins: Twins) -> None:
        self._twins = twins
        self._control = control
        self._traffic = traffic

    async def serve(self, _requests: None, call: Call) -> None:
        """One export: a message, and an empty answer."""
        try:
            found = report(_KIND, call.take_first())
        except UsageError as error:
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, reason(error))
        caller = call.key
        proxy = self._twins.told(f"{caller.path}@{call.instance}", call.peer()) if caller is not None else ""
        snapshot = self._snapshot(caller, proxy) if caller is not None else None
        if caller is not None and snapshot is not None:
            clusters, now = snapshot.of(CLUSTER), self._control.now()
            self._traffic.exported(proxy)
            for name, point in islice(_histograms(found), _MOST):
                cluster = clusters.get(name)
                if cluster is not None and cluster.leads_to is not None:
                    way = way_to(caller, cluster.leads_to, name)
                    self._traffic.measure(proxy, way, point.explicit_bounds, point.bucket_counts, point.sum, now)
        await call.write(b"")

    def _snapshot(self, caller: Key, proxy: str) -> Snapshot | None:
        return snapshot_of(self._control, proxy, caller, unknown=self._twins.numbered(proxy))


def _histograms(export: Any) -> Iterator[tuple[str, Any]]:
    """The names of clusters with their histograms, in milliseconds."""
    for resource in export.resource_metrics:
        # Since 2022 they are called scope_metrics; on the wire they are the same.
        for scope in resource.instrumentation_library_metrics:
            for metric in scope.metrics:
                if metric.name.startswith(PREFIX) and metric.name.endswith(SUFFIX):
                    name = metric.name.removeprefix(PREFIX).removesuffix(SUFFIX)
                    for point in metric.histogram.data_points:
                        yield name, point
