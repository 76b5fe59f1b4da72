"""Telemetry policies in real Envoys: what a real OpenTelemetry collector gets, and what a change costs."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from ads_client import AdsClient
from data_plane import DataPlane, data_plane
from envoys import fetch, until, upstream
from meshwright.graph import resolve
from meshwright.lab.collector import Collector, Span, collector
from meshwright.model import Kind, Resource, State
from meshwright.snapshot.build import build
from meshwright.snapshot.messages import as_dict, unpacked
from meshwright.snapshot.resources import CLUSTER, FAULTS, LISTENER, ROUTE, RUNTIME, Redirect, Snapshot, Traits
from settings import PROVE
from shares import assert_share
from strategies import Wire, resource

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.envoy

PORT, TCP_PORT = 8080, 9000
DOOR = resource(Kind.VIRTUAL_GATEWAY, "door", {"listeners": [{"portMapping": {"port": PORT, "protocol": "http"}}]})
WEB, API = (resource(Kind.VIRTUAL_NODE, name, {}).key for name in ("web", "api"))
CALLER = "0af7651916cd43dd8448eb211c80319c"
"""A trace that a caller of the mesh has begun."""
BATCH = 5
"""Envoy sends spans when so many are there; fewer wait for seconds."""


def shop(plane: DataPlane, *more: Resource) -> list[Resource]:
    """A gateway `door` and a node `web` in front of node `api`, by a router with one route for each protocol."""

    def listening(**ports: int) -> list[Wire]:
        return [{"portMapping": {"port": port, "protocol": protocol}} for protocol, port in ports.items()]

    def target(port: int) -> Wire:
        return {"action": {"weightedTargets": [{"virtualNode": "api", "weight": 1, "port": port}]}}

    backends = [{"virtualService": {"virtualServiceName": "api.local"}}]
    discovery = {"dns": {"hostname": plane.place("api").ingress}}
    ports = {"http": PORT, "tcp": TCP_PORT}
    to_api = {"target": {"virtualService": {"virtualServiceName": "api.local"}, "port": PORT}}
    http_route = {"match": {"prefix": "/", "port": PORT}, **target(PORT)}
    provider = {"virtualRouter": {"virtualRouterName": "api"}}
    return [
        resource(Kind.MESH, "m", {}),
        DOOR,
        resource(
            Kind.GATEWAY_ROUTE, "in", {"httpRoute": {"match": {"prefix": "/"}, "action": to_api}}, parent="door"
        ),
        resource(Kind.VIRTUAL_NODE, "web", {"backends": backends}),
        resource(Kind.VIRTUAL_NODE, "api", {"listeners": listening(**ports), "serviceDiscovery": discovery}),
        resource(Kind.VIRTUAL_SERVICE, "api.local", {"provider": provider}),
        resource(Kind.VIRTUAL_ROUTER, "api", {"listeners": listening(**ports)}),
        resource(Kind.ROUTE, "all", {"httpRoute": http_route}, parent="api"),
        resource(Kind.ROUTE, "raw", {"tcpRoute": {"match": {"port": TCP_PORT}, **target(TCP_PORT)}}, parent="api"),
        *more,
    ]


def telemetry(told: Collector, name: str = "all", **members: Wire | float | str) -> Resource:
    """Spans and log records for `told`; `members` replace those of its tracing, or add a target."""
    endpoint = {"endpoint": f"127.0.0.1:{told.port}", "protocol": "grpc"}
    target = {"target": members.pop("target")} if "target" in members else {}
    attributes = [{"key": "stage", "value": "100% test"}]
    tracing = {"openTelemetry": endpoint, "attributes": attributes, **members}
    log = {"openTelemetry": endpoint, "attributes": attributes}
    return resource(Kind.TELEMETRY, name, {**target, "tracing": tracing, "accessLog": log})


def traces(spans: list[Span]) -> dict[str, dict[str, Span]]:
    """By trace, its spans by service and kind."""
    found: dict[str, dict[str, Span]] = {}
    for one in spans:
        found.setdefault(one.trace, {})[f"{one.service} {one.kind}"] = one
    return found


async def connected(host: str) -> None:
    """Connect over TCP, get an answer, and hang up."""
    reader, writer = await asyncio.open_connection(host, TCP_PORT)
    writer.write(b"anything\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_requests_make_joined_spans_and_log_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the gateway and from a node: one trace each, who calls whom by which route, and a record per proxy."""
    monkeypatch.setenv("MESHWRIGHT_RELEASE", "42")
    async with data_plane(tmp_path) as plane, collector() as told:
        api = plane.place("api").application
        await plane.publish(*shop(plane, telemetry(told)))
        for key in (DOOR.key, WEB, API):
            await plane.proxy(key)
        async with upstream("api", api, PORT), upstream("api", api, TCP_PORT):
            for _ in range(BATCH):
                assert await fetch(plane.place("door").ingress, PORT, "/pay?card=1") == (200, "api")
                assert await fetch(plane.place("web").egress, PORT, "/", "api.local") == (200, "api")
                await connected(plane.place("web").egress)
        await until(lambda: len(told.spans) >= 5 * BATCH, "spans arrive")
        found = traces(told.spans)
        shapes = sorted(tuple(sorted(one)) for one in found.values())
        assert shapes == [("api 2", "door 2", "door 3")] * BATCH + [("api 2", "web 3")] * BATCH
        for one in found.values():
            caller = one.get("door 3") or one["web 3"]
            assert one["api 2"].parent == caller.id
            if "door 2" in one:
                assert one["door 3"].parent == one["door 2"].id
                assert one["door 2"].attributes["meshwright.gateway_route"] == "in"
            known = {name: value for name, value in caller.attributes.items() if name.startswith("meshwright.")}
            kind = "virtual_node" if "web 3" in one else "virtual_gateway"
            assert known == {
                "meshwright.mesh": "m",
                f"meshwright.{kind}": caller.service,
                "meshwright.virtual_service": "api.local",
                "meshwright.route": "all",
                "meshwright.release": "42",
            }
            assert caller.attributes["stage"] == "100% test"
            assert one["api 2"].attributes["meshwright.virtual_node"] == "api"
        await until(lambda: len(told.records) >= 7 * BATCH, "records arrive")
        paid = [one for one in told.records if one.attributes.get("url.path") == "/pay?card=1"]
        assert {(one.resource["service.name"], one.attributes["meshwright.route"]) for one in paid} == {
            ("door", "in"),
            ("door", "all"),
        } | {("api", "-")}
        assert {one.attributes["http.response.status_code"] for one in paid} == {"200"}
        assert {one.attributes["stage"] for one in told.records} == {"100% test"}
        assert {one.trace for one in paid} <= set(found)
        raw = [one for one in told.records if "http.request.method" not in one.attributes]
        assert {one.resource["service.name"] for one in raw} == {"web", "api"}
        assert len(raw) == 2 * BATCH


