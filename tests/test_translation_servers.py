"""How a caller's real Envoy picks servers and asks them again: their checks, gRPC's failures, families of addresses.

What fails here fails at a server of the test's own, which counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from envoys import fetch, until
from meshwright.lab import grpcs, tcp
from meshwright.lab.exchange import Request
from meshwright.lab.workload import CALLS
from meshwright.model import Key, Kind
from meshwright.snapshot.resources import Endpoint
from one_envoy import Mesh, answering, http_route, listening, named, speaking
from processes import free_port
from strategies import MESH, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.envoy

CALLER = Key(MESH, Kind.VIRTUAL_NODE, "caller")
PER_TRY: Wire = {"unit": "s", "value": 5}
CODES = {
    "cancelled": grpc.StatusCode.CANCELLED,
    "deadline-exceeded": grpc.StatusCode.DEADLINE_EXCEEDED,
    "internal": grpc.StatusCode.INTERNAL,
    "resource-exhausted": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "unavailable": grpc.StatusCode.UNAVAILABLE,
}
RESETS: dict[str, tuple[str, int, int]] = {
    # The event, how the server resets the first stream, how often it is asked.
    "refused": ("stream-error", h2.errors.ErrorCodes.REFUSED_STREAM, 2),
    "other": ("stream-error", h2.errors.ErrorCodes.INTERNAL_ERROR, 1),
    "refused-unnamed": ("client-error", h2.errors.ErrorCodes.REFUSED_STREAM, 1),
    "any-reset": ("gateway-error", h2.errors.ErrorCodes.INTERNAL_ERROR, 2),
}
FAMILIES = {None: ("4", "6"), "IPv4_ONLY": ("4",), "IPv6_ONLY": ("6",), "IPv4_PREFERRED": ("4", "6")}


def has_ipv6() -> bool:
    """Whether this machine has a loopback address of IPv6."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as found:
        found.bind(("::1", 0))
        return True
    return False


def routed(protocol: str, node: str, *events: str) -> Wire:
    """A route to a node, with these of the protocol's own retry events."""
    match = {} if protocol == "grpc" else {"prefix": "/"}
    kind = "grpcRetryEvents" if protocol == "grpc" else "httpRetryEvents"
    retry = {"maxRetries": 1, "perRetryTimeout": PER_TRY, kind: list(events)}
    action = {"weightedTargets": [{"virtualNode": node, "weight": 1}]}
    return {f"{protocol}Route": {"match": match, "action": action, "retryPolicy": retry}}


def calling(mesh: Mesh) -> Mesh:
    """The mesh with a caller of all its services."""
    services = [one.key.name for one in mesh.resources if one.key.kind is Kind.VIRTUAL_SERVICE]
    backends = [{"virtualService": {"virtualServiceName": one}} for one in services]
    mesh.add(Kind.VIRTUAL_NODE, "caller", {"backends": backends})
    return mesh


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The caller's Envoy, running."""
    made = Mesh()
    made.node("calls", "grpc")
    for event in CODES:
        made.service(f"{event}.local", routed("grpc", "calls", event), protocol="grpc")
    made.node("streams", "http2")
    for name, (event, _, _) in RESETS.items():
        made.service(f"{name}.local", routed("http2", "streams", event), protocol="http2")
    for preference in FAMILIES if has_ipv6() else ():
        name = str(preference).lower()
        given = {"ipPreference": preference} if preference else {}
        listeners = [{"portMapping": {"port": made.port, "protocol": "http"}}]
        discovery = {"awsCloudMap": {"namespaceName": "n", "serviceName": name, **given}}
        made.add(Kind.VIRTUAL_NODE, name, {"listeners": listeners, "serviceDiscovery": discovery})
        both = (Endpoint(address=made.place.application), Endpoint(address="::1"))
        made.found[Key(MESH, Kind.VIRTUAL_NODE, name)] = both
        made.service(f"{name}.local", http_route((name, 1)))
    with calling(made).envoy(CALLER, tmp_path_factory.mktemp("servers")):
        yield made


