"""Which instances of a node a caller's real Envoy calls: how many it may eject, for how long; how it checks them.

One mesh and one Envoy for all of it; the instances are small servers of the test's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from envoys import fetch, until
from http_traffic import Message, application, plain
from meshwright.lab.exchange import Reply, Request
from meshwright.lab.workload import CALLS
from meshwright.model import Key, Kind
from meshwright.model.specs import VirtualRouterSpec
from one_envoy import Mesh, answering, http_route, named, speaking
from processes import free_port
from settings import PROVE
from strategies import MESH, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.envoy

CALLER = Key(MESH, Kind.VIRTUAL_NODE, "caller")
BRIEFLY: Wire = {"unit": "ms", "value": 100}
LONG: Wire = {"unit": "s", "value": 300}
BASE = 4.0
"""Seconds of an ejection below that ends."""
NEVER: Wire = {"maxRetries": 0, "perRetryTimeout": {"unit": "s", "value": 5}, "httpRetryEvents": ["client-error"]}
SHARES = {"tenth": (10, 1), "half": (50, 2), "all": (100, 4)}
"""The greatest share that may be ejected of four instances that all fail, and how many are."""


def outlier(percent: int, ejection: Wire, errors: int = 2) -> Wire:
    """Outlier detection."""
    return {
        "interval": BRIEFLY,
        "baseEjectionDuration": ejection,
        "maxEjectionPercent": percent,
        "maxServerErrors": errors,
    }


def check(protocol: str, **more: Any) -> Wire:
    """A health check that comes once while a test runs, and fails after two seconds without an answer."""
    counts = {"healthyThreshold": 2, "unhealthyThreshold": 2, "intervalMillis": 60_000, "timeoutMillis": 2_000}
    return {"protocol": protocol, **counts, **more}


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    """The mesh of all nodes; their services have their names."""
    made = Mesh()
    for name, (percent, _) in SHARES.items():
        made.node(name, instances=4, outlierDetection=outlier(percent, LONG))
    made.node("returning", instances=2, outlierDetection=outlier(50, {"unit": "ms", "value": int(BASE * 1000)}))
    made.node("alone", outlierDetection=outlier(10, LONG))
    made.node("streams", "http2", instances=2, outlierDetection=outlier(50, LONG))
    for name in (*SHARES, "returning", "alone"):
        made.service(f"{name}.local", http_route((name, 1), retryPolicy=NEVER))
    streams = http_route(("streams", 1), retryPolicy=NEVER)["httpRoute"]
    made.service("streams.local", {"http2Route": streams}, protocol="http2")
    made.node("raw", "tcp", instances=2, outlierDetection=outlier(50, LONG))
    weighted = {"weightedTargets": [{"virtualNode": "raw", "weight": 1}]}
    made.service("raw.local", {"tcpRoute": {"action": weighted}}, protocol="tcp", port=free_port())
    services = [one.key.name for one in made.resources if one.key.kind is Kind.VIRTUAL_SERVICE]
    backends = [{"virtualService": {"virtualServiceName": one}} for one in services]
    made.add(Kind.VIRTUAL_NODE, "caller", {"backends": backends})
    return made


@pytest.fixture(scope="module")
def ask(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The caller's running Envoy."""
    with mesh.envoy(CALLER, tmp_path_factory.mktemp("health")) as asked:
        yield asked


@pytest.mark.parametrize("name", [*SHARES])
async def test_no_more_instances_are_ejected_than_the_share_that_may_be(
    mesh: Mesh, ask: Callable[[str], str], name: str
) -> None:
    """One always, as App Mesh says, although a tenth of four is none; the rest are called although they fail."""
    _, most = SHARES[name]
    async with contextlib.AsyncExitStack() as stack:
        for number in range(1, 5):
            at = (mesh.hosts[f"{name}-{number}"], mesh.port)
            await stack.enter_async_context(answering(*at, str(number), (500,)))
        for _ in range(40):
            await fetch(mesh.place.egress, mesh.port, "/", f"{name}.local")
        assert _counter(ask, f"cds_egress_m_{name}_http_{mesh.port}.outlier_detection.ejections_active") == most
        # When all of them are ejected Envoy panics, and calls them all rather than none.
        await until(lambda: _called(mesh, name, 4 if most == 4 else 4 - most))


async def test_the_only_instance_is_called_although_it_is_ejected(mesh: Mesh, ask: Callable[[str], str]) -> None:
    """As by a name that stands for a load balancer: rather its errors than none of its answers."""
    async with answering(mesh.hosts["alone"], mesh.port, "alone", (500,)) as asked:
        answers = [await fetch(mesh.place.egress, mesh.port, "/", "alone.local") for _ in range(20)]
    assert _counter(ask, f"cds_egress_m_alone_http_{mesh.port}.outlier_detection.ejections_active") == 1
    assert (set(answers), len(asked)) == ({(500, "alone")}, 20)


