"""How a caller's real Envoy treats requests to its backends: matches, weights, retries, limits, health, ejection.

One Envoy and one mesh for all of it; each test has a service of its own in that mesh, and its own servers behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import ssl
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from envoys import fetch
from matchers import HTTP, PRIORITIES, RETRIES, retrying
from meshwright.lab import grpcs
from meshwright.lab.exchange import Reply, Request
from meshwright.model import Key, Kind
from one_envoy import Mesh, answering, http_route, listening, speaking
from pki import self_signed
from processes import until
from strategies import MESH, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from one_envoy import Conversation

CALLER = Key(MESH, Kind.VIRTUAL_NODE, "caller")
SECOND: Wire = {"unit": "s", "value": 1}
LOG = {"json": [{"key": "code", "value": "%RESPONSE_CODE%"}, {"key": "for", "value": "%REQ(:authority)%"}]}


GRPC: dict[str, tuple[Wire, tuple[str, ...], tuple[str, ...]]] = {
    "grpc-any": ({}, ("/shop.Cart/Get",), ()),
    "grpc-service": ({"serviceName": "shop.Cart"}, ("/shop.Cart/Get",), ("/shop.Carts/Get", "/shop.Pay/Get")),
    "grpc-method": (
        {"serviceName": "shop.Cart", "methodName": "Get"},
        ("/shop.Cart/Get",),
        ("/shop.Cart/Put", "/shop.Cart/GetAll"),
    ),
    "grpc-metadata": (
        {"serviceName": "s", "metadata": [{"name": "x-h", "match": {"prefix": "a"}}]},
        ("/s/M ab",),
        ("/s/M b", "/s/M"),
    ),
}


def _mesh(folder: Path) -> Mesh:
    mesh = Mesh()
    for name in ("hit", "rest"):
        mesh.node(name)
        mesh.node(f"{name}-grpc", "grpc")
    for name, (match, _, _) in HTTP.items():
        mesh.service(name, http_route(("hit", 1), match=match, priority=0), http_route(("rest", 1)))
    for name, (match, _, _) in GRPC.items():
        routes = [(match, "hit-grpc", {"priority": 0}), ({}, "rest-grpc", {})]
        mesh.service(name, *(_grpc_route(*one) for one in routes), protocol="grpc")
    _add_backends(mesh)
    services = [one.key.name for one in mesh.resources if one.key.kind is Kind.VIRTUAL_SERVICE]
    backends = [{"virtualService": {"virtualServiceName": one}} for one in services]
    file = {"path": str(folder / "access.log"), "format": LOG}
    mesh.add(Kind.VIRTUAL_NODE, "caller", {"backends": backends, "logging": {"accessLog": {"file": file}}})
    return mesh


def _add_backends(mesh: Mesh) -> None:
    for name, (first, second) in PRIORITIES.items():
        pairs = ((second, "rest"), (first, "hit"))
        mesh.service(name, *(http_route((node, 1), match=one[0], priority=one[1]) for one, node in pairs))
    for name, (policy, _, _, _) in RETRIES.items():
        given: dict[str, Any] = {"retryPolicy": policy} if policy else {}
        mesh.service(name, http_route(("hit", 1), **given))
    timeout = {"perRequest": {"unit": "ms", "value": 300}}
    twice = retrying("server-error", most=1, perRetryTimeout={"unit": "ms", "value": 100})
    mesh.service("cut-off", http_route(("hit", 1), timeout=timeout))
    mesh.service("per-try", http_route(("hit", 1), retryPolicy=twice))
    mesh.service("unlimited", http_route(("hit", 1), timeout={"perRequest": {"unit": "ms", "value": 0}}))
    mesh.service("weighted", http_route(("hit", 80), ("rest", 20)))
    mesh.service("unavailable", _grpc_route({}, "hit-grpc", {}), protocol="grpc")
    mesh.service("refused", http_route(("hit", 1), retryPolicy=retrying(tcpRetryEvents=["connection-error"])))
    outlier = {"interval": SECOND, "baseEjectionDuration": SECOND, "maxEjectionPercent": 100, "maxServerErrors": 3}
    mesh.node("ejected", instances=2, outlierDetection=outlier)
    mesh.service("ejected.local", http_route(("ejected", 1), retryPolicy=retrying("client-error", most=0)))
    for name in ("one", "two"):
        mesh.node(f"{name}-tcp", "tcp")
        weighted = [{"virtualNode": f"{name}-tcp", "weight": 1}]
        mesh.service(f"{name}.tls", {"tcpRoute": {"action": {"weightedTargets": weighted}}}, protocol="tcp")


def _grpc_route(match: Wire, node: str, rest: Wire) -> Wire:
    action = {"weightedTargets": [{"virtualNode": node, "weight": 1}]}
    return {"grpcRoute": {"match": match, "action": action}, **rest}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the Envoy and its log are."""
    return tmp_path_factory.mktemp("caller")


