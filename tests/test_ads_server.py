"""The ADS server against real Envoys, hostile clients and its own restart."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import socket
import time
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from ads_client import AdsClient
from envoys import envoy, fetch, until, upstream
from handmade import NODE, cluster, endpoints, listener, plain, route
from meshwright.ads.server import AdsServer
from meshwright.ads.wire import identify, node_in
from meshwright.control import Delivery
from meshwright.errors import UsageError
from meshwright.model.identity import Key, Kind
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE, EnvoyResource, Loopback, Redirect
from processes import DEADLINE, fresh_address
from settings import examples
from stage import Everybody, Stage, staged, told

PORT = 8080


def shop(host: str, one: int, two: int, routes: EnvoyResource) -> tuple[EnvoyResource, ...]:
    """Two clusters and a listener with `routes`."""
    made = (cluster("a"), cluster("b"), endpoints("a", one), endpoints("b", two))
    return (*made, listener("web", host, PORT, "r"), routes)


@pytest.mark.envoy
@pytest.mark.parametrize("delta", [True, False])
async def test_a_real_envoy_serves_flips_refuses_and_recovers(tmp_path: Path, delta: bool) -> None:
    """The whole life of a route on one Envoy: taken, changed, refused with last good serving, mended."""
    host = fresh_address()

    async def said() -> str:
        return (await fetch(host, PORT))[1]

    async def serves_one() -> bool:
        return await said() == "one"

    async with (
        upstream("one") as one,
        upstream("two") as two,
        staged(*shop(host, one, two, route("r", "a"))) as stage,
        envoy(tmp_path, NODE, stage.port, delta=delta) as running,
    ):
        await until(serves_one, str(running.log))
        assert (await stage.control.wait(1, DEADLINE)).state == "propagated"
        flipped = stage.publish(*shop(host, one, two, route("r", "b")))
        assert (await stage.control.wait(flipped, DEADLINE)).state == "propagated"
        assert await said() == "two"

        refused = stage.publish(*shop(host, one, two, route("r", "a", regex="[bad")))
        found = await stage.control.wait(refused, DEADLINE)
        assert found.state == "rejected"
        (rejection,) = found.rejected[0].rejections
        assert (rejection.type_url, rejection.resources) == (ROUTE, ("r",))
        assert (rejection.message, rejection.revision) == ("missing ]: [bad", refused)
        assert [key.path for key in rejection.origins] == ["mesh/shop/virtualRouter/web/route/a"]
        assert await said() == "two"

        mended = stage.publish(*shop(host, one, two, route("r", "a")))
        assert (await stage.control.wait(mended, DEADLINE)).state == "propagated"
        assert await said() == "one"
        (status,) = stage.control.statuses()
        assert (status.state, status.acked_revision, status.rejections) == ("synced", mended, ())
        assert status.envoy_version.count(".") == 2


@pytest.mark.envoy
@pytest.mark.parametrize("delta", [True, False])
async def test_clusters_change_and_move_without_a_failed_request(tmp_path: Path, delta: bool) -> None:
    """Make before break on a real Envoy: a cluster is changed, then replaced, under requests."""
    host = fresh_address()
    answers: list[tuple[int, str]] = []

    async def ask() -> None:
        while True:
            answers.append(await fetch(host, PORT))

    async with (
        upstream("one") as one,
        upstream("two") as two,
        staged(*shop(host, one, two, route("r", "a"))) as stage,
        envoy(tmp_path, NODE, stage.port, delta=delta) as running,
    ):
        await until(lambda: _status(host), str(running.log))
        asking = asyncio.create_task(ask())
        web = listener("web", host, PORT, "r")
        for number in range(8):
            name = f"c{number}"
            port = one if number % 2 else two
            revision = stage.publish(cluster(name, 1 + number), endpoints(name, port), web, route("r", name))
            assert (await stage.control.wait(revision, DEADLINE)).state == "propagated"
            revision = stage.publish(cluster(name, 2.5), endpoints(name, port), web, route("r", name))
            assert (await stage.control.wait(revision, DEADLINE)).state == "propagated"
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        clusters = (await running.ask("/clusters")).splitlines()
    assert len(answers) > 8
    assert {status for status, _ in answers} == {200}
    assert {word for _, word in answers} == {"one", "two"}
    assert {line.partition("::")[0] for line in clusters} == {"c7", "meshwright_xds"}


@pytest.mark.envoy
@pytest.mark.parametrize("delta", [True, False])
async def test_a_restart_of_the_server_loses_no_request_and_sends_nothing_again(tmp_path: Path, delta: bool) -> None:
    """Envoy keeps serving, comes back, and is told only what is new."""
    host = fresh_address()
    async with (
        upstream("one") as one,
        upstream("two") as two,
        staged(*shop(host, one, two, route("r", "a"))) as stage,
        envoy(tmp_path, NODE, stage.port, delta=delta) as running,
    ):
        await until(lambda: _status(host), str(running.log))
        await stage.control.wait(1, DEADLINE)
        taken = await _successes(running)
        await stage.server.stop()
        assert stage.control.statuses() == ()
        assert [await _status(host) for _ in range(5)] == [True] * 5
        stage.server = AdsServer(stage.control, Everybody())
        await stage.server.start("127.0.0.1", stage.port)
        await until(lambda: stage.server.streams == 1)
        assert (await stage.control.wait(1, DEADLINE)).state == "propagated"
        assert await _status(host)
        assert await _successes(running) == taken

        revision = stage.publish(*shop(host, one, two, route("r", "b")))
        assert (await stage.control.wait(revision, DEADLINE)).state == "propagated"
        assert (await fetch(host, PORT))[1] == "two"
        now = await _successes(running)
        assert {name for name in now if now[name] != taken[name]} == {"http.web.rds.r.update_success"}


async def _status(host: str) -> bool:
    return (await fetch(host, PORT))[0] == 200


async def _successes(running: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for prefix in ("cluster_manager.cds", "listener_manager.lds", "cluster.[ab]", "http.web.rds.r"):
        stats = await running.stats(prefix)
        found |= {name: value for name, value in stats.items() if name.endswith("update_success")}
    return found


REFUSALS = [
    ({}, "no node id"),
    ({"id": "web"}, "'web' names no App Mesh resource"),
    ({"id": "mesh/shop/virtualRouter/web"}, "is a VirtualRouter"),
    ({"id": "mesh/shop/virtualNode/wbe"}, "there is no VirtualNode 'mesh/shop/virtualNode/wbe'"),
    ({"id": NODE.path, "metadata": {"meshwright": "x"}}, "must be an object"),
    ({"id": NODE.path, "metadata": {"meshwright": {"placement": {"ingress": "127.0.0.2"}}}}, "must hold the addr"),
    ({"id": NODE.path, "metadata": {"meshwright": {"placement": dict.fromkeys(("application", "ingress", "egress"),
      "10.0.0.1")}}}, "'10.0.0.1'; loopback placement listens only on addresses of 127.0.0.0/8"),
    ({"id": "mesh/shop/virtualNode/" + "x" * 100_000}, "there is no VirtualNode 'mesh/shop/virtualNode/xxx"),
    ({"id": NODE.path, "metadata": {"meshwright": {"instance": "x" * 256}}}, "a text of up to 255 characters"),
    ({"id": NODE.path, "metadata": {"meshwright": {"instance": {"a": 1}}}}, "instance is {'a': 1.0}"),
    ({"id": NODE.path, "metadata": {"meshwright": {"instance": float("nan")}}}, "node.metadata.meshwright cannot be"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "words"), REFUSALS)
async def test_an_envoy_that_cannot_be_served_is_told_why(node: dict[str, Any], words: str) -> None:
    """Status 3, as App Mesh answered, with a message that names the thing."""
    async with staged() as stage, AdsClient(f"127.0.0.1:{stage.port}", node, delta=True) as client:
        await client.say(CLUSTER)
        assert await client.call.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert words in await client.call.details()
        assert stage.control.statuses() == ()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (NODE.path, Redirect()),
        ("arn:aws:appmesh:us-east-1:123456789012:mesh/shop@210987654321/virtualNode/web", Redirect()),
        (NODE.path, Loopback(application="127.0.1.1", ingress="127.0.1.2", egress="127.0.1.3")),
    ],
)
async def test_an_envoy_is_known_by_its_arn_or_path_and_its_placement(said: str, expected: Any) -> None:
    """Both forms of `node.id`, and both placements."""
    ours: dict[str, Any] = {"instance": "task-1"}
    if isinstance(expected, Loopback):
        ours["placement"] = {name: getattr(expected, name) for name in ("application", "ingress", "egress")}
    node = {"id": said, "metadata": {"meshwright": ours}}
    async with staged(plain(CLUSTER, "a")) as stage, AdsClient(f"127.0.0.1:{stage.port}", node, delta=True) as client:
        await client.say(CLUSTER)
        await client.hear()
        (status,) = stage.control.statuses()
        assert (status.id, status.node) == (f"{NODE.path}@task-1", NODE)
        assert status.placement == ("loopback" if isinstance(expected, Loopback) else "redirect")


async def test_bytes_that_are_no_message_end_the_stream_with_a_reason() -> None:
    """Nothing of a hostile stream is guessed at."""
    async with staged() as stage, grpc.aio.insecure_channel(f"127.0.0.1:{stage.port}") as channel:
        method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
        open_stream: Any = channel.stream_stream(method, request_serializer=None, response_deserializer=None)
        call = open_stream()
        await call.write(b"\xff\xff\xff")
        assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "3 bytes that are no request with a node" in await call.details()


async def test_a_flood_of_types_ends_the_stream() -> None:
    """What a stream may cost is bounded."""
    async with staged() as stage, stage.client(delta=True) as client:
        for number in range(33):
            await client.say(f"type.googleapis.com/t{number}")
        assert await client.call.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_metadata_that_are_not_ours_harm_nobody() -> None:
    """Whatever they hold: JSON could not say this one."""
    node = {"id": NODE.path, "metadata": {"theirs": float("nan")}}
    async with staged(plain(CLUSTER, "a")) as stage, AdsClient(f"127.0.0.1:{stage.port}", node, delta=True) as client:
        await client.say(CLUSTER)
        assert len((await client.hear()).resources) == 1


@pytest.mark.parametrize("claimed", [False, True])
async def test_a_flood_of_names_ends_the_stream(claimed: bool) -> None:
    """Subscribed to, a few at a time, or claimed to be there: what a stream may cost is bounded."""
    async with staged() as stage, stage.client(delta=True) as client:
        names = [[f"{part}-{number}" for number in range(30_000)] for part in range(4)]
        if claimed:
            await client.say(CLUSTER, initial_resource_versions={name: "1" for part in names for name in part})
        else:
            for part in names:
                await client.say(ROUTE, resource_names_subscribe=part)
            await client.hear()
        assert await client.call.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "100000 names" in await client.call.details()


async def test_a_long_refusal_is_kept_in_part() -> None:
    """A client decides neither how much the server remembers nor how much it logs."""
    async with staged(plain(CLUSTER, "a")) as stage, stage.client(delta=True) as client:
        await client.say(CLUSTER)
        await client.nack(await client.hear(), "no" * 1_000_000)
        assert (await stage.control.wait(1, DEADLINE)).state == "rejected"
        (status,) = stage.control.statuses()
        assert len(status.rejections[0].message) == 16_384


async def test_it_listens_on_an_address_of_ipv6() -> None:
    """The address is written in brackets where a port follows."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    stage = Stage()
    stage.publish(plain(CLUSTER, "a"))
    port = await stage.server.start("::1", 0)
    async with AdsClient(f"[::1]:{port}", {"id": NODE.path}, delta=True) as client:
        await client.say(CLUSTER)
        assert len((await client.hear()).resources) == 1
    await stage.server.stop()


