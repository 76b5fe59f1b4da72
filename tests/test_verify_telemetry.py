"""Traces and metrics: a release is shown at every hop, by OpenTelemetry from real Envoys, by X-Ray and CloudWatch."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from cloud_map import moto
from meshwright.lab.lab import Lab
from meshwright.model.identity import Kind
from meshwright.model.state import State
from processes import free_port
from registering import CALLER, PAY, serving
from test_observed import CART, WEB, one
from test_verify import caller, instance, said
from test_verify_routes import ENTRY, ROUTE, WRITES, objects, verified

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloud_map import Moto
    from live import Live

EDGE = "mesh/shop/virtualGateway/edge"


def hops(found: dict[str, Any]) -> dict[str, str]:
    """What came of each hop."""
    (check,) = (one for one in found["checks"] if one["name"] == "telemetry")
    return {sight["subject"]: sight["outcome"] for sight in check["sights"]}


@pytest.mark.envoy
async def test_spans_of_probes_show_the_release_at_every_hop_that_they_pass() -> None:
    """Received by the command itself, or read from a file; a hop that nobody passed is not shown."""
    port = free_port()
    endpoint = {"openTelemetry": {"endpoint": f"127.0.0.1:{port}", "protocol": "grpc"}}
    async with Lab(State(objects()).put(one(Kind.TELEMETRY, "all", {"tracing": endpoint}))) as lab:
        egress = next(found.machine for found in lab.fleet.instances if found.role.key.name == "web").egress
        probing = ("--probe-from", f"web={egress}", "--unsafe-methods", "--allow-unprobed")
        code, found = await verified(lab, 1, *probing, "--otlp", f"127.0.0.1:{port}", "--timeout", "12")
        assert (code, found["release"]["status"]) == (0, "verified")
        assert hops(found) == {
            ROUTE: "passed",
            WRITES: "passed",
            CART: "passed",
            EDGE: "inconclusive",
        }
        assert WEB not in hops(found)
        assert ENTRY not in hops(found)


def written(path: Path, *told: tuple[str, str, float]) -> None:
    """Spans as a collector writes them to a file: the kind of proxy, its name, and how many seconds from now."""
    lines = []
    for kind, name, later in told:
        said = {"meshwright.mesh": "shop", f"meshwright.{kind}": name, "meshwright.release": "shop#1"}
        attributes = [{"key": key, "value": {"stringValue": value}} for key, value in said.items()]
        span = {
            "traceId": "aa",
            "startTimeUnixNano": str(time.time_ns() + int(later * 1e9)),
            "attributes": attributes,
        }
        lines.append({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    path.write_text("no json\n" + "".join(f"{json.dumps(line)}\n" for line in lines) + '{"resourceSpans": [')


async def looked(server: Live, *arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a verification in which routes are not looked at, or its errors."""
    code, out, errors = await said(
        server, "verify", "1", "--format", "json", "--timeout", "0", *arguments, **environment
    )
    return code, json.loads(out) if out else {"errors": errors}


async def test_spans_from_before_show_nothing_and_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    """Only what a proxy did once it had the release; what is no span is passed over."""
    file = tmp_path / "spans.json"
    with serving(tmp_path / "data") as server:
        async with caller(server), instance(server):
            written(file, ("virtual_node", "caller", -60), ("virtual_node", "pay", 1))
            _, found = await looked(server, "--otlp-file", str(file))
            assert hops(found) == {"mesh/shop/virtualService/pay.shop.local": "inconclusive", PAY.path: "passed"}
            written(file, ("virtual_node", "caller", 1), ("virtual_node", "pay", 1))
            _, found = await looked(server, "--otlp-file", str(file))
            assert set(hops(found).values()) == {"passed"}
            (check,) = (one for one in found["checks"] if one["name"] == "telemetry")
            assert "trace aa by caller, deployed with shop#1" in {sight["told"] for sight in check["sights"]}
            code, found = await looked(server, "--otlp-file", str(tmp_path / "none"))
            assert (code, "cannot be read: No such file" in found["errors"]) == (2, True)
            busy = server.api.rpartition("/")[2]
            code, found = await looked(server, "--otlp", busy)
            assert (code, "nobody can listen there" in found["errors"]) == (2, True)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Moto]:
    """AWS for tests."""
    with moto(tmp_path) as running:
        yield running


def asked(aws: Moto, service: str) -> Any:
    """A client of a service there."""
    return boto3.session.Session("test", "test", region_name="us-east-1").client(service, endpoint_url=aws.url)


async def test_x_ray_and_cloudwatch_show_it_by_the_names_that_envoys_have_there(tmp_path: Path, aws: Moto) -> None:
    """X-Ray by `MESH/NODE`, as App Mesh's Envoys are called; CloudWatch by dimensions."""
    own = {
        "AWS_ENDPOINT_URL_XRAY": aws.url,
        "AWS_ENDPOINT_URL_CLOUDWATCH": aws.url,
        "AWS_REGION": "us-east-1",
    }
    with serving(tmp_path / "data") as server:
        async with caller(server), instance(server):
            for source in (("--xray",), ("--cloudwatch", "mesh")):
                _, found = await looked(server, *source, **own)
                assert set(hops(found).values()) == {"inconclusive"}, found
            await asyncio.to_thread(tell, aws)
            for source in (("--xray",), ("--cloudwatch", "mesh")):
                _, found = await looked(server, *source, **own)
                assert set(hops(found).values()) == {"passed"}, found
            gone = {**own, "AWS_ENDPOINT_URL_XRAY": f"http://127.0.0.1:{free_port()}"}
            code, found = await looked(server, "--xray", **gone)
            assert (code, "X-Ray cannot be asked" in found["errors"]) == (2, True)


def tell(aws: Moto) -> None:
    """What both proxies tell, after they have taken the release."""
    now = time.time()
    trace = f"1-{int(now):08x}-{'a' * 24}"
    for number, name in enumerate((CALLER.name, PAY.name)):
        segment = {
            "trace_id": trace,
            "id": f"{number:016x}",
            "name": f"shop/{name}",
            "start_time": now,
            "end_time": now,
        }
        asked(aws, "xray").put_trace_segments(TraceSegmentDocuments=[json.dumps(segment)])
        dimensions = [{"Name": "Mesh", "Value": "shop"}, {"Name": "VirtualNode", "Value": name}]
        metric = {
            "MetricName": "RequestCount",
            "Dimensions": dimensions,
            "Timestamp": datetime.fromtimestamp(now + 59, UTC),
            "Value": 3.0,
        }
        asked(aws, "cloudwatch").put_metric_data(Namespace="mesh", MetricData=[metric])
