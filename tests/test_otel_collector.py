"""A real OpenTelemetry Collector takes what the control plane sends, and what it writes shows a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from live import live
from meshwright.lab.lab import Lab
from meshwright.model.identity import Kind
from meshwright.model.state import State
from otel_collector import Collector, collector, why_not
from processes import until
from registering import client, shop
from test_observed import CART, one
from test_verify_routes import ROUTE, WRITES, objects, verified
from test_verify_telemetry import EDGE, hops

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Collector]:
    """One of the test's own."""
    if reason := why_not():
        pytest.skip(reason)
    with collector(tmp_path) as found:
        yield found


def test_events_and_metrics_arrive_with_all_that_they_say(
    running: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, severities, attributes and numbers, as the collector understands them; compressed."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "200")
    with live(tmp_path / "data", "--otlp-endpoint", running.endpoint) as server:
        client(server).apply("shop", "shop", shop())
        client(server).grant("shop", "shop", "user/administrator", "fire", 5)
        until(lambda: len(running.records()) == 2 and "meshwright.requests" in running.metrics())
        assert server.end() == 0
        assert "cannot be told" not in server.log.read_text()
    applied, given = running.records()
    assert [one["eventName"] for one in (applied, given)] == ["meshwright.release.applied", "meshwright.grant.given"]
    assert [one["severityText"] for one in (applied, given)] == ["INFO", "WARN"]
    assert applied["attributes"]["meshwright.release"] == {"stringValue": "shop#1"}
    assert applied["attributes"]["meshwright.changes"] == {"intValue": "4"}
    assert applied["timeUnixNano"] == applied["observedTimeUnixNano"]
    requests = running.metrics()["meshwright.requests"]["sum"]
    assert (requests["isMonotonic"], requests["aggregationTemporality"]) == (True, 2)
    took = running.metrics()["meshwright.request_seconds"]["histogram"]["dataPoints"][0]
    assert len(took["bucketCounts"]) == len(took["explicitBounds"]) + 1


@pytest.mark.envoy
async def test_a_release_is_verified_by_spans_that_a_collector_wrote(running: Collector) -> None:
    """Envoys send them to it, over gRPC; `verify` reads its file."""
    endpoint = {"openTelemetry": {"endpoint": f"127.0.0.1:{running.grpc}", "protocol": "grpc"}}
    async with Lab(State(objects()).put(one(Kind.TELEMETRY, "all", {"tracing": endpoint}))) as lab:
        egress = next(found.machine for found in lab.fleet.instances if found.role.key.name == "web").egress
        (running.folder / "traces.json").touch()
        code, found = await verified(
            lab,
            1,
            *("--probe-from", f"web={egress}", "--unsafe-methods", "--allow-unprobed"),
            *("--otlp-file", str(running.folder / "traces.json"), "--timeout", "15"),
        )
    assert (code, found["release"]["status"]) == (0, "verified")
    assert hops(found) == {ROUTE: "passed", WRITES: "passed", CART: "passed", EDGE: "inconclusive"}