EACH = pytest.mark.parametrize(
    ("delta", "only"),
    list(itertools.product([True, False], ["", CLUSTER])),
    ids=["incremental-aggregated", "incremental-own", "state-aggregated", "state-own"],
)
"""Both protocols, over the aggregated service and at that of clusters."""


@EACH
async def test_a_slow_reader_holds_one_response_and_then_gets_the_newest(*, delta: bool, only: str) -> None:
    """However often the mesh changes meanwhile."""
    async with staged(plain(CLUSTER, "a")) as stage, stage.client(delta=delta, only=only) as client:
        await client.say(CLUSTER)
        first = await client.hear()
        for number in range(2, 102):
            stage.publish(plain(CLUSTER, "a", str(number)))
        await client.ack(first)
        newest = await client.hear()
        assert (told(newest), newest.nonce) == ({"a": "101"}, "2")
        await client.ack(newest)
        assert (await stage.control.wait(101, DEADLINE)).state == "propagated"


@EACH
@pytest.mark.parametrize("acks", [False, True])
async def test_a_client_that_never_reads_costs_one_response_and_slows_nobody(
    acks: bool, *, delta: bool, only: str
) -> None:
    """A thousand changes later it holds no more memory than after the first, even if it acks what it never saw."""

    def large(number: int) -> EnvoyResource:
        body = f"{number} ".encode() + b"x" * 300_000
        return EnvoyResource(type_url=CLUSTER, name="a", version=str(number), body=body, origins=())

    def number_of(found: Any) -> int:
        return int((found.resource if delta else found).value.split()[0])

    async with (
        staged(large(1)) as stage,
        stage.client(delta=delta, only=only, instance="stuck") as stuck,
        stage.client(delta=delta, only=only) as quick,
    ):
        await stuck.say(CLUSTER)
        await quick.say(CLUSTER)
        await quick.ack(await quick.hear())
        before = 0
        for number in range(2, 1 + examples(200)):
            if number == 50:
                before = _resident()
            stage.publish(large(number))
            newest = await quick.hear()
            assert [number_of(one) for one in newest.resources] == [number]
            await quick.ack(newest)
            if acks:
                await stuck.say(CLUSTER, response_nonce=str(number - 1))
        assert _resident() - before < 30_000_000, "less than a hundred of the responses"