async def test_a_change_of_sampling_closes_no_connection(tmp_path: Path) -> None:
    """It is a change of routes: the same connection goes on, sampled anew. What a caller left out is left out."""
    async with data_plane(tmp_path) as plane, collector() as told:
        await plane.publish(*shop(plane, telemetry(told)))
        web = await plane.proxy(WEB)
        await plane.proxy(API)
        async with upstream("api", plane.place("api").application, PORT):
            reader, writer = await asyncio.open_connection(plane.place("web").egress, PORT)

            async def ask(times: int, more: str = "") -> None:
                for _ in range(times):
                    writer.write(f"GET / HTTP/1.1\r\nhost: api.local\r\n{more}\r\n".encode())
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    assert head.startswith("HTTP/1.1 200"), head
                    assert "connection: close" not in head
                    assert await reader.readexactly(3) == b"api"

            await ask(BATCH)
            await ask(BATCH, f"traceparent: 00-{CALLER}-b7ad6b7169203331-00\r\n")
            await until(lambda: len(told.spans) == 2 * BATCH, "all are sampled that the caller did not leave out")
            before = await web.stats("listener_manager.listener_(modified|in_place_updated)")
            await plane.publish(*shop(plane, telemetry(told, samplingPercentage=0)))
            await ask(3 * BATCH, f"traceparent: 00-{CALLER}-b7ad6b7169203331-01\r\n")
            assert CALLER not in {one.trace for one in told.spans}
            await plane.publish(*shop(plane, telemetry(told, samplingPercentage=30)))
            times = 2000 if PROVE else 400
            told.spans.clear()
            sampled = "http.egress.tracing.random_sampling"

            async def drawn() -> int:
                already = (await web.stats(sampled))[sampled]
                await ask(times)
                return (await web.stats(sampled))[sampled] - already

            share = await assert_share(0.3, drawn, times)
            # Fewer spans than a batch wait for seconds.
            await until(lambda: len(told.spans) >= 2 * (share - BATCH), "sampled spans arrive")
            assert {tuple(sorted(one)) for one in traces(told.spans).values()} >= {("api 2", "web 3")}
            assert await web.stats("listener_manager.listener_(modified|in_place_updated)") == before
            writer.close()


