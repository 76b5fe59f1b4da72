"""What each proxy made of a release is kept: sent, acked or rejected, when, resource by resource, over restarts."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from ads_client import AdsClient
from handmade import NODE as WEB
from handmade import cluster, endpoints, listener, plain, route, snapshot
from live import live
from meshwright.control import Control, Proxy
from meshwright.model.specs import VirtualNodeSpec
from meshwright.model.state import Resource, State
from meshwright.release import ApplyRequest, RollbackRequest, evidence_of
from meshwright.server import Running, Settings, control_plane
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, Redirect
from meshwright.store import sqlite
from meshwright.store.contract import Head
from processes import DEADLINE, until
from stage import staged
from stored import commit_one, release
from test_metrics import read
from test_releases import SHIFTED, SHOP, item
from test_releases_propagation import CALLER, CONTENT, PROXY, Plane
from test_releases_propagation import WEB as SERVICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from live import Live
    from meshwright.control import Lane
    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.snapshot.resources import Placement, Snapshot, Traits

BETTER = (*SHIFTED, CALLER, SERVICE)


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Plane]:
    """A control plane on `folder`, started again on each use."""
    settings = Settings(listen=("127.0.0.1", 0), xds=("127.0.0.1", 0), data_dir=folder / "data")
    async with control_plane(settings) as running:
        yield Plane(running)


async def detail(plane: Plane, number: int, wait: float = 0) -> dict[str, Any]:
    """How far release `number` has come, proxy by proxy."""
    found: dict[str, Any] = await asyncio.to_thread(plane.client.propagation, "m", "shop", number, wait, detail=True)
    return found


async def test_each_resource_is_told_with_its_version_and_when_it_was_sent_and_acked(tmp_path: Path) -> None:
    """In the order of things: committed, sent, acked."""
    async with serving(tmp_path) as plane:
        await plane.apply(*CONTENT)
        async with plane.proxy() as stream:
            await plane.apply(*BETTER)
            offered = await stream.hear()
            (before,) = (await detail(plane, 2))["accounts"]
            assert (before["state"], before["steps"][0]["state"], before["settled_at"]) == (
                "pending",
                "pending",
                None,
            )
            await stream.ack(offered)
            found = await detail(plane, 2, 30)
        (account,) = found["accounts"]
        (step,) = account["steps"]
        assert (account["id"], account["node"], account["state"]) == (PROXY, "mesh/m/virtualNode/caller", "acked")
        assert (account["connected"], account["rejections"]) == (True, [])
        versions = {one.name: one.version for one in offered.resources}
        assert (step["type_url"], step["resources"], step["state"]) == (ROUTE, versions, "acked")
        assert found["committed_at"] <= step["sent_at"] <= step["settled_at"]
        assert found["tally"] == {
            "acked": 1,
            "pending": 0,
            "rejected": 0,
            "first_sent_at": step["sent_at"],
            "last_acked_at": step["settled_at"],
        }


async def test_a_restart_forgets_nothing_of_who_took_what_and_when(tmp_path: Path) -> None:
    """The proxies need not come back for it; the history tells the numbers."""
    async with serving(tmp_path) as plane:
        await plane.apply(*CONTENT)
        async with plane.proxy() as stream:
            await plane.apply(*BETTER)
            await stream.ack(await stream.hear())
            before = await detail(plane, 2, 30)
            assert before["status"] == "propagated"
    async with serving(tmp_path) as plane:
        after = await detail(plane, 2)
        assert after["state"] == "no-proxies"
        assert after["accounts"] == [{**one, "connected": False} for one in before["accounts"]]
        tallies = {one["number"]: one["tally"] for one in (await plane.ask("releases"))["releases"]}
        assert tallies == {1: (await detail(plane, 1))["tally"], 2: before["tally"]}
        (stack,) = (await asyncio.to_thread(plane.client.status))["stacks"]
        assert stack["release"]["tally"] == before["tally"]


async def test_what_is_undecided_is_kept_too_and_gone_on_with_after_a_restart(tmp_path: Path) -> None:
    """A proxy that comes back and has it counts as having acked it."""
    async with serving(tmp_path) as plane:
        await plane.apply(*CONTENT)
        async with plane.proxy() as stream:
            await plane.apply(*BETTER)
            await stream.hear()
    async with serving(tmp_path) as plane:
        (account,) = (await detail(plane, 2))["accounts"]
        assert (account["state"], account["connected"]) == ("pending", False)
        async with plane.proxy():
            found = await detail(plane, 2, 30)
            (account,) = found["accounts"]
            assert (found["status"], account["state"], account["connected"]) == ("propagated", "acked", True)


async def test_a_proxy_that_is_on_its_way_while_the_release_is_noted_is_not_told_as_pending_for_ever(
    tmp_path: Path,
) -> None:
    """It connects after the last ack that was waited for; the release is followed until it is there, too."""
    async with serving(tmp_path) as plane, overtaken(plane, "two") as two:
        await take(two, LISTENER, ROUTE)
        await asyncio.to_thread(until, lambda: told(plane) == (2, 0))
    async with serving(tmp_path) as plane:
        assert {one["state"] for one in (await detail(plane, 1))["accounts"]} == {"acked"}


async def test_a_proxy_that_was_on_its_way_when_the_control_plane_was_killed_is_noted_once_it_is_back(
    tmp_path: Path,
) -> None:
    """The release had propagated before. Who has to do with it only then is not followed: it was good without it."""
    with live(tmp_path / "data") as server:
        async with overtaken(started(server), "two"):
            server.end(signal.SIGKILL)
    with live(tmp_path / "data") as server:
        plane = started(server)
        assert await asyncio.to_thread(told, plane) == (1, 1)
        async with late(plane, "another") as another, late(plane, "two") as two:
            await take(another, LISTENER, ROUTE)
            assert await asyncio.to_thread(told, plane) == (1, 1)
            await take(two, LISTENER, ROUTE)
            await asyncio.to_thread(until, lambda: told(plane) == (2, 0))


def started(server: Live) -> Plane:
    """A control plane in a process of its own."""
    return Plane(
        Running(
            api=server.api,
            xds=f"127.0.0.1:{server.xds}",
            xds_mutual="",
            xds_sockets=(),
            credentials=server.credentials,
            created=True,
            revision=server.revision,
            parts=(),
        )
    )


@contextlib.asynccontextmanager
async def overtaken(plane: Plane, instance: str) -> AsyncIterator[AdsClient]:
    """A proxy that is on its way to the first release, which is noted as propagated: another has it."""
    async with contextlib.AsyncExitStack() as kept:
        await plane.apply(*CONTENT)
        path = plane.running.credentials.with_name("meshwright.db")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # so that noting it takes a while
            await kept.enter_async_context(plane.proxy())
            asking = asyncio.create_task(plane.ask("propagation", 1, 30))
            await asyncio.wait({asking}, timeout=1)
            found = await kept.enter_async_context(late(plane, instance))
            other.execute("ROLLBACK")
        assert (await asking)["status"] == "propagated"
        assert await asyncio.to_thread(told, plane) == (1, 1)
        yield found


@contextlib.asynccontextmanager
async def late(plane: Plane, instance: str) -> AsyncIterator[AdsClient]:
    """Another proxy of the caller, which takes clusters and no more."""
    said = {"id": CALLER.key.path, "metadata": {"meshwright": {"instance": instance}}}
    async with AdsClient(plane.running.xds, said, delta=True, key=plane.key) as stream:
        await take(stream, CLUSTER)
        yield stream


async def take(stream: AdsClient, *type_urls: str) -> None:
    """Ask for everything of these types, and take it."""
    for type_url in type_urls:
        await stream.say(type_url, resource_names_subscribe=["*"])
        await stream.ack(await stream.hear())


def told(plane: Plane) -> tuple[int, int]:
    """How many proxies the history says have the first release, and how many are on their way."""
    (one,) = (found for found in plane.client.releases("m", "shop")["releases"] if found["number"] == 1)
    return one["tally"]["acked"], one["tally"]["pending"]


async def test_a_rejection_fails_the_release_and_stays_in_its_evidence_when_it_is_mended(tmp_path: Path) -> None:
    """The last good release is the one before; a restart in between changes nothing."""
    async with serving(tmp_path) as plane:
        await plane.apply(*CONTENT)
        async with plane.proxy() as stream:
            assert (await plane.ask("propagation", 1, 30))["status"] == "propagated"
            await plane.apply(*BETTER)
            await stream.nack(await stream.hear(), "no")
            assert (await plane.ask("propagation", 2, 30))["status"] == "failed"
            outcome = await plane.ask("roll_back", RollbackRequest(last_good=True))
            assert outcome["release"]["restores"] == 1
            await stream.ack(await stream.hear())
            assert (await plane.ask("propagation", 3, 30))["status"] == "propagated"
    async with serving(tmp_path) as plane:
        found = await detail(plane, 2)
        (account,) = found["accounts"]
        assert (found["status"], found["tally"]["rejected"], account["state"]) == ("rolled back", 1, "rejected")
        (rejection,) = account["rejections"]
        assert (rejection["message"], rejection["type_url"]) == ("no", ROUTE)
        causes = {one["object"]: one for one in rejection["causes"]}
        assert list(causes) == rejection["origins"]
        route = causes["mesh/m/virtualRouter/r/route/x"]
        assert (route["release"], route["author"]["cause"], route["author"]["revision"]) == (
            "shop#2",
            "release shop#2",
            2,
        )


async def test_what_a_newer_release_overtook_stays_as_it_was_seen(tmp_path: Path) -> None:
    """A proxy that went on to the newer one never had it; the newer one is followed in its place."""
    best = (*SHOP, CALLER, SERVICE, item("virtualRouter/other", {"listeners": []}))
    async with serving(tmp_path) as plane:
        await plane.apply(*CONTENT)
        async with plane.proxy() as stream:
            await plane.apply(*BETTER)
            first = await stream.hear()
            await plane.apply(*best)
            await stream.ack(first)
            await stream.ack(await stream.hear())
            assert (await plane.ask("propagation", 3, 30))["status"] == "propagated"
            overtaken = await detail(plane, 2)
            (account,) = overtaken["accounts"]
            assert (overtaken["state"], overtaken["status"], account["state"]) == ("propagated", "applied", "pending")
            assert account["sent_at"] is not None
            assert (await detail(plane, 3))["tally"]["acked"] == 1
    async with serving(tmp_path) as plane:
        assert (await detail(plane, 2))["accounts"] == [{**account, "connected": False}]


async def test_a_failed_release_is_noted_although_nobody_asks(tmp_path: Path) -> None:
    """By the control plane itself."""
    async with serving(tmp_path) as plane:
        await plane.apply(*CONTENT)
        async with plane.proxy() as stream:
            await plane.apply(*BETTER)
            await stream.nack(await stream.hear(), "no")
            store = sqlite.connect(tmp_path / "data" / "meshwright.db", create=False)
            with contextlib.closing(store):
                await asyncio.to_thread(until, lambda: str(store.releases("m", "shop")[0].status) == "failed")
                assert store.tallies("m", "shop")[2].rejected == 1


async def test_metrics_tell_how_far_the_newest_releases_are_and_what_became_of_them(tmp_path: Path) -> None:
    """Waiting, failed and done; of each response that was acked, how long after it was sent."""

    def gauges(found: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
        told = {name: value for name, value in found.items() if name.startswith("meshwright_release") and value}
        releases = {name.split('"')[1]: value for name, value in told.items() if "releases{" in name}
        proxies = {name.split('"')[1]: value for name, value in told.items() if "_proxies{" in name}
        return releases, proxies

    async with serving(tmp_path) as plane:

        async def told() -> dict[str, float]:
            return await asyncio.to_thread(read, plane.running.api)

        await plane.apply(*CONTENT)
        assert gauges(await told()) == ({"applied": 1}, {})
        async with plane.proxy() as stream:
            assert (await plane.ask("propagation", 1, 30))["status"] == "propagated"
            found = await told()
            assert gauges(found) == ({}, {})
            assert found['meshwright_release_outcomes_total{status="propagated"}'] == 1
            acks = 'meshwright_release_ack_seconds_count{type="route"}'
            await plane.apply(*BETTER)
            offered = await stream.hear()
            assert gauges(await told()) == ({"applied": 1}, {"pending": 1})
            await stream.ack(offered)
            assert (await plane.ask("propagation", 2, 30))["status"] == "propagated"
            await asyncio.to_thread(until, lambda: read(plane.running.api)[acks] == 2)
            assert gauges(await told()) == ({}, {})
            await plane.apply(*CONTENT)
            await stream.nack(await stream.hear(), "no")
            assert (await plane.ask("propagation", 3, 30))["status"] == "failed"
            found = await told()
            assert gauges(found) == ({"failed": 1}, {"rejected": 1})
            assert found['meshwright_release_outcomes_total{status="failed"}'] == 1
            assert (found[acks], found["meshwright_propagation_seconds_count{}"]) == (2, 2)


async def test_evidence_that_cannot_be_written_is_counted_and_not_said_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried twice a second; the log has a line when it begins, and one when it is over. Nothing is lost."""

    def said(words: str) -> list[str]:
        return [one.getMessage() for one in caplog.records if words in one.getMessage()]

    async with serving(tmp_path) as plane:
        api = plane.running.api
        await plane.apply(*CONTENT)
        async with plane.proxy() as stream:
            assert (await plane.ask("propagation", 1, 30))["status"] == "propagated"
            with contextlib.closing(
                sqlite3.connect(tmp_path / "data" / "meshwright.db", isolation_level=None)
            ) as other:
                other.execute("CREATE TRIGGER f BEFORE INSERT ON evidence BEGIN SELECT RAISE(ABORT, 'full'); END")
                await plane.apply(*BETTER)
                await stream.ack(await stream.hear())
                await asyncio.to_thread(until, lambda: read(api)["meshwright_evidence_failures_total{}"] >= 8)
                other.execute("DROP TRIGGER f")
            assert (await plane.ask("propagation", 2, 30))["status"] == "propagated"
            assert (await detail(plane, 2))["tally"]["acked"] == 1
        assert 1 <= len(said("the evidence of m/shop/2 cannot be kept, trying again: ")) <= 2
        assert 1 <= len(said("what became of shop#2 cannot be noted, trying again: ")) <= 2
        assert len(said("the evidence of releases is kept again, after ")) == 1