def _resident() -> int:
    """Resident memory of this process, the server's too, in bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@EACH
async def test_what_was_refused_is_offered_again_after_a_while_and_not_before(*, delta: bool, only: str) -> None:
    """No resend storm, and no end either: what Envoy could not do then it may do now. Until it does, it says no."""
    async with (
        staged(plain(CLUSTER, "a"), retry=0.3) as stage,
        stage.client(delta=delta, only=only) as client,
    ):
        await client.say(CLUSTER)
        first = await client.hear()
        refused_at = asyncio.get_running_loop().time()
        await client.nack(first, "a: address in use")
        again = await client.hear()
        assert asyncio.get_running_loop().time() - refused_at >= 0.3
        assert (told(again), again.nonce != first.nonce) == ({"a": "1"}, True)
        (status,) = stage.control.statuses()
        assert status.state == "rejected"
        await client.ack(again)
        await until(lambda: stage.control.statuses()[0].state == "synced")


async def test_of_many_that_connect_at_once_each_has_its_turn() -> None:
    """What is built for one keeps the event loop for milliseconds; whoever else is served has a turn in between.

    However many the machine lets arrive in one turn, no two are built for in the same.
    """
    nodes = tuple(Key("shop", Kind.VIRTUAL_NODE, f"n{number}") for number in range(40))
    turns: list[int] = []

    async with staged(plain(CLUSTER, "a"), nodes=nodes) as stage:
        turn = 0

        async def count() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        def build() -> None:
            time.sleep(0.005)  # meanwhile all others arrive
            turns.append(turn)

        stage.built = build
        counting = asyncio.create_task(count())
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(stage.client(delta=True, node=node)) for node in nodes]
            await asyncio.gather(*(client.say(CLUSTER) for client in clients))
            heard = await asyncio.gather(*(client.hear() for client in clients))
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)
    assert all(len(response.resources) == 1 for response in heard)
    assert len(set(turns)) == len(nodes)


async def test_more_streams_at_once_than_grpc_lets_wait_are_all_served() -> None:
    """By its own default gRPC cancels calls when a thousand wait to be taken on; the rest would never get in."""
    request = message("envoy.service.discovery.v3.DeltaDiscoveryRequest")
    async with (
        staged(plain(CLUSTER, "a")) as stage,
        grpc.aio.insecure_channel(f"127.0.0.1:{stage.port}") as channel,
    ):
        opened: Any = cast("Any", channel).stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
        )

        async def served(number: int) -> tuple[Any, object]:
            node = {"id": NODE.path, "metadata": {"meshwright": {"instance": str(number)}}}
            call = opened()
            await call.write(request(type_url=CLUSTER, node=node).SerializeToString())
            return call, await call.read()

        async with asyncio.timeout(120):
            heard = await asyncio.gather(*(served(number) for number in range(1_500)))
        assert all(isinstance(said, bytes) for _, said in heard)
        assert len(stage.control.statuses()) == len(heard)


class _Answers:
    """Counts what proxies answered; `next` waits for another answer."""

    def __init__(self) -> None:
        self._answered = asyncio.Event()

    def stream_refused(self, reason: str) -> None:
        """No call is."""
        raise AssertionError(reason)

    def sent(self, type_url: str, resources: int) -> None:
        """What goes out is no answer."""

    def acked(self, type_url: str, *, accepted: bool) -> None:  # noqa: ARG002 - what counts is that there is one
        """An answer was taken in."""
        self._answered.set()

    async def next(self) -> None:
        """Wait for an answer."""
        async with asyncio.timeout(30):
            await self._answered.wait()
        self._answered.clear()


@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize("refusal", ["", "a: no such thing"])
async def test_what_a_slow_reader_says_of_an_older_snapshot_does_not_count_for_the_newest(
    refusal: str, *, delta: bool
) -> None:
    """While the server cannot write to it, the newest snapshot waits; an answer to what came before is none to it."""
    answers = _Answers()
    async with staged(plain(CLUSTER, "a")) as stage:
        server = AdsServer(stage.control, Everybody(), counts=answers)
        stage.port = await server.start("127.0.0.1", 0)
        async with stage.client(delta=delta) as client:
            await client.say(CLUSTER)
            await client.ack(await client.hear())
            await answers.next()
            large = EnvoyResource(type_url=CLUSTER, name="a", version="2", body=b"x" * 16_000_000, origins=())
            stage.publish(large)
            await until(lambda: _sent(stage, "2"))
            newest = stage.publish(plain(CLUSTER, "a", "3"))
            error = {"error_detail": {"message": refusal}} if refusal else {}
            await client.say(CLUSTER, response_nonce="2", **error)
            await answers.next()
            assert stage.control.propagation(newest).state == "pending"
            assert [one.state for one in stage.control.statuses()] == ["pending"]
            await client.hear()
            last = await client.hear()
            assert last.nonce == "3"
            await client.ack(last)
            assert (await stage.control.wait(newest, DEADLINE)).state == "propagated"
        await server.stop()


def _sent(stage: Stage, version: str) -> bool:
    """Whether the newest version is on its way to the one proxy."""
    delivery = stage.control.delivery(f"{NODE.path}@one")
    assert delivery is not None
    (held,) = delivery.held()
    return held.state == "stale" and held.resource is not None and held.resource.version == version


async def test_a_newer_stream_of_the_same_instance_takes_the_place_of_the_older() -> None:
    """A half-dead connection does not keep a release waiting."""
    async with staged(plain(CLUSTER, "a")) as stage, stage.client(delta=True) as old, stage.client(delta=True) as new:
        await old.say(CLUSTER)
        await old.hear()
        await new.say(CLUSTER)
        await new.ack(await new.hear())
        assert await old.call.code() == grpc.StatusCode.OK
        assert (await stage.control.wait(1, DEADLINE)).acked == (f"{NODE.path}@one",)
        assert len(stage.control.statuses()) == 1


async def test_a_client_that_comes_and_goes_leaves_nothing_behind() -> None:
    """Streams, deliveries and snapshots end with the connection."""
    async with staged(plain(CLUSTER, "a"), plain(LISTENER, "b")) as stage:
        for number in range(examples(50)):
            async with stage.client(delta=bool(number % 2), instance=str(number)) as client:
                await client.say(CLUSTER)
                await client.hear()
        await until(lambda: stage.server.streams == 0)
        assert stage.control.statuses() == ()
        gc.collect()
        assert [one for one in gc.get_objects() if isinstance(one, Delivery)] == []


async def test_stopping_ends_the_streams_in_good_order() -> None:
    """Status OK, which Envoy takes as a sign to connect again."""
    async with staged(plain(CLUSTER, "a")) as stage, stage.client(delta=True) as client:
        await client.say(CLUSTER)
        await client.hear()
        await stage.server.stop(grace=5)
        assert await client.call.code() == grpc.StatusCode.OK


async def test_a_port_in_use_is_one_clear_message() -> None:
    """Two servers never share a port by accident."""
    async with staged() as stage:
        other = AdsServer(Stage().control, Everybody())
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{stage.port} for xDS"):
            await other.start("127.0.0.1", stage.port)
        await other.stop()


async def test_what_a_proxy_says_of_itself_is_bounded() -> None:
    """One that says megabytes is refused with a reason; of Envoy's 500 extensions nothing is kept."""
    async with staged(plain(CLUSTER, "a")) as stage, stage.client(delta=True) as client:
        request = message("envoy.service.discovery.v3.DeltaDiscoveryRequest")(type_url=CLUSTER)
        request.node.id, request.node.cluster = NODE.path, "c" * 2_000_000
        await client.call.write(request)
        assert await client.call.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "a node of 2000" in await client.call.details()
    said = message("envoy.config.core.v3.Node")(id=NODE.path, user_agent_version="1" * 1000)
    said.metadata.update({"meshwright": {"instance": "one"}})
    short = node_in(message("envoy.service.discovery.v3.DeltaDiscoveryRequest")(node=said).SerializeToString(), 1)
    for number in range(500):
        said.extensions.add(name=f"envoy.filters.http.{number}", category="envoy.filters.http")
    found = node_in(message("envoy.service.discovery.v3.DeltaDiscoveryRequest")(node=said).SerializeToString(), 1)
    assert found == short
    assert identify(found, "peer") == identify(short, "peer")
    assert identify(found, "peer").envoy_version == "1" * 255