@contextlib.asynccontextmanager
async def ending(
    host: str, port: int, codes: Sequence[grpc.StatusCode], health: bytes = b""
) -> AsyncIterator[list[str]]:
    """A gRPC server that ends calls with `codes` in turn, the last one for ever, and says `health`; its calls."""
    asked: list[str] = []
    coming = iter(codes)
    last = [grpc.StatusCode.OK]

    async def respond(_: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        last[0] = next(coming, last[0])
        if last[0] is not grpc.StatusCode.OK:
            await context.abort(last[0], "as it was told to")
        return b"{}"

    class Anything(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs only
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
            asked.append(str(handler_call_details.method))
            return grpc.unary_unary_rpc_method_handler(said if "Health" in asked[-1] else respond)

    async def said(_: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        del context
        return health

    server = grpc.aio.server(handlers=[Anything()], options=[("grpc.so_reuseport", 0)])
    server.add_insecure_port(f"{host}:{port}")
    await server.start()
    try:
        yield asked
    finally:
        await server.stop(None)


@pytest.mark.parametrize("event", [*CODES])
async def test_calls_that_end_with_a_status_are_tried_again_when_the_policy_names_it(mesh: Mesh, event: str) -> None:
    """Each of gRPC's retry events is one status, and no other; counted at the server."""
    for code in CODES.values():
        async with ending(mesh.hosts["calls"], mesh.port, [code, grpc.StatusCode.OK]) as asked:
            request = Request(authority=f"{event}.local", path="/s/M", method="POST")
            reply = await grpcs.call(mesh.place.egress, mesh.port, request)
        assert (reply.status, len(asked)) == ((200, 2) if code is CODES[event] else (503, 1)), (code, reply.fault)


@pytest.mark.parametrize("name", [*RESETS])
async def test_streams_that_are_reset_are_tried_again_when_the_policy_names_it(mesh: Mesh, name: str) -> None:
    """`stream-error` is a refused stream; errors of servers and gateways are any reset; counted at the server."""
    _, code, times = RESETS[name]
    asked: list[int] = []

    async def reset_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        peer.initiate_connection()
        writer.write(peer.data_to_send())
        while chunk := await reader.read(65_536):
            for event in peer.receive_data(chunk):
                if isinstance(event, h2.events.RequestReceived):
                    asked.append(event.stream_id or 0)
                    if len(asked) == 1:
                        peer.reset_stream(asked[-1], code)
                    else:
                        peer.send_headers(asked[-1], [(":status", "200")], end_stream=True)
            writer.write(peer.data_to_send())

    async with listening(mesh.hosts["streams"], mesh.port, reset_first):
        status, _ = await fetch(mesh.place.egress, mesh.port, "/", f"{name}.local")
    assert (status, len(asked)) == (200 if times == 2 else 503, times)


async def test_a_route_for_a_port_takes_what_is_called_there_and_one_for_none_takes_the_rest(tmp_path: Path) -> None:
    """A router may listen on several ports; each node is reached on its own, whichever was called."""
    mesh, other = Mesh(), free_port()
    for name in ("here", "there", "any"):
        mesh.node(name)
    listeners = [{"portMapping": {"port": port, "protocol": "http"}} for port in (mesh.port, other)]
    mesh.add(Kind.VIRTUAL_ROUTER, "both", {"listeners": listeners})
    mesh.add(Kind.VIRTUAL_SERVICE, "both.local", {"provider": {"virtualRouter": {"virtualRouterName": "both"}}})
    for name, port in (("here", mesh.port), ("there", other)):
        mesh.add(Kind.ROUTE, name, http_route((name, 1), match={"prefix": "/own", "port": port}), "both")
    mesh.add(Kind.ROUTE, "any", http_route(("any", 1)), "both")
    async with contextlib.AsyncExitStack() as stack:
        for name, host in mesh.hosts.items():
            await stack.enter_async_context(answering(host, mesh.port, name))
        with contextlib.ExitStack() as running:
            await asyncio.to_thread(running.enter_context, calling(mesh).envoy(CALLER, tmp_path))
            for port, path, word in (
                (mesh.port, "/own", "here"),
                (other, "/own", "there"),
                (mesh.port, "/", "any"),
                (other, "/", "any"),
            ):
                assert await fetch(mesh.place.egress, port, path, "both.local") == (200, word)


@pytest.mark.parametrize("protocol", ["grpc", "tcp"])
async def test_a_call_is_matched_by_its_port_alone_where_nothing_else_is_said(tmp_path: Path, protocol: str) -> None:
    """Over gRPC and TCP; the routes of one router lead each to a node of its own."""
    mesh, ports = Mesh(), {"here": free_port(), "there": free_port()}
    listeners = [{"portMapping": {"port": port, "protocol": protocol}} for port in ports.values()]
    mesh.add(Kind.VIRTUAL_ROUTER, "both", {"listeners": listeners})
    mesh.add(Kind.VIRTUAL_SERVICE, "both.local", {"provider": {"virtualRouter": {"virtualRouterName": "both"}}})
    for name, port in ports.items():
        mesh.node(name, protocol)
        action = {"weightedTargets": [{"virtualNode": name, "weight": 1}]}
        mesh.add(Kind.ROUTE, name, {f"{protocol}Route": {"match": {"port": port}, "action": action}}, "both")
    async with contextlib.AsyncExitStack() as stack:
        for name in ports:
            await stack.enter_async_context(speaking(protocol, mesh.hosts[name], mesh.port, named(name)))
        with contextlib.ExitStack() as running:
            await asyncio.to_thread(running.enter_context, calling(mesh).envoy(CALLER, tmp_path))
            request = Request(authority="both.local", path="/s/M", method="POST")
            found = {name: await CALLS[protocol](mesh.place.egress, port, request) for name, port in ports.items()}
    assert {name: one.node for name, one in found.items()} == {"here": "here", "there": "there"}


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_instances_of_the_families_that_a_node_allows_are_called(mesh: Mesh) -> None:
    """Those that discovery found; where the preference is no demand, all of them."""
    async with answering(mesh.place.application, mesh.port, "4"), answering("::1", mesh.port, "6"):
        for preference, words in FAMILIES.items():
            at = (mesh.place.egress, mesh.port, "/", f"{preference}.local".lower())
            assert {await fetch(*at) for _ in range(8)} == {(200, word) for word in words}, preference


async def test_an_instance_that_says_that_it_does_not_serve_gets_no_call(tmp_path: Path) -> None:
    """By gRPC's own health service."""
    mesh = checked("grpc")
    good, bad = mesh.hosts["checked-1"], mesh.hosts["checked-2"]
    async with (
        ending(good, mesh.port, [grpc.StatusCode.OK], b"\x08\x01") as seen,
        ending(bad, mesh.port, [grpc.StatusCode.INTERNAL], b"\x08\x02") as ill,
        running(mesh, tmp_path, "grpc"),
    ):
        request = Request(authority="checked.local", path="/s/M", method="POST")
        for _ in range(20):
            reply = await grpcs.call(mesh.place.egress, mesh.port, request)
            assert reply.status == 200, reply.fault
    assert seen.count("/s/M") == 20
    assert set(ill) == {"/grpc.health.v1.Health/Check"}


async def test_an_instance_that_takes_no_connection_gets_none(tmp_path: Path) -> None:
    """By TCP: nobody listens there when it is checked, and when somebody does, no one comes before the next check."""
    mesh = checked("tcp")
    good, bad = mesh.hosts["checked-1"], mesh.hosts["checked-2"]
    async with (
        speaking("tcp", good, mesh.port, named("good")),
        running(mesh, tmp_path, "tcp"),
        speaking("tcp", bad, mesh.port, named("bad")),
    ):
        request = Request(authority="checked.local")
        replies = [await tcp.call(mesh.place.egress, mesh.port, request) for _ in range(20)]
    assert {reply.node for reply in replies} == {"good"}


def checked(protocol: str) -> Mesh:
    """A caller of a node with two instances that are checked in its protocol."""
    mesh = Mesh()
    counts = {"healthyThreshold": 2, "unhealthyThreshold": 2, "intervalMillis": 60_000, "timeoutMillis": 2_000}
    mesh.node("checked", protocol, instances=2, healthCheck={"protocol": protocol, **counts})
    route: Wire = {"action": {"weightedTargets": [{"virtualNode": "checked", "weight": 1}]}}
    if protocol == "grpc":
        route["match"] = {}
    mesh.service("checked.local", {f"{protocol}Route": route}, protocol=protocol)
    return calling(mesh)


@contextlib.asynccontextmanager
async def running(mesh: Mesh, folder: Path, protocol: str) -> AsyncIterator[None]:
    """The caller's Envoy, when it has judged both instances."""
    cluster = f"cluster.cds_egress_m_checked_{protocol}_{mesh.port}"
    with contextlib.ExitStack() as stack:
        ask = await asyncio.to_thread(stack.enter_context, mesh.envoy(CALLER, folder))

        async def judged() -> bool:
            wanted = f"^{cluster}.(health_check.(attempt|success|failure)|membership_healthy)$"
            lines = (await asyncio.to_thread(ask, f"/stats?filter={wanted}")).splitlines()
            found = {line.split(": ")[0].removeprefix(f"{cluster}."): int(line.split(": ")[1]) for line in lines}
            expected = {"health_check.attempt": 2, "health_check.success": 1, "health_check.failure": 1}
            return found == expected | {"membership_healthy": 1}

        await until(judged)
        yield