@pytest.fixture(scope="module")
def mesh(folder: Path) -> Mesh:
    """The mesh of all services above."""
    return _mesh(folder)


@pytest.fixture(scope="module")
def ask(mesh: Mesh, folder: Path) -> Iterator[Callable[[str], str]]:
    """The caller's running Envoy."""
    with mesh.envoy(CALLER, folder) as asked:
        yield asked


pytestmark = [pytest.mark.envoy, pytest.mark.usefixtures("ask")]


async def get(mesh: Mesh, service: str, request: str = "GET /") -> tuple[int, str]:
    """What the caller's application gets for `METHOD PATH [X-H]`; status and body."""
    method, path, *value = request.split(" ")
    more = f"\r\nx-h: {value[0]}" if value else ""
    return await fetch(mesh.place.egress, mesh.port, path, service + more, method)


@pytest.mark.parametrize("name", [*HTTP])
async def test_each_matcher_takes_what_it_says_and_nothing_else(mesh: Mesh, name: str) -> None:
    """By path, method, scheme, header and query parameter, inverted too."""
    _, matching, others = HTTP[name]
    async with answering(mesh.hosts["hit"], mesh.port, "hit"), answering(mesh.hosts["rest"], mesh.port, "rest"):
        for request in matching:
            assert await get(mesh, name, request) == (200, "hit"), request
        for request in others:
            assert await get(mesh, name, request) == (200, "rest"), request


def _grpc(mesh: Mesh, node: str, word: str) -> contextlib.AbstractAsyncContextManager[None]:
    async def answer(request: Request, protocol: str) -> Reply:
        return Reply(node=word, path=request.path, protocol=protocol)

    return speaking("grpc", mesh.hosts[node], mesh.port, answer)


@pytest.mark.parametrize("name", [*GRPC])
async def test_grpc_calls_are_matched_by_service_method_and_metadata(mesh: Mesh, name: str) -> None:
    """With a real gRPC client and real servers."""
    _, matching, others = GRPC[name]
    async with _grpc(mesh, "hit-grpc", "hit"), _grpc(mesh, "rest-grpc", "rest"):
        for expected, calls in (("hit", matching), ("rest", others)):
            for call in calls:
                path, _, value = call.partition(" ")
                headers = {"x-h": value} if value else {}
                request = Request(authority=name, path=path, method="POST", headers=headers)
                reply = await grpcs.call(mesh.place.egress, mesh.port, request)
                assert (reply.status, reply.node) == (200, expected), (call, reply.fault)


@pytest.mark.parametrize("name", [*PRIORITIES])
async def test_of_several_routes_that_match_the_right_one_wins(mesh: Mesh, name: str) -> None:
    """Priority, then exact path, longer prefix, expression, more conditions."""
    async with answering(mesh.hosts["hit"], mesh.port, "hit"), answering(mesh.hosts["rest"], mesh.port, "rest"):
        assert await get(mesh, name, "GET /a/b 1") == (200, "hit")


