"""Envoys that say they are the same one, as replicas do that share an environment: each is served, and told apart."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import time
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoys import Envoy, envoy, until
from handmade import NODE, cluster, endpoints, faults, plain
from meshwright.ads import twins
from meshwright.ads.server import AdsServer
from meshwright.ads.twins import APART_SECONDS, MOST_REPEATS, RETURN_SECONDS, Twins
from meshwright.discovery import Memory, Registrations, Registree
from meshwright.observe import Traffic
from meshwright.proxy.farewell import say_farewell
from meshwright.proxy.settings import Registered
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import CLUSTER
from meshwright.store import sqlite
from meshwright.views.releases import status_text
from processes import DEADLINE
from registering import CHECK, PAY, Application, Place, client, rows, serving, somewhere, states
from settings import PROVE
from stage import Everybody, Stage, staged
from test_hostile_reports import CALLEE, LOADS, Reports, histogram, said

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator
    from pathlib import Path

    from meshwright.store.sqlite import SqliteStore

ONE = f"{NODE.path}@one"


@contextlib.asynccontextmanager
async def replicas(folder: Path, number: int, xds: int | str, instance: str = "one") -> AsyncIterator[list[Envoy]]:
    """So many Envoys of one bootstrap."""
    async with contextlib.AsyncExitStack() as running:
        found = []
        for one in range(number):
            (folder / str(one)).mkdir()
            started = envoy(folder / str(one), NODE, xds, instance=instance)
            found.append(await running.enter_async_context(started))
        yield found


async def all_take(stage: Stage, number: int) -> set[str]:
    """The ids of so many Envoys, each of which takes one revision after the other without connecting again.

    Once they are told apart: until then one may be between two streams, and a release waits for nobody that is.
    """
    await until(lambda: stage.server.sharing == (number if number > 1 else 0))
    await until(lambda: len(stage.control.statuses()) == number)
    before = [(one.id, one.connected_at) for one in stage.control.statuses()]
    for value in range(1, 6):
        found = await stage.control.wait(stage.publish(faults(value)), DEADLINE)
        assert (found.state, len(found.acked)) == ("propagated", number)
    assert [(one.id, one.connected_at) for one in stage.control.statuses()] == before
    return {one for one, _ in before}


@pytest.mark.envoy
async def test_real_envoys_with_one_name_are_served_side_by_side(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each keeps its stream and takes every change, and counts for itself; the log says once what to do about it."""
    async with staged(faults(0)) as stage, replicas(tmp_path, 3, stage.port) as running:
        ids = await all_take(stage, 3)
        assert all(one.startswith(f"{ONE}+ipv4:127.0.0.1:") for one in ids)
        assert {one.shared_id for one in stage.control.statuses()} == {ONE}
        assert {one.id for one in stage.control.accounts(stage.control.revision)} == ids
        assert stage.server.sharing == 3
        (warning,) = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
        assert warning.startswith(f"several Envoys say that they are {ONE}: ")
        assert "Give each an instance of its own" in warning
        for one in running[1:]:
            one.process.kill()
        await until(lambda: len(stage.control.statuses()) == 1)
        assert stage.server.sharing == 0  # nobody else is there any more


@pytest.mark.envoy
@pytest.mark.parametrize("instance", ["one", ""])
async def test_real_envoys_that_share_a_unix_socket_are_served_side_by_side(tmp_path: Path, instance: str) -> None:
    """Where no address tells them apart, each has a number."""
    async with staged(faults(0)) as stage:
        path = tmp_path / "xds.sock"
        await stage.server.listen_for(NODE.path, path)
        async with replicas(tmp_path, 2, f"unix://{path}", instance):
            name = f"{NODE.path}@{instance or socket.gethostname()}"
            assert await all_take(stage, 2) == {f"{name}#1", f"{name}#2"}