async def test_an_ejection_lasts_as_long_as_it_should_and_ends(mesh: Mesh, ask: Callable[[str], str]) -> None:
    """Meanwhile the other instance answers all; then both do."""
    active = f"cds_egress_m_returning_http_{mesh.port}.outlier_detection.ejections_active"
    async with (
        answering(mesh.hosts["returning-1"], mesh.port, "good"),
        answering(mesh.hosts["returning-2"], mesh.port, "bad", (500, 500, 200)),
    ):
        while not _counter(ask, active):
            await fetch(mesh.place.egress, mesh.port, "/", "returning.local")
        start = time.monotonic()
        await until(lambda: _called(mesh, "returning", 1))
        await until(lambda: not _counter(ask, active))
        # Only a lower bound holds on a busy machine, and the counter is asked for a moment after the ejection.
        assert time.monotonic() - start > BASE * 0.7
        await until(lambda: _called(mesh, "returning", 2))


async def test_streams_of_http_2_that_fail_eject_their_instance(mesh: Mesh, ask: Callable[[str], str]) -> None:
    """What counts is the status, whatever carries it."""
    asked: list[str] = []

    async def fail(request: Request, _: str) -> Reply:
        asked.append(request.path)
        return Reply(node="bad", status=500)

    good, bad = mesh.hosts["streams-1"], mesh.hosts["streams-2"]
    async with speaking("http2", good, mesh.port, named("good")), speaking("http2", bad, mesh.port, fail):
        request = Request(authority="streams.local")
        replies = [await CALLS["http2"](mesh.place.egress, mesh.port, request) for _ in range(30)]
    assert len(asked) == 2
    assert Counter(one.node for one in replies) == {"good": 28, "bad": 2}
    assert _counter(ask, f"cds_egress_m_streams_http2_{mesh.port}.outlier_detection.ejections_active") == 1


async def test_an_instance_that_takes_no_connection_is_ejected(mesh: Mesh, ask: Callable[[str], str]) -> None:
    """Over TCP a refused connection is the error that counts; afterwards none is lost."""
    port = _port(mesh, "raw.local")
    request = Request(authority="raw.local")
    ejected = f"cds_egress_m_raw_tcp_{mesh.port}.outlier_detection.ejections_active"
    async with speaking("tcp", mesh.hosts["raw-1"], mesh.port, named("good")):
        lost = 0
        while not _counter(ask, ejected):
            lost += (await CALLS["tcp"](mesh.place.egress, port, request)).node == ""
        replies: list[Reply] = []

        async def settled() -> bool:
            replies[:] = [await CALLS["tcp"](mesh.place.egress, port, request) for _ in range(10)]
            return {one.node for one in replies} == {"good"}

        await until(settled)
    assert lost >= 1


def _port(mesh: Mesh, router: str) -> int:
    """Where a service is called."""
    spec = next(one.spec for one in mesh.resources if one.key == Key(MESH, Kind.VIRTUAL_ROUTER, router))
    assert isinstance(spec, VirtualRouterSpec)
    return spec.listeners[0].port_mapping.port if spec.listeners else 0


async def _called(mesh: Mesh, name: str, count: int) -> bool:
    """Whether so many instances are called: Envoy heeds what it ejects at once, or with the rest of a second's."""
    answers = {await fetch(mesh.place.egress, mesh.port, "/", f"{name}.local") for _ in range(12)}
    return len(answers) == count


def _counter(ask: Callable[[str], str], name: str) -> int:
    return int(ask(f"/stats?filter=^cluster.{name}$").partition(": ")[2] or 0)


SLOW = 4.0
"""Seconds after which an answer to a check below comes: twice what its definition allows."""


