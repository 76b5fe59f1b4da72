"""Endpoints from AWS Cloud Map: moto's server, asked by a real control plane through boto3."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from cloud_map import Moto, moto
from envoys import until
from live import Live, live
from meshwright.discovery.instances import Instance, Query, Service, read
from meshwright.release import ApplyRequest, Item
from meshwright.snapshot.resources import CLUSTER, ENDPOINT
from processes import DEADLINE
from registering import (
    CALLER,
    CLUSTER_NAME,
    PAY,
    PORT,
    Application,
    Place,
    addresses,
    calling,
    client,
    heard,
    proxy,
    rows,
    serving,
    shop,
    somewhere,
    states,
    taken,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = [pytest.mark.timeout(300)]  # the first of them installs moto

FAST = ("--cloud-map", "--cloud-map-interval", "0.2")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """A Cloud Map for all tests here: it takes seconds to start."""
    with moto(tmp_path_factory.mktemp("moto")) as found:
        yield found


@pytest.fixture
def aws(running: Moto, monkeypatch: pytest.MonkeyPatch) -> Moto:
    """An empty Cloud Map, to which AWS's settings lead."""
    running.reset()
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    return running


async def test_instances_that_come_and_go_are_pushed_as_endpoints_alone(tmp_path: Path, aws: Moto) -> None:
    """With port and zone; one that is called unhealthy is left out while another is not."""
    pay = aws.service("pay")
    pay.register("one", "10.0.0.1", AWS_INSTANCE_PORT="8081", AVAILABILITY_ZONE="us-east-1a")
    with serving(tmp_path / "data", *FAST) as server:
        await until(states(server, "healthy"))
        found = client(server).endpoints("shop")
        assert found["faults"] == []
        assert [{**one} for one in found["endpoints"]] == [
            {
                "node": "mesh/shop/virtualNode/pay",
                "address": "10.0.0.1",
                "port": 8081,
                "zone": "us-east-1a",
                "source": "cloud-map",
                "name": "one",
                "state": "healthy",
            }
        ]
        async with calling(server, "10.0.0.1") as caller:
            await asyncio.to_thread(pay.register, "two", "10.0.0.2")
            assert addresses(await heard(caller, ENDPOINT)) == {"10.0.0.1", "10.0.0.2"}
            await asyncio.to_thread(pay.health, "one", "UNHEALTHY")
            assert addresses(await heard(caller, ENDPOINT)) == {"10.0.0.2"}
            await asyncio.to_thread(pay.health, "one", "HEALTHY")
            assert addresses(await heard(caller, ENDPOINT)) == {"10.0.0.1", "10.0.0.2"}
            await asyncio.to_thread(pay.deregister, "one")
            assert addresses(await heard(caller, ENDPOINT)) == {"10.0.0.2"}
            await asyncio.to_thread(pay.deregister, "two")
            assert addresses(await heard(caller, ENDPOINT)) == set()


async def test_the_revision_is_asked_for_more_often_than_the_instances(tmp_path: Path, aws: Moto) -> None:
    """Two nodes of one service share one watch, and each has the instances that carry all of its attributes."""
    pay = aws.service("pay")
    pay.register("one", "10.0.0.1", version="1", stage="prod")
    pay.register("two", "10.0.0.2", version="2", stage="prod")
    pay.register("six", "fd00::6", version="1", stage="prod")
    pay.register("not", "10.0.0.9", version="1", stage="test")

    def versioned(version: str, **more: str) -> dict[str, Any]:
        named = [{"key": "version", "value": version}, {"key": "stage", "value": "prod"}]
        asked = {"namespaceName": "shop.local", "serviceName": "pay", "attributes": named, **more}
        return {"awsCloudMap": asked}

    content = _with_another(shop(versioned("1")), versioned("2", ipPreference="IPv6_ONLY"))
    with live(tmp_path / "data", *FAST) as server:
        client(server).apply("shop", "shop", content)
        await until(lambda: len(rows(server)) == 2)
        assert [address for address, _, _ in rows(server)] == ["10.0.0.1", "fd00::6"]
        await until(lambda: calls(server).get(("revision", "ok"), 0) >= 12)
        asked = calls(server)
        assert asked["instances", "ok"] <= asked["revision", "ok"]  # two queries, every third look
        assert set(asked) == {("revision", "ok"), ("instances", "ok")}


