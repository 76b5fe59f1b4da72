"""What holds of HTTP/1.1 in a caller's real Envoy holds of HTTP/2, gRPC and TCP: matches, weights, retries, limits.

One mesh and one Envoy for all of it; the servers are small ones of the test's own, and count.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc.aio
import msgspec
import pytest

from matchers import HTTP, METADATA, RETRIES, request, retrying
from meshwright.lab.exchange import HangUpError, Reply, Request
from meshwright.lab.workload import CALLS
from meshwright.model import Key, Kind
from one_envoy import Mesh, named, speaking
from processes import free_port
from strategies import MESH, Wire

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterator

    from meshwright.lab.exchange import Answer

pytestmark = pytest.mark.envoy

CALLER = Key(MESH, Kind.VIRTUAL_NODE, "caller")
PROTOCOLS = ("http", "http2", "grpc", "tcp")
STREAMS = ("http2", "grpc")
COUNT, SHARE = 2_000, 0.8
GRPC: Wire = {"content-type": "application/grpc"}


def route(protocol: str, *targets: tuple[str, int], match: Wire | None = None, **rest: Any) -> Wire:
    """A route of any protocol to the nodes `TARGET-PROTOCOL`."""
    weighted = [{"virtualNode": f"{name}-{protocol}", "weight": weight} for name, weight in targets]
    matching = {} if protocol == "tcp" else {"match": match or ({} if protocol == "grpc" else {"prefix": "/"})}
    priority = {"priority": rest.pop("priority")} if "priority" in rest else {}
    return {f"{protocol}Route": {**matching, "action": {"weightedTargets": weighted}, **rest}, **priority}


class Plan:
    """The mesh, and the port of each service."""

    def __init__(self) -> None:
        self.mesh = Mesh()
        self.ports: dict[str, int] = {}
        for protocol in PROTOCOLS:
            self.mesh.node(f"hit-{protocol}", protocol)
            self.mesh.node(f"rest-{protocol}", protocol)
            self._serve("weighted", protocol, route(protocol, ("hit", 80), ("rest", 20)))
            self._serve("none", protocol, route(protocol, ("hit", 0), ("rest", 0)))
            self._serve("one", protocol, route(protocol, ("hit", 1), ("rest", 0)))
            self._serve(
                "first", protocol, route(protocol, ("rest", 1)), route(protocol, ("hit", 1), priority=7),
                route(protocol, ("rest", 1), priority=8),
            )  # fmt: skip
        for protocol, cases in (("http2", HTTP), ("grpc", METADATA)):
            for name, (match, _, _) in cases.items():
                matching = route(protocol, ("hit", 1), match=match, priority=0)
                self._serve(name, protocol, matching, route(protocol, ("rest", 1)))
        for protocol, (name, (policy, *_)) in itertools.product(STREAMS, RETRIES.items()):
            given = {"retryPolicy": policy} if policy else {}
            self._serve(name, protocol, route(protocol, ("hit", 1), **given))
        for protocol in STREAMS:
            self._limit(protocol)
        services = [one.key.name for one in self.mesh.resources if one.key.kind is Kind.VIRTUAL_SERVICE]
        backends = [{"virtualService": {"virtualServiceName": one}} for one in services]
        self.mesh.add(Kind.VIRTUAL_NODE, "caller", {"backends": backends})

    def _limit(self, protocol: str) -> None:
        brief, none = ({"perRequest": {"unit": "ms", "value": one}} for one in (300, 0))
        twice = retrying("server-error", most=1, perRetryTimeout={"unit": "ms", "value": 300})
        refused = retrying(tcpRetryEvents=["connection-error"])
        for name, given in {
            "cut-off": {"timeout": brief},
            "unlimited": {"timeout": none},
            "per-try": {"retryPolicy": twice},
            "refused": {"retryPolicy": refused},
        }.items():
            self._serve(name, protocol, route(protocol, ("hit", 1), **given))

    def _serve(self, name: str, protocol: str, *routes: Wire) -> None:
        service = f"{name}.{protocol}"
        # TCP needs a port of its own: on one of HTTP only a name in TLS would lead there.
        self.ports[service] = free_port() if protocol == "tcp" else self.mesh.port
        self.mesh.service(service, *routes, protocol=protocol, port=self.ports[service])

    async def call(
        self, name: str, protocol: str, text: str = "POST /s/M", client: str = "", **headers: str
    ) -> Reply:
        """What the caller's application gets of a service; `client` is the protocol it speaks, if another."""
        service = f"{name}.{protocol}"
        asked = request(service, text)
        asked = msgspec.structs.replace(asked, headers={**asked.headers, **headers})
        return await CALLS[client or protocol](self.mesh.place.egress, self.ports[service], asked)

    def server(
        self, node: str, protocol: str, answer: Answer | None = None, spoken: str = ""
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """The servers of a node; they say its name unless they are told what."""
        host = self.mesh.hosts[f"{node}-{protocol}"]
        return speaking(spoken or protocol, host, self.mesh.port, answer or named(node))


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The mesh of all services above."""
    return Plan()


@pytest.fixture(scope="module", autouse=True)
def ask(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The caller's running Envoy."""
    with plan.mesh.envoy(CALLER, tmp_path_factory.mktemp("protocols")) as asked:
        yield asked


CASES = [("http2", name) for name in HTTP] + [("grpc", name) for name in METADATA]


@pytest.mark.parametrize(("protocol", "name"), CASES)
async def test_each_matcher_takes_the_same_over_http_2_and_grpc(plan: Plan, protocol: str, name: str) -> None:
    """All that can be said of an HTTP route, and every condition on the metadata of a call."""
    _, matching, others = (HTTP if protocol == "http2" else METADATA)[name]
    async with plan.server("hit", protocol), plan.server("rest", protocol):
        for expected, texts in (("hit", matching), ("rest", others)):
            for text in texts:
                reply = await plan.call(name, protocol, text)
                assert (reply.status, reply.node) == (200, expected), (text, reply.fault)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_lowest_number_is_the_first_priority_whatever_is_spoken(plan: Plan, protocol: str) -> None:
    """Of three routes that take everything; one without a priority comes last."""
    async with plan.server("hit", protocol), plan.server("rest", protocol):
        assert (await plan.call("first", protocol)).node == "hit"


@pytest.mark.parametrize("protocol", ["http2", "tcp"])
async def test_weights_share_two_thousand_requests_and_connections(plan: Plan, protocol: str) -> None:
    """Within 4.5 standard deviations of the binomial distribution, which chance leaves once in 150,000 runs."""
    seen: Counter[str] = Counter()
    async with plan.server("hit", protocol), plan.server("rest", protocol):
        for _ in range(COUNT // 20):
            replies = await asyncio.gather(*(plan.call("weighted", protocol) for _ in range(20)))
            seen.update(one.node for one in replies)
    judge(seen)


async def test_weights_share_two_thousand_calls(plan: Plan) -> None:
    """Of gRPC on one connection: each call is drawn anew."""
    seen: Counter[str] = Counter()
    options = [("grpc.default_authority", "weighted.grpc"), ("grpc.use_local_subchannel_pool", 1)]
    at = f"{plan.mesh.place.egress}:{plan.mesh.port}"
    async with (
        plan.server("hit", "grpc"),
        plan.server("rest", "grpc"),
        grpc.aio.insecure_channel(at, options=options) as channel,
    ):
        method = channel.unary_unary("/s/M", request_serializer=None, response_deserializer=None)
        for _ in range(COUNT // 50):
            replies = await asyncio.gather(*(method(b"") for _ in range(50)))
            seen.update(msgspec.json.decode(one, type=Reply).node for one in replies)
    judge(seen)


def judge(seen: Counter[str]) -> None:
    """Fail where the shares are not those of the weights, or some got nothing."""
    assert set(seen) == {"hit", "rest"}
    assert seen.total() == COUNT
    assert abs(seen["hit"] - COUNT * SHARE) < 4.5 * math.sqrt(COUNT * SHARE * (1 - SHARE)), seen


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_weight_of_zero_gets_nothing_and_where_all_are_nobody_answers(plan: Plan, protocol: str) -> None:
    """503, over gRPC UNAVAILABLE, over TCP no connection; the servers that are there hear nothing of it."""
    async with plan.server("hit", protocol), plan.server("rest", protocol):
        replies = [await plan.call("one", protocol) for _ in range(20)]
        assert {(one.status, one.node) for one in replies} == {(200, "hit")}
        refused = await plan.call("none", protocol)
    assert (refused.status, refused.node) == (0 if protocol == "tcp" else 503, "")
    if protocol == "grpc":
        assert refused.fault.startswith("gRPC UNAVAILABLE")


@pytest.mark.parametrize("name", [*RETRIES])
@pytest.mark.parametrize("protocol", STREAMS)
async def test_retries_by_status_are_the_same_over_http_2_and_grpc(plan: Plan, protocol: str, name: str) -> None:
    """Counted at the server; it answers a gRPC call with a status of HTTP, as gateways and broken servers do."""
    _, statuses, times, status = RETRIES[name]
    asked: list[int] = []

    async def answer(_: Request, __: str) -> Reply:
        asked.append(statuses[min(len(asked), len(statuses) - 1)])
        if not asked[-1]:
            raise HangUpError
        return Reply(status=asked[-1])

    async with plan.server("hit", protocol, answer, "http2"):
        reply = await plan.call(name, protocol, client="http2", **(GRPC if protocol == "grpc" else {}))
    assert (reply.status, len(asked)) == (status, times), reply.fault


@pytest.mark.parametrize("protocol", STREAMS)
async def test_a_connection_that_is_refused_is_tried_again_over_http_2_and_grpc(
    plan: Plan, ask: Callable[[str], str], protocol: str
) -> None:
    """Nobody listens, so Envoy's own counter tells."""
    counter = f"cluster.cds_egress_m_hit-{protocol}_{protocol}_{plan.mesh.port}.upstream_rq_retry"

    def counted() -> int:
        return int(ask(f"/stats?filter=^{counter}$").partition(": ")[2] or 0)

    before = counted()
    assert (await plan.call("refused", protocol)).status == 503
    assert counted() == before + 2


@pytest.mark.parametrize("protocol", STREAMS)
async def test_time_limits_cut_off_http_2_and_grpc(plan: Plan, protocol: str) -> None:
    """A whole request, each try (the first included), and with 0 nothing; counted at the server."""
    asked: list[str] = []

    async def answer(given: Request, spoken: str) -> Reply:
        asked.append(given.authority)
        return await named("slow", 0.9)(given, spoken)

    late = (504, 504, 200) if protocol == "http2" else (503, 503, 200)
    async with plan.server("hit", protocol, answer):
        replies = [await plan.call(name, protocol) for name in ("cut-off", "per-try", "unlimited")]
    assert tuple(one.status for one in replies) == late, [one.fault for one in replies]
    assert len(asked) == 1 + 2 + 1