async def test_an_instance_whose_answers_to_checks_come_too_late_gets_no_request(tmp_path: Path) -> None:
    """Over HTTP/2, at the path that the definition names, and not before the timeout that it names."""
    made = Mesh()
    made.node("checked", "http2", instances=2, healthCheck=check("http2", path="/ping"))
    route = http_route(("checked", 1), retryPolicy=NEVER)["httpRoute"]
    made.service("checked.local", {"http2Route": route}, protocol="http2")
    made.add(Kind.VIRTUAL_NODE, "caller", {"backends": [{"virtualService": {"virtualServiceName": "checked.local"}}]})
    checks: list[Request] = []

    async def delayed(request: Request, protocol: str) -> Reply:
        checks.append(request)
        return await named("late", SLOW)(request, protocol)

    cluster = f"cds_egress_m_checked_http2_{made.port}"
    async with (
        speaking("http2", made.hosts["checked-1"], made.port, named("good")),
        speaking("http2", made.hosts["checked-2"], made.port, delayed),
    ):
        with contextlib.ExitStack() as stack:
            ask = await asyncio.to_thread(stack.enter_context, made.envoy(CALLER, tmp_path))
            await until(lambda: _counter(ask, f"{cluster}.health_check.failure") == 1)
            assert _counter(ask, f"{cluster}.membership_healthy") == 1
            replies = [
                await CALLS["http2"](made.place.egress, made.port, Request(authority="checked.local"))
                for _ in range(20)
            ]
    assert {(one.status, one.node) for one in replies} == {(200, "good")}
    assert [(one.path, one.authority) for one in checks] == [("/ping", f"checked.n:{made.port}")]


@pytest.mark.timeout(200)
@pytest.mark.skipif(
    not PROVE, reason="a minute for the second of six checks, five seconds for each other: make prove"
)
async def test_an_instance_is_given_up_and_taken_back_after_as_many_checks_as_defined(tmp_path: Path) -> None:
    """Three that fail in a row, then two that succeed: App Mesh's thresholds."""
    made = Mesh()
    counts = {"healthyThreshold": 2, "unhealthyThreshold": 3, "intervalMillis": 5_000, "timeoutMillis": 2_000}
    made.node("checked", instances=2, healthCheck={"protocol": "http", "path": "/ping", **counts})
    made.service("checked.local", http_route(("checked", 1)))
    made.add(Kind.VIRTUAL_NODE, "caller", {"backends": [{"virtualService": {"virtualServiceName": "checked.local"}}]})
    healthy = f"cds_egress_m_checked_http_{made.port}.membership_healthy"
    ill = [200, 500, 500, 500, 200, 200]
    checks: list[Message] = []

    def say(asked: Message) -> Message:
        if asked.path != "/ping":
            return plain("")
        checks.append(asked)
        return plain("", ill[min(len(checks), len(ill)) - 1])

    async with (
        answering(made.hosts["checked-1"], made.port, "good"),
        application(made.hosts["checked-2"], made.port, say),
    ):
        with contextlib.ExitStack() as stack:
            ask = await asyncio.to_thread(stack.enter_context, made.envoy(CALLER, tmp_path))
            seen: dict[int, int] = {}
            for number in range(1, len(ill) + 1):
                # Envoy looks at what nobody called yet once a minute; after the first call below, as defined.
                await until(lambda number=number: len(checks) >= number, seconds=80)
                await asyncio.sleep(1)  # by then the answer counts, and no other comes for five seconds
                seen[number] = _counter(ask, healthy)
                if number == 1:
                    await fetch(made.place.egress, made.port, "/", "checked.local")
    assert seen == {1: 2, 2: 2, 3: 2, 4: 1, 5: 1, 6: 2}


@pytest.mark.timeout(200)
@pytest.mark.skipif(not PROVE, reason="a minute until the second check: make prove")
async def test_an_instance_that_is_ejected_stays_so_although_it_passes_its_checks(tmp_path: Path) -> None:
    """What errs is not well because it answers `/ping`: the ejection lasts its time, as App Mesh says."""
    made = Mesh()
    counts = {"healthyThreshold": 2, "unhealthyThreshold": 2, "intervalMillis": 5_000, "timeoutMillis": 2_000}
    checked = {"protocol": "http", "path": "/ping", **counts}
    made.node("checked", instances=2, healthCheck=checked, outlierDetection=outlier(50, LONG))
    made.service("checked.local", http_route(("checked", 1), retryPolicy=NEVER))
    made.add(Kind.VIRTUAL_NODE, "caller", {"backends": [{"virtualService": {"virtualServiceName": "checked.local"}}]})
    checks: list[Message] = []

    def say(asked: Message) -> Message:
        if asked.path == "/ping":
            checks.append(asked)
            return plain("")
        return plain("ill", 500)

    ejected = f"cds_egress_m_checked_http_{made.port}.outlier_detection.ejections_active"
    async with (
        answering(made.hosts["checked-1"], made.port, "good"),
        application(made.hosts["checked-2"], made.port, say),
    ):
        with contextlib.ExitStack() as stack:
            ask = await asyncio.to_thread(stack.enter_context, made.envoy(CALLER, tmp_path))
            while not _counter(ask, ejected):
                await fetch(made.place.egress, made.port, "/", "checked.local")
            before = len(checks)
            await until(lambda: len(checks) >= before + 2, seconds=80)
            await asyncio.sleep(1)  # by then the answer to the second check counts
            assert _counter(ask, ejected) == 1