def _with_another(content: ApplyRequest, discovery: dict[str, Any]) -> ApplyRequest:
    resources = content.resources or ()
    pay = next(one for one in resources if one.key == PAY)
    other = Item(key=replace(PAY, name="pay-2"), spec={**pay.spec, "serviceDiscovery": discovery})
    return replace(content, resources=(*resources, other))


def calls(server: Live) -> dict[tuple[str, str], float]:
    """How often Cloud Map was asked, by operation and result."""
    with urllib.request.urlopen(f"{server.api}/metrics", timeout=DEADLINE) as answer:  # noqa: S310 - our own server
        text = answer.read().decode()
    row = re.compile(r'meshwright_cloud_map_calls_total\{operation="(\w+)",result="(\w+)"\} (\S+)')
    return {(operation, result): float(value) for operation, result, value in row.findall(text)}


async def test_aws_that_is_away_changes_no_endpoint(tmp_path: Path, aws: Moto) -> None:
    """Nor does a control plane that is started meanwhile, nor one without the service; the fault is told."""
    aws.service("pay").register("one", "10.0.0.1")
    with serving(tmp_path / "data", *FAST) as server:
        await until(states(server, "healthy"))
        async with calling(server, "10.0.0.1"):
            aws.stop()
            await until(lambda: client(server).endpoints("shop")["faults"])
            assert rows(server) == [("10.0.0.1", "cloud-map", "healthy")]
            (told,) = client(server).status()["discovered"]
            assert told["fault"]["node"] == "mesh/shop/virtualNode/pay"
            assert "Could not connect" in told["fault"]["message"]
        server.end(signal.SIGKILL)
    with live(tmp_path / "data", *FAST) as server:
        async with calling(server, "10.0.0.1"):
            aws.start()  # and knows nothing any more
            await until(lambda: calls(server).get(("revision", "missing"), 0) >= 1)
            assert rows(server) == [("10.0.0.1", "cloud-map", "healthy")]
            aws.service("pay").register("two", "10.0.0.2")
            await until(lambda: rows(server) == [("10.0.0.2", "cloud-map", "healthy")])
            assert client(server).endpoints("shop")["faults"] == []


async def test_what_was_never_looked_up_is_not_told_as_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Envoy that has endpoints from before keeps them: what is found first is what is sent first."""
    with stand_in() as cloud:
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        cloud.broken = "ThrottlingException"
        with serving(tmp_path / "data", *FAST) as server:
            await until(lambda: calls(server).get(("revision", "throttled"), 0) >= 3)
            async with proxy(server, CALLER) as caller:
                await taken(caller, CLUSTER)
                await caller.say(ENDPOINT, resource_names_subscribe=[CLUSTER_NAME])
                response = await caller.hear()
                assert not response.resources
                await caller.ack(response)
                cloud.broken = ""
                assert addresses(await heard(caller, ENDPOINT)) == {"10.0.0.1"}
                await until(lambda: client(server).endpoints("shop")["faults"] == [])


async def test_a_cloud_map_that_knows_no_revisions_is_asked_for_instances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As older stand-ins and narrower policies have it: every look fetches."""
    with stand_in() as cloud:
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        cloud.revisions = False
        with serving(tmp_path / "data", *FAST) as server:
            await until(lambda: rows(server))
            async with calling(server, "10.0.0.1") as caller:
                cloud.address = "10.0.0.2"
                assert addresses(await heard(caller, ENDPOINT)) == {"10.0.0.2"}