async def test_what_another_release_broke_fails_nobody_else(tmp_path: Path) -> None:
    """A proxy that was refusing a route before refuses it still, and takes what this release brought."""
    more = item("virtualNode/more", {"backends": [{"virtualService": {"virtualServiceName": "web.local"}}]})
    async with serving(tmp_path) as plane:
        await plane.apply(*CONTENT)
        async with plane.proxy() as stream:
            await plane.apply(*BETTER)
            await stream.nack(await stream.hear(), "no")
            assert (await plane.ask("propagation", 2, 30))["status"] == "failed"
            other = ApplyRequest(resources=(more,))
            await asyncio.to_thread(plane.client.apply, "m", "other", other)
            found = await asyncio.to_thread(plane.client.propagation, "m", "other", 1, 10)
            assert (found["state"], found["status"], found["concerned"]) == ("propagated", "propagated", [])


async def test_a_proxy_that_connects_later_and_refuses_what_others_wrote_fails_nobody(tmp_path: Path) -> None:
    """A release that waits for its first proxy is not to blame for objects that it did not touch."""
    async with serving(tmp_path) as plane:
        await plane.apply(*CONTENT)
        mine = ApplyRequest(resources=(item("virtualService/mine.local", {}),))
        await asyncio.to_thread(plane.client.apply, "m", "other", mine)
        node = {"id": "mesh/m/virtualNode/caller", "metadata": {"meshwright": {"instance": "one"}}}
        async with AdsClient(plane.running.xds, node, delta=True, key=plane.key) as stream:
            await stream.say(CLUSTER, resource_names_subscribe=["*"])
            offered = await stream.hear()
            await stream.nack(offered, f"{offered.resources[0].name} is bad")
            for stack, status in (("shop", "failed"), ("other", "applied")):
                found = await asyncio.to_thread(plane.client.propagation, "m", stack, 1, 10)
                assert (stack, found["state"], found["status"]) == (stack, "rejected", status)


