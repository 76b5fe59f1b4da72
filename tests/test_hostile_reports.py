"""Reports that no Envoy makes: of an impossible size, of impossible values, of nobody's node."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import msgspec
import pytest

from ads_client import AdsClient
from envoys import until
from handmade import NODE, plain, snapshot
from meshwright.ads.server import AdsServer
from meshwright.control import Control
from meshwright.graph import resolve
from meshwright.model.identity import Key, Kind
from meshwright.model.specs import VirtualNodeSpec
from meshwright.model.state import Resource, State
from meshwright.observe import Traffic, compared
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import CLUSTER
from meshwright.store.contract import Head
from meshwright.views.observed import Counted, Observed
from processes import DEADLINE
from stage import Everybody

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOADS = "envoy.service.load_stats.v3.LoadStatsRequest"
LRS = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"
METRICS = "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest"
EXPORT = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
CALLEE = Key("shop", Kind.VIRTUAL_NODE, "cart")
LARGEST = 2**64 - 1


def now() -> int:
    """Milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


class Reports:
    """A server that takes reports, and the proxy `one` of `NODE`, which calls `cart` by a cluster of that name."""

    def __init__(self, traffic: Traffic, channel: grpc.aio.Channel) -> None:
        self.traffic = traffic
        self._channel: Any = channel

    def loads(self) -> Any:
        """A stream of load reports."""
        return self._channel.stream_stream(LRS, request_serializer=None, response_deserializer=None)()

    async def export(self, body: bytes) -> grpc.StatusCode:
        """Send statistics; the code of the answer."""
        named = (("x-meshwright-node", NODE.path), ("x-meshwright-instance", "one"))
        call = self._channel.unary_unary(EXPORT, request_serializer=None, response_deserializer=None)(
            body, metadata=named
        )
        code: grpc.StatusCode = await asyncio.wait_for(call.code(), DEADLINE)
        return code

    def told(self) -> Observed:
        """What a client reads of it."""
        graph = resolve(State([Resource(key=NODE, spec=VirtualNodeSpec())]))
        found = compared(graph, self.traffic, "shop", revision=1, now=now(), minutes=5)
        return msgspec.json.decode(msgspec.json.encode(found), type=Observed)


@contextlib.asynccontextmanager
async def reporting(**settings: Any) -> AsyncIterator[Reports]:
    """A server, and one connected proxy."""
    traffic = Traffic(now())
    cart = msgspec.structs.replace(plain(CLUSTER, "cart"), leads_to=CALLEE)
    control = Control(lambda *_: snapshot(cart), now)
    control.publish(Head(1, State([Resource(key=NODE, spec=VirtualNodeSpec())])))
    server = AdsServer(control, Everybody(), traffic=traffic, **settings)
    target = f"127.0.0.1:{await server.start('127.0.0.1', 0)}"
    try:
        async with AdsClient(target, said(NODE.path), delta=True) as client, grpc.aio.insecure_channel(target) as one:
            await client.say(CLUSTER)
            await client.hear()
            yield Reports(traffic, one)
    finally:
        await server.stop(0.2)


def said(node: str, instance: str = "one") -> dict[str, Any]:
    """What a proxy says of itself."""
    return {"id": node, "metadata": {"meshwright": {"instance": instance}}}


def histogram(**members: Any) -> bytes:
    """An export of one histogram."""
    metric = {"name": "cluster.cart.upstream_rq_time", "histogram": {"data_points": [members]}}
    made = message(METRICS)(resource_metrics=[{"instrumentation_library_metrics": [{"metrics": [metric]}]}])
    return bytes(made.SerializeToString())


@pytest.mark.parametrize(
    "members",
    [
        {"explicit_bounds": [1.0, 2.0], "sum": math.nan},
        {"explicit_bounds": [1.0, 2.0], "sum": math.inf},
        {"explicit_bounds": [1.0, 2.0], "sum": -1.0},
        {"explicit_bounds": [1.0, math.inf], "sum": 1.0},
        {"explicit_bounds": [math.nan, 1.0], "sum": 1.0},
        {"explicit_bounds": [-1.0, 1.0], "sum": 1.0},
    ],
    ids=["nan", "infinite", "negative", "infinite bound", "no bound", "negative bound"],
)
async def test_times_that_are_none_spoil_no_others(members: dict[str, Any]) -> None:
    """One proxy cannot make the observed graph unreadable, nor the others' times untrue."""
    async with reporting() as reports:
        good = histogram(explicit_bounds=[5.0, 10.0], bucket_counts=[1, 1, 0], sum=12.0)
        assert await reports.export(histogram(bucket_counts=[1, 1, 1], **members)) is grpc.StatusCode.OK
        assert await reports.export(good) is grpc.StatusCode.OK
        (call,) = reports.told().calls
        assert call.latency is not None
        assert (call.latency.count, call.latency.mean) == (2, 6.0)