def test_what_a_node_reports_is_its_own_matter_and_sampling_one_of_routes() -> None:
    """A node's telemetry holds instead of the mesh's; a share of requests changes routes and no listener."""
    told = Collector()
    told.port = 4317

    def built(*more: Resource, version: tuple[int, int, int]) -> Snapshot:
        discovery: Wire = {"dns": {"hostname": "api.nodes"}}
        ports = [{"portMapping": {"port": PORT, "protocol": "http"}}]
        api = resource(Kind.VIRTUAL_NODE, "api", {"listeners": ports, "serviceDiscovery": discovery})
        state = State([resource(Kind.MESH, "m", {}), api, *more])
        return build(resolve(state), API, {}, Redirect(), Traits(version=version))

    def listeners(*more: Resource) -> tuple[dict[str, str], dict[str, str]]:
        snapshot = built(*more, version=(1, 40, 0))
        versions = ({name: one.version for name, one in snapshot.of(url).items()} for url in (LISTENER, ROUTE))
        return next(versions), next(versions)

    everybody = listeners(telemetry(told))
    rarely = listeners(telemetry(told, samplingPercentage=0.01))
    own = listeners(telemetry(told), telemetry(told, "own", target={"virtualNodeName": "api"}, serviceName="till"))
    assert everybody[0] == rarely[0]
    assert everybody[1] != rarely[1]
    assert own[0] != everybody[0]
    assert listeners(telemetry(told), telemetry(told, "other", target={"virtualNodeName": "web"})) == everybody
    old = built(telemetry(told), version=(1, 22, 2))
    assert [one.reason for one in old.unserved] == [
        "this Envoy may not know OpenTelemetry, which takes 1.25 or newer"
    ]
    assert old.resources == built(version=(1, 22, 2)).resources


OLD = "this Envoy may not know OpenTelemetry, which takes 1.25 or newer"
VERSIONS = {"old": (1, 24, 12), "silent": (0, 0, 0), "first": (1, 25, 0), "new": (1, 40, 0)}


async def test_an_older_envoy_is_sent_nothing_of_telemetry_and_says_so(tmp_path: Path) -> None:
    """Nor is one that does not say how old it is; beside newer ones of the same node, which are sent all of it."""
    told = Collector()
    told.port = 4317
    heard: dict[str, str] = {}
    async with data_plane(tmp_path) as plane, contextlib.AsyncExitStack() as streams:
        await plane.publish(*shop(plane, telemetry(told)))
        for name, version in VERSIONS.items():
            numbers = dict(zip(("major_number", "minor_number", "patch"), version, strict=True))
            build_version = {"user_agent_build_version": {"version": numbers}} if any(version) else {}
            node = {"id": WEB.path, "metadata": {"meshwright": {"instance": name, "runtime": True}}, **build_version}
            client = await streams.enter_async_context(AdsClient(f"127.0.0.1:{plane.xds}", node, delta=True))
            await client.say(RUNTIME, resource_names_subscribe=[FAULTS])
            await client.ack(await client.hear())
            for url, names in ((CLUSTER, ()), (LISTENER, ()), (ROUTE, ("rds_egress_http_8080",))):
                await client.say(url, resource_names_subscribe=names)
                response = await client.hear()
                await client.ack(response)
                heard[name] = heard.get(name, "") + "".join(
                    str(as_dict(unpacked(one.resource))) for one in response.resources
                )
        statuses = {one.id.partition("@")[2]: one for one in plane.control.statuses()}
    for name, version in VERSIONS.items():
        able = version >= (1, 25, 0)
        for part in (
            "OpenTelemetryConfig",
            "OpenTelemetryAccessLogConfig",
            "'port_value': 4317",
            "custom_tags",
        ):
            assert (part in heard[name]) is able, (name, part)
        unserved = [(one.subject.name, one.path, one.reason) for one in statuses[name].unserved]
        assert unserved == ([] if able else [("all", "", OLD)])