@pytest.mark.envoy
async def test_real_envoys_follow_cloud_map(tmp_path: Path, aws: Moto) -> None:
    """Requests go to whoever is registered, on the port that is registered."""
    pay, one, two = aws.service("pay"), Application("one"), Application("two")
    with somewhere(tmp_path) as place, serving(tmp_path / "data", *FAST) as server:
        pay.register("one", place.of(1).application, AWS_INSTANCE_PORT=str(PORT + 1))
        async with (
            one.running(place.of(1).application, PORT + 1),
            two.running(place.of(2).application, PORT),
            place.caller(server),
        ):
            await until(lambda: _answers(place, "one"))
            await asyncio.to_thread(pay.register, "two", place.of(2).application)
            await asyncio.to_thread(pay.deregister, "one")
            await until(lambda: _answers(place, "two"))
            await until(lambda: len(rows(server)) == 1)


async def _answers(place: Place, word: str) -> bool:
    return {await place.ask() for _ in range(3)} == {(200, word)}


@pytest.mark.parametrize(
    ("preference", "address"),
    [
        (None, "10.0.0.1"),
        ("IPv4_PREFERRED", "10.0.0.1"),
        ("IPv6_PREFERRED", "fd00::1"),
        ("IPv4_ONLY", "10.0.0.1"),
        ("IPv6_ONLY", "fd00::1"),
    ],
)
def test_an_instance_with_two_addresses_is_reached_on_the_preferred_one(preference: str | None, address: str) -> None:
    """IPv4 first, unless the preference says IPv6."""
    found = Instance("a", "10.0.0.1", "fd00::1").endpoint(preference)
    assert found is not None
    assert found.address == address


def test_only_the_preferred_family_counts_where_it_is_the_only_one() -> None:
    """An instance without such an address is none; a mere preference takes the other."""
    four, six = Instance("a", ipv4="10.0.0.1"), Instance("a", ipv6="fd00::1")
    assert four.endpoint("IPv6_ONLY") is None
    assert six.endpoint("IPv4_ONLY") is None
    assert (six.endpoint("IPv4_PREFERRED"), four.endpoint("IPv6_PREFERRED")) == (
        six.endpoint(None),
        four.endpoint(None),
    )


def test_what_carries_no_address_or_not_every_attribute_is_no_instance() -> None:
    """Whatever Cloud Map answers; a port that is none is each listener's own."""
    query = Query(Service("ns", "s"), (("stage", "prod"),))
    answers: list[dict[str, Any]] = [
        {"InstanceId": "other", "Attributes": {"AWS_INSTANCE_IPV4": "10.0.0.1"}},
        {"InstanceId": "nowhere", "Attributes": {"stage": "prod", "AWS_INSTANCE_IPV4": "host"}},
        {
            "InstanceId": "here",
            "Attributes": {"stage": "prod", "AWS_INSTANCE_IPV4": "10.0.0.2", "AWS_INSTANCE_PORT": "x"},
        },
        {"InstanceId": "bare"},
    ]
    assert read(answers, query) == (Instance("here", "10.0.0.2"),)


class StandIn(ThreadingHTTPServer):
    """Cloud Map as moto cannot be: throttled, or without revisions. Two operations, recorded answers."""

    daemon_threads = True
    broken = ""
    revisions = True
    address = "10.0.0.1"

    @property
    def environment(self) -> dict[str, str]:
        """AWS's own settings that lead there."""
        return {
            "AWS_ENDPOINT_URL_SERVICEDISCOVERY": f"http://127.0.0.1:{self.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def answered(self, operation: str) -> tuple[int, dict[str, Any]]:
        """Status and body."""
        if self.broken:
            return 400, {"__type": self.broken, "message": "Rate exceeded"}
        if operation == "DiscoverInstancesRevision":
            known = {"InstancesRevision": 7}
            return (200, known) if self.revisions else (400, {"__type": "UnknownOperationException"})
        attributes = {"AWS_INSTANCE_IPV4": self.address}
        one = {"InstanceId": "one", "HealthStatus": "UNKNOWN", "Attributes": attributes}
        return 200, {"Instances": [one], "InstancesRevision": 7}


class _Answering(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        """Answer one call."""
        self.rfile.read(int(self.headers["content-length"]))
        status, body = self.server.answered(self.headers["x-amz-target"].rpartition(".")[2])
        sent = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def stand_in() -> Iterator[StandIn]:
    """A stand-in that serves until the block ends."""
    with StandIn(("127.0.0.1", 0), _Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