class Bench:
    """A control loop with one node and any number of proxies that do as they are told."""

    def __init__(self) -> None:
        self.time = 0
        self.version = 0
        self.control = Control(self._build, self._now)
        self.publish()

    def publish(self) -> int:
        """Another version of one cluster of twenty; the revision."""
        self.version += 1
        number = self.control.revision + 1
        node = Resource(key=WEB, spec=VirtualNodeSpec(), stack=str(number))
        self.control.publish(Head(number, State([node])))
        return number

    def connect(self, instance: str) -> Lane:
        """A proxy that has nothing yet."""
        return self.control.connect(
            Proxy(id=f"{WEB.path}@{instance}", node=WEB, placement=Redirect()), lambda _: None
        )

    def take(self, lane: Lane) -> None:
        """Send the changed cluster, or all of them to a new proxy, and have it acked."""
        behind = {CLUSTER: frozenset(one for one in lane.snapshot.of(CLUSTER))}
        lane.sent(CLUSTER, lane.snapshot.of(CLUSTER).values(), ())
        lane.report(behind, {})
        lane.settled(CLUSTER, accepted=True)
        lane.report({}, {})

    def _build(self, _graph: Graph, node: Key, _placement: Placement, _traits: Traits, _now: int) -> Snapshot:
        made = (plain(CLUSTER, f"c{number}", "1") for number in range(19))
        return snapshot(*made, plain(CLUSTER, "c19", str(self.version)), node=node)

    def _now(self) -> int:
        self.time += 1
        return self.time


