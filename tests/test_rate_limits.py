"""Rate limits in real Envoys: so much passes, the rest is refused and counted, tokens come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from data_plane import DataPlane, data_plane
from envoys import until, upstream
from meshwright.graph import resolve
from meshwright.lab import grpcs, http2
from meshwright.lab.exchange import Reply, Request
from meshwright.model import Key, Kind, Resource, State
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import LISTENER, Redirect
from strategies import Wire, resource

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.envoy

PORT, TCP_PORT = 8080, 9000
PORTS = [{"portMapping": {"port": PORT, "protocol": "http"}}, {"portMapping": {"port": TCP_PORT, "protocol": "tcp"}}]
DOOR = Key("m", Kind.VIRTUAL_GATEWAY, "door")
WEB, API = (Key("m", Kind.VIRTUAL_NODE, name) for name in ("web", "api"))


def shop(plane: DataPlane, *more: Resource, keeps_host: bool = False) -> list[Resource]:
    """A gateway `door` with two routes and a node `web`, in front of `api` with two routes for HTTP, one for TCP."""

    def target(port: int) -> Wire:
        return {"action": {"weightedTargets": [{"virtualNode": "api", "weight": 1, "port": port}]}}

    def entry(prefix: str) -> Wire:
        goal = {"target": {"virtualService": {"virtualServiceName": "api.local"}, "port": PORT}}
        names = {"hostname": {"defaultTargetHostname": "DISABLED"}} if keeps_host else {}
        rewrite = {"rewrite": {"prefix": {"defaultPrefix": "DISABLED"}, **names}}
        return {"httpRoute": {"match": {"prefix": prefix}, "action": goal | rewrite}}

    backends = [{"virtualService": {"virtualServiceName": "api.local"}}]
    discovery = {"dns": {"hostname": plane.place("api").ingress}}
    routes = {
        **{name: {"httpRoute": {"match": {"prefix": f"/{name}", "port": PORT}, **target(PORT)}} for name in "ab"},
        "raw": {"tcpRoute": {"match": {"port": TCP_PORT}, **target(TCP_PORT)}},
    }
    return [
        resource(Kind.MESH, "m", {}),
        resource(Kind.VIRTUAL_GATEWAY, "door", {"listeners": PORTS[:1]}),
        *(resource(Kind.GATEWAY_ROUTE, name, entry(f"/{name}"), parent="door") for name in "ab"),
        resource(Kind.VIRTUAL_NODE, "web", {"backends": backends}),
        resource(Kind.VIRTUAL_NODE, "api", {"listeners": PORTS, "serviceDiscovery": discovery}),
        resource(Kind.VIRTUAL_SERVICE, "api.local", {"provider": {"virtualRouter": {"virtualRouterName": "api"}}}),
        resource(Kind.VIRTUAL_ROUTER, "api", {"listeners": PORTS}),
        *(resource(Kind.ROUTE, name, spec, parent="api") for name, spec in routes.items()),
        *more,
    ]


def limit(name: str, tokens: int, target: Wire, **members: int | Wire) -> Resource:
    """A limit of so many requests a day, unless `members` let tokens come back sooner."""
    day = {"fillInterval": {"value": 86_400, "unit": "s"}}
    return resource(Kind.RATE_LIMIT, name, {"target": target, "maxTokens": tokens, **day, **members})


async def asked(host: str, path: str, times: int) -> Counter[int]:
    """The statuses of so many requests on one connection, which an Envoy that refuses some leaves open."""
    reader, writer = await asyncio.open_connection(host, PORT)
    statuses = Counter[int]()
    for _ in range(times):
        writer.write(f"GET {path} HTTP/1.1\r\nhost: api.local\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
        statuses[int(head.split()[1])] += 1
    writer.close()
    return statuses


async def test_a_node_serves_so_many_requests_and_connections(tmp_path: Path) -> None:
    """At its own ingress, whoever calls: the rest gets the status that is asked for, or a closed connection."""
    async with data_plane(tmp_path) as plane:
        node: Wire = {"virtualNodeName": "api"}
        more = limit("all", 5, node, statusCode=503), limit("raw", 3, {**node, "port": TCP_PORT})
        await plane.publish(*shop(plane, *more))
        api = await plane.proxy(API)
        place = plane.place("api")
        async with upstream("api", place.application, PORT), upstream("api", place.application, TCP_PORT):
            assert await asked(place.ingress, "/", 12) == {200: 5, 503: 7}
            served = [await connected(place.ingress) for _ in range(6)]
            assert served == [True] * 3 + [False] * 3
        counted = await api.stats("rate_limit_all.http_local_rate_limit")
        assert counted["rate_limit_all.http_local_rate_limit.rate_limited"] == 7
        assert counted["rate_limit_all.http_local_rate_limit.ok"] == 5
        assert (await api.stats("local_rate_limit.rate_limit_raw"))[
            "local_rate_limit.rate_limit_raw.rate_limited"
        ] == 3


async def connected(host: str) -> bool:
    """Whether a TCP connection gets an answer."""
    try:
        reader, writer = await asyncio.open_connection(host, TCP_PORT)
        writer.write(b"anything\r\n\r\n")
        answered = bool(await reader.read(1))
        writer.close()
    except OSError:
        return False
    return answered


async def test_callers_limit_a_service_as_a_whole_and_a_route_by_itself(tmp_path: Path) -> None:
    """The routes of a service share its tokens in each caller; a route with a limit of its own takes none of them."""
    service: Wire = {"virtualServiceName": "api.local"}
    async with data_plane(tmp_path) as plane:
        await plane.publish(*shop(plane, limit("service", 6, service)))
        await plane.proxy(WEB)
        await plane.proxy(API)
        web, place = plane.place("web").egress, plane.place("api")
        async with upstream("api", place.application, PORT), upstream("api", place.application, TCP_PORT):
            assert await asked(web, "/a", 4) == {200: 4}
            assert await asked(web, "/b", 4) == {200: 2, 429: 2}
            own = limit("own", 3, {"virtualRouterName": "api", "routeName": "b"})
            await plane.publish(*shop(plane, limit("service", 6, service), own))
            assert await asked(web, "/b", 5) == {200: 3, 429: 2}
            assert await asked(web, "/a", 8) == {200: 6, 429: 2}
            assert [await connected(web) for _ in range(8)] == [True] * 6 + [False] * 2


@pytest.mark.parametrize("keeps_host", [False, True], ids=["host", "mark"])
async def test_a_gateway_limits_itself_its_routes_and_what_it_calls(tmp_path: Path, *, keeps_host: bool) -> None:
    """All gateway routes share the gateway's tokens; a route's own limit and one of the service hold beside them."""
    async with data_plane(tmp_path) as plane:
        await plane.publish(*shop(plane, keeps_host=keeps_host))
        await plane.proxy(DOOR)
        await plane.proxy(API)
        door = plane.place("door").ingress
        whole = limit("whole", 6, {"virtualGatewayName": "door"})
        route = limit("route", 2, {"virtualGatewayName": "door", "gatewayRouteName": "b"}, statusCode=503)
        called = limit("called", 3, {"virtualRouterName": "api", "routeName": "a"}, statusCode=431)
        service = limit("service", 3, {"virtualServiceName": "api.local"}, statusCode=431)
        async with upstream("api", plane.place("api").application, PORT):
            assert await asked(door, "/a", 8) == {200: 8}
            await plane.publish(*shop(plane, whole, keeps_host=keeps_host))
            assert await asked(door, "/a", 4) + await asked(door, "/b", 4) == {200: 6, 429: 2}
            await plane.publish(*shop(plane, whole, route, called, keeps_host=keeps_host))
            assert await asked(door, "/b", 4) == {200: 2, 503: 2}
            assert await asked(door, "/a", 8) == {200: 3, 431: 3, 429: 2}
            await plane.publish(*shop(plane, service, keeps_host=keeps_host))
            assert await asked(door, "/a", 8) == {200: 3, 431: 5}


async def test_grpc_callers_learn_that_they_ask_too_much(tmp_path: Path) -> None:
    """In their own words, so that a client backs off instead of taking the server for dead."""

    async def answer(request: Request, protocol: str) -> Reply:
        return Reply(node="api", protocol=protocol, path=request.path)

    async with data_plane(tmp_path) as plane:
        await plane.publish(
            resource(Kind.MESH, "m", {}),
            plane.node("api", protocol="grpc"),
            limit("all", 2, {"virtualNodeName": "api"}),
        )
        await plane.proxy(API)
        place, server = plane.place("api"), http2.server(answer)
        await server.start(place.application, PORT)
        asked = Request(authority="api", path="/m.Api/Get")
        replies = [await grpcs.call(place.ingress, PORT, asked) for _ in range(3)]
        await server.stop()
        assert [one.status for one in replies] == [200, 200, 503]
        assert replies[-1].fault.startswith("gRPC RESOURCE_EXHAUSTED")


async def test_tokens_come_back(tmp_path: Path) -> None:
    """An empty bucket is filled again at the interval, and over time no more passes than was filled in."""
    async with data_plane(tmp_path) as plane:
        often = {"value": 100, "unit": "ms"}
        await plane.publish(*shop(plane, limit("all", 2, {"virtualNodeName": "api"}, fillInterval=often)))
        await plane.proxy(API)
        place = plane.place("api")
        clock = asyncio.get_running_loop().time
        async with upstream("api", place.application, PORT):
            began, passed = clock(), 0

            async def another() -> bool:
                nonlocal passed
                passed += (await asked(place.ingress, "/", 1))[200]
                return passed >= 10

            await until(another, "ten requests pass")
            assert passed <= 2 + (clock() - began) * 10 + 1


def test_a_limit_changes_no_listener_unless_it_counts_connections() -> None:
    """So that one may come, change and go under load; the limited TCP port's connections are drained."""
    discovery: Wire = {"dns": {"hostname": "api.nodes"}}
    api = resource(Kind.VIRTUAL_NODE, "api", {"listeners": PORTS, "serviceDiscovery": discovery})

    def listeners(*more: Resource) -> dict[str, bytes]:
        snapshot = build(resolve(State([resource(Kind.MESH, "m", {}), api, *more])), API, {}, Redirect())
        return {name: one.body for name, one in snapshot.of(LISTENER).items()}

    target: Wire = {"virtualNodeName": "api"}
    assert listeners(limit("http", 5, {**target, "port": PORT})) == listeners()
    assert listeners(limit("tcp", 5, {**target, "port": TCP_PORT})) != listeners()