@pytest.mark.envoy
async def test_reports_of_replicas_that_have_numbers_are_counted_together(tmp_path: Path) -> None:
    """Loads and times: nothing tells of which replica a stream is, and all of them call the same nodes."""
    traffic, path = Traffic(time.time_ns() // 1_000_000), tmp_path / "xds.sock"
    cart = msgspec.structs.replace(cluster("cart"), leads_to=CALLEE)
    async with contextlib.AsyncExitStack() as open_:
        stage = await open_.enter_async_context(staged(faults(0), cart, endpoints("cart", 9)))
        server = AdsServer(stage.control, Everybody(), traffic=traffic)
        open_.push_async_callback(server.stop)
        await server.listen_for(NODE.path, path)
        await open_.enter_async_context(replicas(tmp_path, 2, f"unix://{path}"))
        ids = {f"{ONE}#1", f"{ONE}#2"}
        await until(lambda: {one.id for one in stage.control.statuses()} == ids)
        channel = await open_.enter_async_context(grpc.aio.insecure_channel(f"unix://{path}"))
        reports = Reports(traffic, channel)
        streams = [reports.loads() for _ in range(2)]
        for active, stream in enumerate(streams, 2):
            part = {"total_issued_requests": 5, "total_requests_in_progress": active}
            load = {"cluster_name": "cart", "upstream_locality_stats": [part]}
            for body in ({"node": said(NODE.path)}, {"cluster_stats": [load]}):
                await stream.write(message(LOADS)(**body).SerializeToString())
            await stream.read()
        seen = reports.told
        await until(lambda: [(one.total.requests, one.in_flight) for one in seen().calls] == [(10, 5)], "both count")
        assert seen().unwatched == ()
        times = histogram(explicit_bounds=[5.0], bucket_counts=[1, 1], sum=12.0)
        assert await reports.export(times) is grpc.StatusCode.OK
        (call,) = seen().calls
        assert call.latency is not None
        assert call.latency.count == 2
        await streams[0].done_writing()
        assert await asyncio.wait_for(streams[0].code(), DEADLINE) is grpc.StatusCode.OK
        await until(lambda: [one.in_flight for one in seen().calls] == [3], "what the other has under way is left")


async def test_a_proxy_that_lost_its_connection_a_thousand_times_is_one(caplog: pytest.LogCaptureFixture) -> None:
    """Its older streams hang, each over a connection of its own, and it takes its own place at once every time."""
    async with staged(plain(CLUSTER, "a")) as stage, contextlib.AsyncExitStack() as hanging:
        for _ in range(1000 if PROVE else 50):
            again = await hanging.enter_async_context(stage.client(delta=True))
            await again.say(CLUSTER)
            await again.ack(await again.hear())
            (status,) = stage.control.statuses()
            assert (status.id, status.shared_id) == (ONE, "")
        assert "several Envoys" not in caplog.text


@pytest.mark.envoy
async def test_replicas_of_one_printed_bootstrap_register_an_endpoint_each(tmp_path: Path) -> None:
    """Signed, on a real server: each is well by its own reports, and `status` tells them apart and what to do."""
    first, second = Application("first"), Application("second")
    second.well = False
    with serving(tmp_path / "data", healthCheck=CHECK) as server, somewhere(tmp_path) as place:
        (tmp_path / "other").mkdir()
        other = Place(place.net, tmp_path / "other")
        async with (
            first.running(place.of(1).application),
            second.running(place.of(2).application),
            place.instance(server, 1, ""),
            other.instance(server, 2, ""),
        ):
            await until(states(server, "healthy", "unhealthy"))
            found = client(server).status()
            name = f"{PAY.path}@{socket.gethostname()}"
            assert [one["shared_id"] for one in found["proxies"]] == [name, name]
            assert f"2 proxies say that they are {name}; give each an instance of its own" in status_text(found)


@pytest.mark.envoy
async def test_a_replica_that_is_stopped_takes_its_own_endpoint_along_and_no_other(tmp_path: Path) -> None:
    """Behind one address all that tells whose farewell it is, is the endpoint: it comes over another connection."""
    with serving(tmp_path / "data", healthCheck=CHECK) as server, somewhere(tmp_path) as place:
        async with contextlib.AsyncExitStack() as running:
            found = []
            for number in (1, 2, 3):
                folder, at = tmp_path / str(number), place.of(number)
                folder.mkdir()
                await running.enter_async_context(Application(str(number)).running(at.application))
                one = Place(place.net, folder).instance(server, number, "x")
                found.append(await running.enter_async_context(one))
            await until(states(server, "healthy", "healthy", "healthy"))
            assert {one["shared_id"] for one in client(server).status()["proxies"]} == {f"{PAY.path}@x"}
            assert await asyncio.to_thread(say_farewell, found[1].bootstrap)
            assert rows(server) == [(place.of(one).ingress, "registration", "healthy") for one in (1, 3)]
            async with place.caller(server):
                await until(lambda: _answers(place))
                assert {await place.ask() for _ in range(20)} == {(200, "1"), (200, "3")}


async def _answers(place: Place) -> bool:
    """Whether the caller's Envoy has what it needs."""
    with contextlib.suppress(OSError):
        return (await place.ask())[0] == 200
    return False


@pytest.mark.envoy
async def test_replicas_that_have_numbers_report_their_own_health(tmp_path: Path) -> None:
    """Through one Unix socket nothing tells them apart but the endpoint that each of them registered."""
    first, second = Application("first"), Application("second")
    second.well = False
    path = tmp_path / "xds.sock"
    socket_ = ("--xds-socket", f"{PAY.path}={path}")
    with serving(tmp_path / "data", *socket_, healthCheck=CHECK) as server, somewhere(tmp_path) as place:
        async with contextlib.AsyncExitStack() as running:
            for number, application in ((1, first), (2, second)):
                at, folder = place.of(number), tmp_path / str(number)
                folder.mkdir()
                await running.enter_async_context(application.running(at.application))
                endpoint = Registered(address=at.ingress, farewell=str(folder / "farewell"))
                started = envoy(folder, PAY, f"unix://{path}", placement=at, endpoint=endpoint)
                await running.enter_async_context(started)
            await until(states(server, "healthy", "unhealthy"))
            name = f"{PAY.path}@one"
            assert {one["id"] for one in client(server).status()["proxies"]} == {f"{name}#1", f"{name}#2"}
            first.well, second.well = False, True
            await until(states(server, "unhealthy", "healthy"))


@pytest.mark.envoy
async def test_a_name_that_several_had_is_that_of_the_next_one_once_they_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gone for long enough, here for no time at all; another one that comes is told apart again."""
    async with staged(faults(0)) as stage:
        async with replicas(tmp_path, 2, stage.port):
            assert ONE not in await all_take(stage, 2)
        await until(lambda: not stage.control.statuses())
        monkeypatch.setattr(twins, "APART_SECONDS", 0.0)
        for one in ("third", "fourth"):
            (tmp_path / one).mkdir()
        async with envoy(tmp_path / "third", NODE, stage.port):
            await until(stage.control.statuses)
            monkeypatch.undo()
            assert await all_take(stage, 1) == {ONE}
            assert [one.shared_id for one in stage.control.statuses()] == [""]
            async with envoy(tmp_path / "fourth", NODE, stage.port):
                assert ONE not in await all_take(stage, 2)


def test_an_endpoint_stays_what_it_was_when_its_proxy_has_its_name_again(tmp_path: Path) -> None:
    """Nobody is told of a change, whichever of its ids came first: it is the same place of the same name."""
    changes: list[object] = []
    store = sqlite.connect(tmp_path / "meshwright.db")
    memory = Memory(store, "registration")
    found = Registrations(
        grace=60, most=10, now=lambda: 1_000, changed=changes.append, memory=memory, connected=lambda: 1
    )
    name, at = f"{NODE.path}@one", "10.0.0.1"
    apart = Registree(id=f"{name}+ipv4:10.0.0.1:5", node=NODE, address=at, checked=True, shared_id=name)
    held = found.join(apart)
    found.report(apart.id, listening=True, healthy=True)
    held.lose()
    changes.clear()
    again = Registree(id=name, node=NODE, address=at, checked=True)
    found.join(again).lose()
    found.join(apart)
    assert changes == []
    assert [(one.name, one.state) for one in found.rows()] == [(apart.id, "healthy")]
    store.close()


def test_an_endpoint_stays_what_it_was_while_its_proxy_gets_another_id(tmp_path: Path) -> None:
    """The end of the older stream may be heard after the newer one began: no caller is told of it."""
    store = sqlite.connect(tmp_path / "meshwright.db")
    found = Registrations(
        grace=60,
        most=10,
        now=lambda: 1_000,
        changed=lambda _: None,
        memory=Memory(store, "registration"),
        connected=lambda: 1,
    )
    name, at = f"{NODE.path}@one", "10.0.0.1"
    older = found.join(Registree(id=name, node=NODE, address=at))
    older.listen()
    told = found.of(NODE)
    for port in (5, 6, 7):
        newer = Registree(id=f"{name}+ipv4:10.0.0.1:{port}", node=NODE, address=at, shared_id=name)
        held = found.join(newer)
        assert set(found.of(NODE)) == set(told)
        older.lose()
        assert [(one.name, one.state) for one in found.rows()] == [(newer.id, "healthy")]
        older = held
    store.close()


def registrations(store: SqliteStore, changes: list[object]) -> Registrations:
    """Endpoints that are kept in `store`; `changes` grows by what callers are told."""
    return Registrations(
        grace=60,
        most=10,
        now=lambda: 1_000,
        changed=changes.append,
        memory=Memory(store, "registration"),
        connected=lambda: 1,
    )


async def test_replicas_that_registered_are_known_apart_after_a_restart(tmp_path: Path) -> None:
    """Who comes back has the endpoint that was its own, and nobody is told of a change."""
    store = sqlite.connect(tmp_path / "meshwright.db")
    changes: list[object] = []
    name, at = f"{NODE.path}@one", "10.0.0.1"

    def remembered() -> Registrations:
        return registrations(store, changes)

    before = remembered()
    before.join(Registree(id=f"{name}+ipv4:127.0.0.1", node=NODE, address=at, shared_id=name)).listen()
    keeping = asyncio.create_task(before.run())
    await until(lambda: store.remembered("registration"))
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    changes.clear()
    async with staged(plain(CLUSTER, "a")) as stage:
        server = AdsServer(stage.control, Everybody(), registrations=remembered())
        stage.port = await server.start("127.0.0.1", 0)
        async with stage.client(delta=True, endpoint={"address": at}) as client:
            await client.say(CLUSTER)
            await client.hear()
            assert [one.id for one in stage.control.statuses()] == [f"{name}+ipv4:127.0.0.1"]
        await server.stop()
    assert changes == []
    store.close()


async def test_replicas_of_one_host_keep_their_endpoints_over_a_restart(tmp_path: Path) -> None:
    """Each comes back over another connection, one after the other: callers are told of no change meanwhile."""
    store = sqlite.connect(tmp_path / "meshwright.db")
    changes: list[object] = []
    name, places = f"{NODE.path}@one", ("10.0.0.1", "10.0.0.2", "10.0.0.3")

    def remembered() -> Registrations:
        return registrations(store, changes)

    before = remembered()
    for port, at in enumerate(places, 1):
        apart = f"{name}+ipv4:127.0.0.1:{port}"
        before.join(Registree(id=apart, node=NODE, address=at, shared_id=name)).listen()
    keeping = asyncio.create_task(before.run())
    await until(lambda: len(store.remembered("registration")) == len(places))
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    changes.clear()
    after = remembered()
    async with staged(plain(CLUSTER, "a")) as stage, contextlib.AsyncExitStack() as open_:
        server = AdsServer(stage.control, Everybody(), registrations=after)
        open_.push_async_callback(server.stop)
        stage.port = await server.start("127.0.0.1", 0)
        for at in places:
            client = await open_.enter_async_context(stage.client(delta=True, endpoint={"address": at}))
            await client.say(CLUSTER)
            await client.hear()
            assert {one.endpoint.address for one in after.rows()} == set(places)
        assert {one.id.rpartition(":")[0] for one in stage.control.statuses()} == {f"{name}+ipv4:127.0.0.1"}
        assert len(stage.control.statuses()) == len(places)
        assert changes == []
    store.close()


class Network:
    """Envoys that come back whenever their stream ends, and the ids that are taken, as the server keeps them."""

    def __init__(self) -> None:
        self.time = 0.0
        self.twins = Twins(lambda: self.time)
        self.open: dict[str, tuple[str, str]] = {}
        """By id: who has a stream open, by its name and from where."""
        self.ended: list[tuple[str, str]] = []
        """Whose stream the server ended."""

    def come(self, name: str, peer: str) -> None:
        """One opens a stream."""
        shared = self.twins.returned(name, peer)
        if shared is not None:
            self.part(shared)
        found = self.twins.entered(name, peer, lambda: self.open)
        older = self.open.get(found)
        self.open[found] = (name, peer)
        if older is not None:
            self.ended.append(older)
            if self.twins.displaced(found, older[1], {peer}):
                self.part(found)

    def part(self, shared: str) -> None:
        """The server ends the streams of an id."""
        if shared in self.open:
            self.ended.append(self.open.pop(shared))


PEERS = st.builds("{}:{}".format, st.sampled_from(["ipv4:10.0.0.1", "ipv4:10.0.0.2", "unix"]), st.integers(1, 3)).map(
    lambda one: "unix:" if one.startswith("unix") else one
)


@given(st.lists(PEERS, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_any_envoys_of_one_name_come_to_rest(peers: list[str], order: random.Random) -> None:
    """Wherever they come from and in whatever order they come back, each has an id in the end."""
    network = Network()
    network.ended = [("web@one", peer) for peer in peers]
    for _ in range(400):
        if not network.ended:
            break
        network.time += 0.1
        network.come(*network.ended.pop(order.randrange(len(network.ended))))
    assert sorted(network.open.values()) == sorted(("web@one", peer) for peer in peers)


def test_replicas_on_hosts_of_their_own_keep_their_ids_over_connections() -> None:
    """Once told apart by their hosts, each takes its own place at once where its connection died, as by a name."""
    network = Network()
    for host in (1, 2, 3, 1, 2, 3, 1):
        network.come("web@one", f"ipv4:10.0.0.{host}:1000")
    ids = {f"web@one+ipv4:10.0.0.{host}" for host in (1, 2, 3)}
    assert set(network.open) == ids
    for number in range(1000):
        network.come("web@one", f"ipv4:10.0.0.2:{2000 + number}")
        assert set(network.open) == ids


def test_a_name_is_that_of_one_again_when_there_were_no_two_for_long() -> None:
    """Not while two come and go at once; then those who were told apart by it are free of it, too."""
    network = Network()
    for peer in ("ipv4:10.0.0.1:1", "ipv4:10.0.0.1:2", "ipv4:10.0.0.1:1", "ipv4:10.0.0.1:2"):
        network.come("web@one", peer)
    assert "web@one" not in network.open
    for _ in range(5):
        network.time += APART_SECONDS
        network.twins.met("web@one", others=True)
    network.twins.met("web@one", others=False)
    assert network.twins.told("web@one", "ipv4:10.0.0.1:3") == "web@one+ipv4:10.0.0.1:3"
    network.time += APART_SECONDS + 1
    network.twins.met("web@other", others=False)
    assert network.twins.told("web@one", "ipv4:10.0.0.1:3") == "web@one+ipv4:10.0.0.1:3"
    network.twins.met("web@one", others=False)
    assert network.twins.told("web@one", "ipv4:10.0.0.1:3") == "web@one"


def test_a_lone_proxy_whose_connections_have_the_same_port_is_one() -> None:
    """Its connection dies, and the port of the next but one is that of the first, or of the one before, once each."""
    network = Network()
    for port in (1, 2, 1, 3, 4, 5):
        network.time += 1
        network.come("web@one", f"ipv4:10.0.0.1:{port}")
        assert set(network.open) == {"web@one"}
    network.time += RETURN_SECONDS
    for port in (6, 5, 7):
        network.come("web@one", f"ipv4:10.0.0.1:{port}")
        assert set(network.open) == {"web@one"}


def test_who_comes_back_late_or_once_in_a_while_over_its_own_connection_is_no_other() -> None:
    """A port may be anybody's later, and the end of a stream is now and then heard of late."""
    network = Network()
    for name, peer in itertools.product(["web@one"], ["ipv4:10.0.0.1:1", "ipv4:10.0.0.1:2"]):
        network.come(name, peer)
    network.time += RETURN_SECONDS + 1
    network.come("web@one", "ipv4:10.0.0.1:1")
    for _ in range(MOST_REPEATS * 3):
        network.time += RETURN_SECONDS
        network.come("web@one", "ipv4:10.0.0.1:1")
    assert set(network.open) == {"web@one"}