def test_a_proxy_that_reconnects_a_thousand_times_has_one_account() -> None:
    """Taken once, with the time of the first ack."""
    bench = Bench()
    told: list[None] = []
    tracker = bench.control.track(1, "shop", (), lambda: told.append(None))
    first = bench.connect("one")
    bench.take(first)
    (account,) = tracker.accounts
    for _ in range(1000):
        bench.take(bench.connect("one"))
    assert tracker.accounts == (account,)
    assert bench.control.accounts(1)[0].state == "acked"
    bench.control.untrack(tracker)


def test_a_proxy_that_leaves_on_its_way_to_what_others_have_is_waited_for_and_nobody_else() -> None:
    """It comes back as itself; whoever is new was never asked to take what had propagated before."""
    bench = Bench()
    tracker = bench.control.track(1, "shop", (), lambda: None)
    bench.take(bench.connect("one"))
    lane = bench.connect("two")
    tracker.narrow()
    lane.close()
    bench.connect("three")
    waiting = [tracker.waits]
    bench.take(bench.connect("two"))
    waiting.append(tracker.waits)
    assert waiting == [True, False]
    assert {one.id.rpartition("@")[2]: one.state for one in tracker.accounts} == {"one": "acked", "two": "acked"}


def test_the_accounts_of_one_release_are_bounded() -> None:
    """Whoever has a new name on every start; those beyond the most are waited for all the same."""
    bench = Bench()
    tracker = bench.control.track(1, "shop", (), lambda: None)
    for number in range(5_010):
        lane = bench.connect(str(number))
        bench.take(lane)
        lane.close()
    assert len(tracker.accounts) == 5_000
    late = bench.connect("late")
    assert bench.control.propagation(1).pending == (late.proxy.id,)