@pytest.mark.parametrize("what", ["issued_requests", "error_requests", "successful_requests", "requests_in_progress"])
async def test_counts_that_no_proxy_reaches_spoil_no_others(what: str) -> None:
    """One proxy cannot make an edge unreadable until the control plane starts anew."""
    async with reporting() as reports:
        stream = reports.loads()
        await stream.write(message(LOADS)(node=said(NODE.path)).SerializeToString())
        await stream.read()
        good = {"total_issued_requests": 5, "total_requests_in_progress": 5}
        for part in (good, {f"total_{what}": LARGEST}, good):
            load = {"cluster_name": "cart", "upstream_locality_stats": [part, part]}
            await stream.write(message(LOADS)(cluster_stats=[load]).SerializeToString())
        await until(lambda: sum(one.total.requests for one in reports.told().calls) >= 20, "both are counted")
        await reports.export(histogram(explicit_bounds=[1.0], bucket_counts=[LARGEST, LARGEST], sum=1.0))
        await reports.export(histogram(explicit_bounds=[1.0], bucket_counts=[1, 1], sum=2.0))
        (call,) = reports.told().calls
        assert call.total == Counted(requests=20, successes=0, errors=0, unconnected=0)
        assert (call.window, call.in_flight) == (call.total, 10)
        assert call.latency is not None
        assert (call.latency.count, call.latency.mean) == (2, 1.0)


async def test_a_report_of_many_megabytes_is_refused_before_it_is_read() -> None:
    """Hundreds of thousands of clusters in one message kept everybody waiting for seconds."""
    async with reporting() as reports:
        load = {"cluster_name": "cart", "upstream_locality_stats": [{"total_issued_requests": 1}]}
        one = bytes(message(LOADS)(cluster_stats=[load]).SerializeToString())
        stream = reports.loads()
        await stream.write(message(LOADS)(node=said(NODE.path)).SerializeToString())
        await stream.read()
        await stream.write(one * (5_000_000 // len(one)))
        assert await asyncio.wait_for(stream.code(), DEADLINE) is grpc.StatusCode.INVALID_ARGUMENT
        assert "LoadStatsRequest" in await stream.details()
        time_ = histogram(explicit_bounds=[1.0], bucket_counts=[1, 1], sum=1.0)
        assert await reports.export(time_ * (5_000_000 // len(time_))) is grpc.StatusCode.INVALID_ARGUMENT
        assert not reports.told().calls


async def test_who_is_not_connected_is_not_watched() -> None:
    """Made-up nodes and instances leave nothing behind, however many there are."""
    async with reporting() as reports:
        other = Key("shop", Kind.VIRTUAL_NODE, "other")
        for node in (NODE, other):
            stream = reports.loads()
            instance = "one" if node is NODE else "two"
            await stream.write(message(LOADS)(node=said(node.path, instance)).SerializeToString())
            await stream.read()
            await stream.write(b"")
            await stream.done_writing()
            assert await asyncio.wait_for(stream.code(), DEADLINE) is grpc.StatusCode.OK
        assert reports.traffic.watched_since(NODE, now()) is not None
        assert reports.traffic.watched_since(other, now()) is None


async def test_an_older_stream_that_ends_late_takes_nothing_from_the_newer() -> None:
    """A half-dead connection is noticed after the proxy is back: what is under way is what it said last."""
    async with reporting() as reports:
        streams = [reports.loads() for _ in range(2)]
        for active, stream in enumerate(streams, 1):
            load = {
                "cluster_name": "cart",
                "upstream_locality_stats": [{"total_issued_requests": active, "total_requests_in_progress": active}],
            }
            await stream.write(message(LOADS)(node=said(NODE.path)).SerializeToString())
            await stream.read()
            await stream.write(message(LOADS)(cluster_stats=[load]).SerializeToString())
            await until(
                lambda wanted=active: [one.in_flight for one in reports.told().calls] == [wanted], "it is told"
            )
        await streams[0].done_writing()
        assert await asyncio.wait_for(streams[0].code(), DEADLINE) is grpc.StatusCode.OK
        assert [one.in_flight for one in reports.told().calls] == [2]
        await streams[1].done_writing()
        await streams[1].code()
        assert [one.in_flight for one in reports.told().calls] == [0]