async def test_weights_share_two_thousand_requests(mesh: Mesh) -> None:
    """Within 4.5 standard deviations of the binomial distribution, which chance leaves once in 150,000 runs."""
    count, share = 2_000, 0.8
    async with answering(mesh.hosts["hit"], mesh.port, "hit"), answering(mesh.hosts["rest"], mesh.port, "rest"):
        seen: Counter[tuple[int, str]] = Counter()
        for _ in range(count // 20):
            seen.update(await asyncio.gather(*(get(mesh, "weighted") for _ in range(20))))
    assert set(seen) == {(200, "hit"), (200, "rest")}
    assert abs(seen[200, "hit"] - count * share) < 4.5 * math.sqrt(count * share * (1 - share)), seen


@pytest.mark.parametrize("name", [*RETRIES])
async def test_requests_are_tried_again_as_often_as_the_policy_says(mesh: Mesh, name: str) -> None:
    """Counted at the server; without a policy the default one of App Mesh holds."""
    _, statuses, times, status = RETRIES[name]
    async with answering(mesh.hosts["hit"], mesh.port, "hit", statuses) as asked:
        assert (await get(mesh, name))[0] == status
    assert len(asked) == times


async def test_an_unavailable_grpc_server_is_asked_thrice_by_default(mesh: Mesh) -> None:
    """Counted at the server."""
    asked = []

    async def answer(request: Request, _: str) -> Reply:
        asked.append(request.path)
        return Reply(status=503 if len(asked) < 3 else 200)

    async with speaking("grpc", mesh.hosts["hit-grpc"], mesh.port, answer):
        reply = await grpcs.call(mesh.place.egress, mesh.port, Request(authority="unavailable", path="/s/M"))
    assert (reply.status, len(asked)) == (200, 3), reply.fault


async def test_a_refused_connection_is_tried_again(mesh: Mesh, ask: Callable[[str], str]) -> None:
    """Nobody listens, so Envoy's own counter tells."""
    counter = "cluster.cds_egress_m_hit_http_" + str(mesh.port)
    before = _counter(ask, f"{counter}.upstream_rq_retry")
    assert (await get(mesh, "refused"))[0] == 503
    assert _counter(ask, f"{counter}.upstream_rq_retry") == before + 2


def _counter(ask: Callable[[str], str], name: str) -> int:
    return int(ask(f"/stats?filter=^{name}$").partition(": ")[2] or 0)


async def test_time_limits_cut_off_what_they_are_for(mesh: Mesh) -> None:
    """A whole request, each try (the first included), and with 0 nothing."""
    host = mesh.hosts["hit"]
    async with answering(host, mesh.port, "slow", delay=0.6) as asked:
        assert (await get(mesh, "cut-off"))[0] == 504
        assert len(asked) == 1
        assert (await get(mesh, "unlimited"))[0] == 200
        del asked[:]
        assert (await get(mesh, "per-try"))[0] == 504
        assert len(asked) == 2


async def test_an_instance_that_fails_its_checks_gets_no_request(tmp_path: Path) -> None:
    """The caller's Envoy checks, by the server's definition, with the host and path that say so."""
    mesh = Mesh()
    check = {"protocol": "http", "path": "/ping", "intervalMillis": 5000, "timeoutMillis": 2000}
    mesh.node("checked", instances=2, healthCheck=check | {"healthyThreshold": 2, "unhealthyThreshold": 2})
    mesh.service("checked.local", http_route(("checked", 1)))
    mesh.add(Kind.VIRTUAL_NODE, "caller", {"backends": [{"virtualService": {"virtualServiceName": "checked.local"}}]})
    good, bad = mesh.hosts["checked-1"], mesh.hosts["checked-2"]
    healthy = f"cluster.cds_egress_m_checked_http_{mesh.port}.membership_healthy"
    async with answering(good, mesh.port, "good") as seen, answering(bad, mesh.port, "bad", (500,)) as ill:
        with contextlib.ExitStack() as stack:
            ask = await asyncio.to_thread(stack.enter_context, mesh.envoy(CALLER, tmp_path))
            await asyncio.to_thread(until, lambda: _counter(ask, healthy) == 1)
            assert {await get(mesh, "checked.local") for _ in range(20)} == {(200, "good")}
        assert all(head.startswith("GET /ping ") for head in ill)
        assert f"host: checked.n:{mesh.port}" in next(head for head in seen if head.startswith("GET /ping "))


async def test_an_instance_that_errs_is_ejected_and_comes_back(mesh: Mesh, ask: Callable[[str], str]) -> None:
    """After as many errors in a row as the server's definition says; others take over; then it is tried again."""
    good, bad = mesh.hosts["ejected-1"], mesh.hosts["ejected-2"]
    ejections = f"cluster.cds_egress_m_ejected_http_{mesh.port}.outlier_detection.ejections_active"
    async with answering(good, mesh.port, "good"), answering(bad, mesh.port, "bad", (500, 500, 500, 200)) as ill:
        answers = [await get(mesh, "ejected.local") for _ in range(40)]
        assert [body for status, body in answers if status == 500] == ["bad"] * 3
        assert len(ill) == 3
        await asyncio.to_thread(until, lambda: _counter(ask, ejections) == 0)
        assert {await get(mesh, "ejected.local") for _ in range(40)} == {(200, "good"), (200, "bad")}


async def test_tcp_services_on_the_port_of_http_ones_are_told_apart_by_name(mesh: Mesh, folder: Path) -> None:
    """The name in the TLS greeting decides; the bytes pass unread, and HTTP goes on beside it."""
    issued = self_signed("one.tls", "two.tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = issued.write(folder, "tls")
    context.load_cert_chain(files.certificate, files.key)
    trusting = ssl.create_default_context(cafile=str(files.certificate))
    async with contextlib.AsyncExitStack() as stack:
        for name in ("one", "two"):
            place = (mesh.hosts[f"{name}-tcp"], mesh.port)
            await stack.enter_async_context(listening(*place, _greeting(name), context))
        for name in ("two", "one"):
            place = (mesh.place.egress, mesh.port)
            reader, writer = await asyncio.open_connection(*place, ssl=trusting, server_hostname=f"{name}.tls")
            assert await reader.readline() == f"{name}\n".encode()
            writer.close()
        async with answering(mesh.hosts["hit"], mesh.port, "hit"):
            assert await get(mesh, "unlimited") == (200, "hit")


def _greeting(word: str) -> Conversation:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{word}\n".encode())
        await writer.drain()

    return greet


async def test_an_unmodelled_host_gets_404_and_access_logs_are_written(mesh: Mesh, folder: Path) -> None:
    """A line of JSON a request, with the members that the definition names; Envoy flushes now and then."""
    assert (await get(mesh, "nobody.local"))[0] == 404
    log = folder / "access.log"
    line = {"code": 404, "for": "nobody.local"}
    await asyncio.to_thread(until, lambda: line in [json.loads(one) for one in log.read_text().splitlines()])