def test_evidence_of_a_thousand_proxies_is_small(tmp_path: Path) -> None:
    """What they have in common is kept once; a proxy is some dozen bytes."""
    bench = Bench()
    proxies = [bench.connect(f"instance-{number}") for number in range(1000)]
    for one in proxies:
        bench.take(one)
    revision = bench.publish()
    tracker = bench.control.track(revision, "shop", (), lambda: None)
    for one in proxies:
        bench.take(one)
    found = evidence_of(tracker.accounts)
    assert (found.tally.acked, len(found.accounts)) == (1000, 1000)
    assert {step.type_url: set(step.resources) for step in found.accounts[0].steps} == {CLUSTER: {"c19"}}
    database = tmp_path / "meshwright.db"
    with contextlib.closing(sqlite.connect(database)) as store:
        before = database.with_name("meshwright.db-wal").stat().st_size
        commit_one(store, 0, puts=(), principal="p", cause="release cart#1", at=1, release=release(1, 1))
        store.note_evidence("shop", "cart", 1, found)
        assert store.evidence("shop", "cart", 1) == found
        assert database.with_name("meshwright.db-wal").stat().st_size - before < 100_000


def test_only_the_newest_hundred_releases_of_a_stack_keep_their_accounts(tmp_path: Path) -> None:
    """Of older ones the tally stays."""
    bench = Bench()
    bench.take(bench.connect("one"))
    found = evidence_of(bench.control.accounts(1))
    with contextlib.closing(sqlite.connect(tmp_path / "meshwright.db")) as store:
        for number in range(1, 103):
            commit_one(store, number - 1, puts=(), principal="p", cause="c", at=1, release=release(number, number))
            store.note_evidence("shop", "cart", number, found)
        kept = {number: store.evidence("shop", "cart", number) for number in range(1, 103)}
        assert [number for number, one in kept.items() if one is not None and not one.accounts] == [1, 2]
        assert set(store.tallies("shop", "cart")) == set(range(1, 103))
        assert {one.tally for one in kept.values() if one is not None} == {found.tally}


@pytest.mark.parametrize("delta", [True, False])
async def test_what_is_removed_and_what_is_repeated_is_told_as_it_was(delta: bool) -> None:
    """A removal is acked as such; endpoints sent again with their cluster keep the time of their first ack."""
    first = (cluster("a"), endpoints("a", 80), listener("web", "127.0.0.1", 80, "r"), route("r", "a"))
    async with staged(*first, cluster("b")) as stage, stage.client(delta=delta) as stream:
        for url in (CLUSTER, ENDPOINT, LISTENER, ROUTE):
            names = {"resource_names_subscribe" if delta else "resource_names": _named(url)}
            await stream.say(url, **names)
            await stream.ack(await stream.hear(), **({} if delta else {"resource_names": _named(url)}))
        assert (await stage.control.wait(1, DEADLINE)).state == "propagated"
        ((before,),) = [
            [step for step in one.steps if step.type_url == ENDPOINT] for one in stage.control.accounts(1)
        ]
        gone = stage.publish(*first)
        await stream.ack(await stream.hear())
        assert (await stage.control.wait(gone, DEADLINE)).state == "propagated"
        (account,) = stage.control.accounts(gone)
        (step,) = account.steps
        assert (step.type_url, step.resources, step.state) == (CLUSTER, {"b": ""}, "acked")
        assert step.settled_at is not None
        changed = stage.publish(cluster("a", 2.5), *first[1:])
        for _ in range(2):
            heard = await stream.hear()
            await stream.ack(heard, **({} if delta else {"resource_names": _named(heard.type_url)}))
        assert (await stage.control.wait(changed, DEADLINE)).state == "propagated"
        (after,) = [step for one in stage.control.accounts(1) for step in one.steps if step.type_url == ENDPOINT]
        assert after == before


def _named(url: str) -> list[str]:
    return {ENDPOINT: ["a"], ROUTE: ["r"]}.get(url, [])
