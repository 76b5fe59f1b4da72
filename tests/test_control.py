"""The control loop: who is pushed to, who has taken what, and how far a revision has come."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boards import OTHER, Board, a, r, took
from envoys import until
from extending import extended
from handmade import NODE, plain, snapshot
from meshwright.control import Control, Lane, Paced, Propagation, Proxy
from meshwright.control.easing import LONGEST_SECONDS
from meshwright.control.pacing import STRETCH_SECONDS
from meshwright.errors import MeshwrightError, UnknownProxyError
from meshwright.graph import resolve
from meshwright.model.identity import Key, Kind
from meshwright.model.specs import Backend, VirtualNodeSpec, VirtualServiceBackend, VirtualServiceSpec
from meshwright.model.state import Resource, State
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import (
    CLUSTER,
    ENDPOINT,
    ROUTE,
    Loopback,
    Redirect,
    Snapshot,
    Traits,
)
from meshwright.store.contract import Head
from settings import examples
from strategies import proxies, resource, states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshwright.graph import Graph
    from meshwright.snapshot.resources import Placement

LOOPBACK = Loopback(application="127.0.1.1", ingress="127.0.1.2", egress="127.0.1.3")
WEB = {"listeners": [{"portMapping": {"port": 80, "protocol": "http"}}]}


def test_a_change_is_pushed_to_those_it_concerns_and_built_for_nobody_else() -> None:
    """Instances of a node share one build; an unaffected proxy has the revision all the same."""
    board = Board()
    board.publish(web=(a(),), other=(a(),))
    (one, to_one), (two, to_two), (aside, to_aside) = board.connect(), board.connect(NODE, "2"), board.connect(OTHER)
    for lane in (one, two, aside):
        took(lane)
    board.builds.clear()
    revision = board.publish(web=(a("2"),), other=(a(),))
    assert board.builds == [NODE]
    assert (len(to_one), len(to_two), len(to_aside)) == (1, 1, 0)
    assert board.control.propagation(revision).pending == (one.proxy.id, two.proxy.id)
    assert [status.acked_revision for status in board.control.statuses()] == [2, 1, 1]
    took(one)
    took(two)
    found = board.control.propagation(revision)
    assert found == Propagation(
        revision=2, state="propagated", concerned=(one.proxy.id, two.proxy.id), acked=(one.proxy.id, two.proxy.id)
    )


def test_a_revision_that_changes_no_snapshot_is_propagated_at_once() -> None:
    """Nobody is concerned."""
    board = Board()
    board.publish(web=(a(),), other=())
    took(board.connect()[0])
    revision = board.publish(web=(a(),), other=(a(),))
    assert board.control.propagation(revision) == Propagation(revision=revision, state="propagated")


def test_changed_endpoints_are_pushed_and_belong_to_no_revision() -> None:
    """Endpoints that come and go leave what a proxy has of a revision, and whom it concerned, as they were."""
    board = Board()
    board.publish(web=(plain(CLUSTER, "c"),), other=(plain(CLUSTER, "c"),))
    lane, pushed = board.connect(NODE)
    _, unconcerned = board.connect(OTHER)
    took(lane)
    revision = board.publish(web=(plain(CLUSTER, "c"),), other=(plain(CLUSTER, "c", "2"),))
    board.offered[NODE] = (plain(CLUSTER, "c"), plain(ENDPOINT, "c", "2"))
    unconcerned.clear()
    board.control.refresh([NODE])
    assert [one and set(one.resources) for one in pushed] == [{CLUSTER, ENDPOINT}]
    assert not unconcerned
    assert lane.delivery.verdict(revision) == "unconcerned"
    assert (lane.delivery.status().state, lane.delivery.status().acked_revision) == ("pending", revision)
    took(lane)
    assert lane.delivery.status().state == "synced"


async def test_instances_that_come_in_a_storm_are_told_of_seldom_and_a_lone_one_at_once() -> None:
    """Each waits for twice as long as the one before it, and the last is never forgotten; then it is calm again."""
    board = Board()
    board.publish(web=(plain(CLUSTER, "c"),), other=())
    lane, pushed = board.connect(NODE)
    took(lane)
    for turn in ("a", "b"):
        pushed.clear()
        began = time.monotonic()
        for number in range(1, 101):
            board.offered[NODE] = (plain(CLUSTER, "c"), plain(ENDPOINT, "c", f"{turn}{number}"))
            board.control.refresh([NODE])
            assert number > 1 or len(pushed) == 1, "a lone change is told at once"
            await asyncio.sleep(0.005)
        await until(lambda: lane.snapshot.of(ENDPOINT)["c"].version == f"{turn}100")  # noqa: B023 - awaited here
        assert len(pushed) <= 8 + (time.monotonic() - began) / LONGEST_SECONDS
        await asyncio.sleep(LONGEST_SECONDS)


def test_an_older_head_is_ignored() -> None:
    """Commits may be published out of order."""
    board = Board()
    board.publish(web=(a(),))
    board.publish(web=(a("2"),))
    board.control.publish(Head(1, State()))
    assert board.control.revision == 2
    assert board.connect()[0].snapshot.of(CLUSTER)["a"].version == "2"


def test_a_proxy_of_nobody_is_refused_by_name() -> None:
    """The message says what to do."""
    with pytest.raises(UnknownProxyError, match="there is no VirtualNode 'mesh/shop/virtualNode/web' here"):
        Board().connect()


def test_a_newer_revision_stands_for_the_older_ones() -> None:
    """A proxy that goes straight to the newest has propagated what was in between."""
    board = Board()
    board.publish(web=(a(),))
    lane, _ = board.connect()
    took(lane)
    older = board.publish(web=(a("2"),))
    newer = board.publish(web=(a("3"),))
    assert board.control.propagation(older).state == "pending"
    took(lane)
    assert {board.control.propagation(one).state for one in (older, newer)} == {"propagated"}


def test_a_rejection_is_told_with_its_origin_and_blames_no_other_revision() -> None:
    """What another release changed on the same proxy is judged by itself."""
    board = Board()
    board.publish(web=(a(), r()))
    lane, _ = board.connect()
    took(lane)
    bad = board.publish(web=(a(), r("2")))
    took(lane, r="no good")
    good = board.publish(web=(a("2"), r("2")))
    took(lane, r="no good")
    assert board.control.propagation(bad).state == "rejected"
    assert board.control.propagation(good).state == "propagated"
    (status,) = board.control.statuses()
    assert (status.state, status.acked_revision, status.target_revision) == ("rejected", bad - 1, good)
    (rejection,) = status.rejections
    assert (rejection.resources, rejection.message, rejection.revision) == (("r",), "no good", bad)
    seen = rejection.at
    took(lane, r="no good")
    assert board.control.statuses()[0].rejections[0].at == seen


def test_a_rejection_ends_with_the_version_that_was_rejected() -> None:
    """A mended release is pending, not rejected, until the proxy has spoken."""
    board = Board()
    board.publish(web=(r(),))
    lane, _ = board.connect()
    took(lane)
    board.publish(web=(r("2"),))
    took(lane, r="no good")
    mended = board.publish(web=(r("3"),))
    assert board.control.propagation(mended).state == "pending"


def test_a_proxy_that_connects_later_counts_with_what_it_runs() -> None:
    """It is concerned by every earlier revision, until it has everything."""
    board = Board()
    revision = board.publish(web=(a(),))
    assert board.control.propagation(revision).state == "no-proxies"
    lane, _ = board.connect()
    assert board.control.propagation(revision).state == "pending"
    took(lane)
    assert board.control.propagation(revision).state == "propagated"


def test_a_proxy_that_takes_nothing_never_counts_as_having_taken_what_is_long_past() -> None:
    """However many changes later: of what is not remembered any more, whatever it has not taken since then counts."""
    board = Board()
    board.publish(web=(a(),))
    (one, _), (other, _) = board.connect(), board.connect(NODE, "2")
    took(one)
    took(other)
    revision = board.publish(web=(a("2"),))
    took(other)
    for number in range(600):
        board.publish(web=(a(), r(str(number))))
        took(other)
    found = board.control.propagation(revision)
    assert (found.pending, found.acked) == ((one.proxy.id,), (other.proxy.id,))
    took(one)
    assert board.control.propagation(revision).state == "propagated"


def test_a_bug_in_one_snapshot_stops_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, told as a rejection of the proxy, and over when the snapshot can be built."""
    board = Board()
    board.publish(web=(a(),), other=(a(),))
    (one, to_one), (two, to_two) = board.connect(), board.connect(OTHER)
    took(one)
    took(two)
    board.broken = {NODE}
    revision = board.publish(web=(a("2"),), other=(a("2"),))
    assert (len(to_one), len(to_two)) == (0, 1)
    took(two)
    assert "snapshot of mesh/shop/virtualNode/web cannot be built" in caplog.text
    found = board.control.propagation(revision)
    assert (found.state, found.acked) == ("rejected", (two.proxy.id,))
    assert found.rejected[0].rejections[0].message == "ZeroDivisionError: a bug"
    with pytest.raises(MeshwrightError, match="cannot be built now"):
        board.control.connect(Proxy(id="loop", node=NODE, placement=LOOPBACK), lambda _: None)
    board.broken = set()
    mended = board.publish(web=(a("3"),), other=(a("2"),))
    took(one)
    assert board.control.propagation(mended).state == "propagated"
    assert board.control.statuses()[1].state == "synced"


def test_a_broken_snapshot_is_mended_by_whatever_its_definitions_lead_to() -> None:
    """Also by an object that they did not lead to while it could still be built."""
    named = VirtualServiceBackend(virtual_service_name="new.local")
    calling = Resource(key=NODE, spec=VirtualNodeSpec(backends=(Backend(virtual_service=named),)))
    service = Resource(key=Key("shop", Kind.VIRTUAL_SERVICE, "new.local"), spec=VirtualServiceSpec())

    def built(graph: Graph, node: Key, _placement: Placement, _traits: Traits, _now: int) -> Snapshot:
        if graph.state.get(node) is calling and service.key not in graph.state:
            raise ZeroDivisionError("a bug")
        return snapshot(a(str(len(tuple(graph.state)))), node=node)

    control = Control(built, lambda: 0)
    control.publish(Head(1, State([Resource(key=NODE, spec=VirtualNodeSpec())])))
    lane = control.connect(Proxy(id="one", node=NODE, placement=Redirect()), lambda _: None)
    control.publish(Head(2, State([calling])))
    assert lane.delivery.status().state == "rejected"
    control.publish(Head(3, State([calling, service])))
    took(lane)
    assert lane.delivery.status().state == "synced"


def test_what_a_proxy_can_do_decides_what_it_is_sent() -> None:
    """Instances of one node that differ in that have snapshots of their own; those that do not share one."""
    board = Board()
    special = plain(CLUSTER, "z")
    board.publish(web=(a(), special))
    able, _ = board.connect(runtime=True)
    also, _ = board.connect(NODE, "2", runtime=True)
    unable, _ = board.connect(NODE, "3")
    assert board.builds == [NODE, NODE]
    assert able.snapshot is also.snapshot
    assert [sorted(one.snapshot.of(CLUSTER)) for one in (able, unable)] == [["a", "z"], ["a"]]
    unable.close()
    assert able.snapshot.of(CLUSTER)["z"] is special


def test_what_time_changes_is_built_again_when_it_does_and_not_before() -> None:
    """The clock decides, not a revision; whoever is not concerned is left alone."""
    board = Board()
    board.ending[NODE] = 1_000
    ending = plain(CLUSTER, "b")
    board.publish(web=(a(), msgspec.structs.replace(ending, expires_at=1_000)), other=(a(),))
    (_, pushed), (_, aside) = board.connect(), board.connect(OTHER)
    board.builds.clear()
    assert board.control.pass_time() == 1_000
    assert (board.builds, pushed) == ([], [])
    board.time = 1_000
    assert board.control.pass_time() is None
    assert (board.builds, aside) == ([NODE], [])
    assert [sorted(one.of(CLUSTER)) for one in pushed if one] == [["a"]]


def test_time_passes_by_what_is_gone_or_cannot_be_built() -> None:
    """Neither is asked for again and again; a build that fails when its time comes is told like any other."""
    board = Board()
    board.ending = {NODE: 1_000, OTHER: 1_000}
    board.publish(web=(a(),), other=(a(),))
    board.connect()
    lane, _ = board.connect(OTHER)
    board.publish(other=(a(),))
    board.broken = {OTHER}
    board.builds.clear()
    board.time = 1_000
    assert board.control.pass_time() is None
    assert board.control.pass_time() is None
    assert board.builds == [OTHER]
    assert lane.delivery.status().state == "rejected"


async def test_the_clock_is_kept_from_the_first_snapshot_that_ends() -> None:
    """Sleeping until the next end, and woken when an earlier one comes."""
    control = Control(_ending_soon, lambda: time.time_ns() // 1_000_000)
    control.publish(Head(1, State([Resource(key=NODE, spec=VirtualNodeSpec())])))
    keeping = asyncio.create_task(control.keep_time())
    await asyncio.sleep(0)
    pushed = asyncio.Event()
    lane = control.connect(Proxy(id="one", node=NODE, placement=Redirect()), lambda _: pushed.set())
    first = lane.snapshot.of(CLUSTER)["a"].version
    await asyncio.wait_for(pushed.wait(), 10)
    assert lane.snapshot.of(CLUSTER)["a"].version != first
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


def _ending_soon(_graph: Graph, node: Key, _placement: Placement, _traits: Traits, now: int) -> Snapshot:
    """Another snapshot in every twentieth of a second."""
    beat = now // 50
    return msgspec.structs.replace(snapshot(a(str(beat)), node=node), changes_at=(beat + 1) * 50)


def test_a_proxy_whose_node_is_deleted_keeps_what_it_has() -> None:
    """Its status says so; when the node comes back it is served again."""
    board = Board()
    board.publish(web=(a(),))
    lane, pushed = board.connect()
    took(lane)
    board.publish()
    (status,) = board.control.statuses()
    assert (status.gone, status.state, pushed) == (True, "synced", [])
    board.publish(web=(a("2"),))
    assert [one.of(CLUSTER)["a"].version for one in pushed if one] == ["2"]
    assert not board.control.statuses()[0].gone


def test_the_newest_connection_of_an_id_takes_the_place_of_the_older() -> None:
    """The older one is told to end, and its end changes nothing."""
    board = Board()
    board.publish(web=(a(),))
    old, to_old = board.connect()
    new, to_new = board.connect()
    assert (to_old, to_new) == ([None], [])
    old.close()
    assert [one.id for one in board.control.statuses()] == [new.proxy.id]
    new.close()
    assert board.control.statuses() == ()


async def test_waiting_ends_with_the_last_ack() -> None:
    """Event-driven, whoever comes last."""
    board = Board()
    board.publish(web=(a(),))
    (one, _), (two, _) = board.connect(), board.connect(NODE, "2")
    took(one)
    took(two)
    revision = board.publish(web=(a("2"),))
    waiting = asyncio.create_task(board.control.wait(revision, 10))
    await asyncio.sleep(0)
    took(two)
    await asyncio.sleep(0)
    assert not waiting.done()
    took(one)
    assert (await waiting).state == "propagated"


async def test_waiting_ends_with_the_first_rejection() -> None:
    """A bad release is told at once, not after the timeout."""
    board = Board()
    board.publish(web=(r(),))
    (one, _), (two, _) = board.connect(), board.connect(NODE, "2")
    revision = board.publish(web=(r("2"),))
    waiting = asyncio.create_task(board.control.wait(revision, 10))
    await asyncio.sleep(0)
    took(one, r="no good")
    found = await waiting
    assert (found.state, found.pending, [status.id for status in found.rejected]) == (
        "rejected",
        (two.proxy.id,),
        [one.proxy.id],
    )


async def test_waiting_ends_when_the_last_pending_proxy_disconnects() -> None:
    """It counts again when it comes back."""
    board = Board()
    board.publish(web=(a(),))
    (one, _), (two, _) = board.connect(), board.connect(NODE, "2")
    took(one)
    waiting = asyncio.create_task(board.control.wait(1, 10))
    await asyncio.sleep(0)
    two.close()
    assert (await waiting).acked == (one.proxy.id,)


async def test_waiting_in_vain_ends_in_time_and_says_for_whom() -> None:
    """The answer is a value, not an exception."""
    board = Board()
    board.publish(web=(a(),))
    lane, _ = board.connect()
    found = await board.control.wait(1, 0.02)
    assert (found.state, found.pending) == ("pending", (lane.proxy.id,))


async def test_waiting_without_proxies_says_so_at_once() -> None:
    """A release without proxies stays applied."""
    board = Board()
    board.publish(web=(a(),))
    assert (await board.control.wait(1, 10)).state == "no-proxies"


@settings(max_examples=examples(25))
@given(data=st.data())
def test_every_proxy_always_has_the_snapshot_of_the_newest_state(data: st.DataObject) -> None:
    """Skipping the builds that a change does not concern is never seen, extensions included."""
    before = data.draw(extended(states()))
    other = data.draw(extended(states()))
    picked = data.draw(st.lists(st.sampled_from(list(other)), unique_by=lambda one: one.key)) if len(other) else []
    dropped = data.draw(st.lists(st.sampled_from(list(before)))) if len(before) else []
    after = before.drop(*(one.key for one in dropped)).put(*picked)

    def made(graph: Graph, node: Key, placement: Placement, traits: Traits, now: int) -> Snapshot:
        return build(graph, node, {}, placement, traits, now)

    traits = Traits(version=(1, 40, 0), zone="eu-1a", runtime=True)
    control = Control(made, lambda: 0)
    control.publish(Head(1, before))
    pushed: list[Snapshot | None] = []
    deliveries = [
        control.connect(Proxy(id=node.path, node=node, placement=Redirect(), traits=traits), pushed.append)
        for node in proxies(before)
    ]
    control.publish(Head(2, after))
    for lane in deliveries:
        if lane.proxy.node in after:
            assert lane.snapshot == build(resolve(after), lane.proxy.node, {}, Redirect(), traits)


@pytest.mark.parametrize("target", [None, {"virtualNodeName": "elsewhere"}], ids=["deleted", "said of another"])
def test_what_was_said_of_the_whole_mesh_ends_for_every_proxy(target: dict[str, str] | None) -> None:
    """No proxy leads to it by anything that it calls."""
    web, elsewhere = (resource(Kind.VIRTUAL_NODE, name, WEB) for name in ("web", "elsewhere"))
    log = {"openTelemetry": {"endpoint": "10.0.0.1:4317"}}
    said = resource(Kind.TELEMETRY, "all", {"accessLog": log})
    moved = [resource(Kind.TELEMETRY, "all", {"accessLog": log, "target": target})] if target else []
    control = Control(lambda graph, node, *more: build(graph, node, {}, *more), lambda: 0)
    control.publish(Head(1, State([web, elsewhere])))
    proxy = Proxy(id="one", node=web.key, placement=Redirect(), traits=Traits(version=(1, 40, 0)))
    lane = control.connect(proxy, lambda _: None)
    silent = lane.snapshot
    control.publish(Head(2, State([web, elsewhere, said])))
    assert lane.snapshot != silent
    control.publish(Head(3, State([web, elsewhere, *moved])))
    assert lane.snapshot == silent


def test_revisions_that_are_taken_in_together_are_each_acked_with_the_last() -> None:
    """An older one of them is not propagated because nothing was pushed for it alone."""
    turns: list[Callable[[], Iterator[None]]] = []
    versions = iter("12")
    control = Control(lambda _, node, *__: snapshot(a(next(versions)), node=node), lambda: 0, turns.append)
    control.publish(Head(1, State([Resource(key=NODE, spec=VirtualNodeSpec())])))
    pushed: list[Snapshot | None] = []
    lane = control.connect(Proxy(id="one", node=NODE, placement=Redirect()), pushed.append)
    took(lane)
    for number in (2, 3, 4):
        control.publish(Head(number, State([Resource(key=NODE, spec=VirtualNodeSpec(), stack=str(number))])))
    assert pushed == []
    assert len(list(turns[-1]())) == 1
    assert len(pushed) == 1
    for revision in (2, 3, 4):
        assert control.propagation(revision).pending == ("one",)
    took(lane)
    for revision in (2, 3, 4):
        assert control.propagation(revision).acked == ("one",)


async def test_a_lone_change_leaves_at_once_and_a_burst_is_taken_in_together() -> None:
    """As long as a turn takes, so long commits gather for the next; the last is never forgotten."""
    seen: list[int] = []
    newest, last = 0, asyncio.Event()

    def turn() -> Iterator[None]:
        time.sleep(0.005)
        seen.append(newest)
        yield
        if newest == 200:
            last.set()

    pace = Paced()
    pace(turn)
    assert seen == [0]
    for number in range(1, 201):
        newest = number
        pace(turn)
        await asyncio.sleep(0)
    await asyncio.wait_for(last.wait(), 10)
    assert len(seen) < 20


def test_whoever_asks_sees_the_newest_though_it_is_not_taken_in_yet() -> None:
    """What is said of proxies, in numbers or of one, is said of what was published last."""
    offered = [a("1")]

    def build_one(_graph: Graph, node: Key, _placement: Placement, _traits: Traits, _now: int) -> Snapshot:
        return snapshot(*offered, node=node)

    def published(number: int) -> None:
        control.publish(Head(number, State([Resource(key=NODE, spec=VirtualNodeSpec(), stack=str(number))])))

    control = Control(build_one, lambda: 0, pace=lambda _turn: None)
    published(1)
    proxy = Proxy(id="p", node=NODE, placement=Redirect())
    connected = control.connect(proxy, lambda _: None)
    took(connected)
    offered[:] = [a("2")]
    published(2)
    assert control.standing().proxies == {"pending": 1}
    took(connected)
    offered[:] = [a("3")]
    published(3)
    found = control.delivery("p")
    assert found is not None
    assert found.state == "pending"


class Steps:
    """A pace whose turns go on when the test says so."""

    def __init__(self) -> None:
        self.turns: list[Callable[[], Iterator[None]]] = []

    def __call__(self, turn: Callable[[], Iterator[None]]) -> None:
        """A turn is asked for."""
        self.turns.append(turn)

    def begin(self) -> Iterator[None]:
        """The turn that was asked for last, after its first step."""
        steps = self.turns[-1]()
        next(steps)
        return steps


class Stepping(NamedTuple):
    """Two proxies that have all they should, and a change for both whose turn goes on by hand."""

    board: Board
    pace: Steps
    one: tuple[Lane, list[Snapshot | None]]
    two: tuple[Lane, list[Snapshot | None]]
    revision: int


def stepping() -> Stepping:
    """A board whose turns go on by hand, before the first step of one."""
    board, pace = Board(), Steps()
    board.control = Control(board._build, board._now, pace)
    board.publish(web=(a(),), other=(a(),))
    one, two = board.connect(), board.connect(OTHER)
    for lane, _ in (one, two):
        took(lane)
    return Stepping(board, pace, one, two, board.publish(web=(a("2"),), other=(a("2"),)))


def test_what_one_proxy_gets_leaves_before_the_next_is_built_for() -> None:
    """So that the first works on it, and may have taken it, meanwhile."""
    board, pace, (one, to_one), (two, to_two), revision = stepping()
    turn = pace.begin()
    assert (len(to_one), len(to_two)) == (1, 0)
    took(one)
    assert list(turn) == [None]
    assert (len(to_one), len(to_two)) == (1, 1)
    found = board.control.propagation(revision)
    assert (found.acked, found.pending) == ((one.proxy.id,), (two.proxy.id,))


async def test_waiting_during_a_turn_waits_for_whoever_is_still_to_be_built_for() -> None:
    """A revision is not taken for propagated because those who know of it have it."""
    board, pace, (one, _), (two, _), revision = stepping()
    turn = pace.begin()
    took(one)
    waiting = asyncio.create_task(board.control.wait(revision, 30))
    await asyncio.sleep(0)
    list(turn)
    await asyncio.sleep(0)
    assert not waiting.done()
    took(two)
    assert (await waiting).acked == (two.proxy.id, one.proxy.id)


def test_whoever_asks_or_connects_during_a_turn_meets_the_newest() -> None:
    """The rest of the turn is then made for them, and has nothing left to do."""
    board, pace, _, (_, to_two), _ = stepping()
    turn = pace.begin()
    again, _ = board.connect(OTHER, "2")
    assert again.snapshot.of(CLUSTER)["a"].version == a("2").version
    assert len(to_two) == 1
    board.publish(web=(a("3"),), other=(a("3"),))
    assert [one.acked_revision for one in board.control.statuses()] == [1, 1, 1]
    assert len(to_two) == 2
    board.builds.clear()
    assert list(turn) == []
    assert board.builds == []


def test_a_release_is_followed_at_those_who_were_built_for_before_and_after_it_began() -> None:
    """Following begins once the commit is published, in the middle of its turn."""
    board, pace, (one, _), (two, _), revision = stepping()
    turn = pace.begin()
    tracker = board.control.track(revision, "shop", (), lambda: None)
    list(turn)
    took(one)
    assert {(found.id, found.state) for found in tracker.accounts} == {
        (one.proxy.id, "acked"),
        (two.proxy.id, "pending"),
    }


def test_a_revision_that_comes_during_a_turn_is_built_together_with_what_is_left_of_it() -> None:
    """A group still to be built for gets both at once, and has either with the same ack."""
    board, pace, _, (two, to_two), earlier = stepping()
    pace.begin()
    later = board.publish(web=(a("2"),), other=(a("2"), r()))
    list(pace.turns[-1]())
    assert len(to_two) == 1
    took(two, (ROUTE, "r"))
    for revision in (earlier, later):
        assert two.proxy.id in board.control.propagation(revision).pending
    took(two)
    assert board.control.propagation(later).acked == (two.proxy.id,)
    assert board.control.propagation(earlier).acked == (two.proxy.id,)


async def test_what_a_long_step_woke_runs_before_the_next_step() -> None:
    """And who asks for another turn meanwhile has it after this one."""
    seen: list[str] = []
    over = asyncio.Event()
    pace = Paced()

    def turn() -> Iterator[None]:
        for step in "ab":
            asyncio.get_running_loop().call_soon(seen.append, f"woken by {step}")
            seen.append(step)
            time.sleep(2 * STRETCH_SECONDS)
            yield

    def next_turn() -> Iterator[None]:
        seen.append("next")
        over.set()
        return iter(())

    pace(turn)
    assert seen == ["a"]
    pace(next_turn)
    await asyncio.wait_for(over.wait(), 10)
    assert seen == ["a", "woken by a", "b", "woken by b", "next"]


async def test_what_the_first_proxy_gets_leaves_before_the_next_one_is_built_for() -> None:
    """However little that takes: nobody but the server is at work until then."""
    seen: list[str] = []
    over = asyncio.Event()

    def turn() -> Iterator[None]:
        for step in "abc":
            asyncio.get_running_loop().call_soon(seen.append, f"woken by {step}")
            seen.append(step)
            yield
        over.set()

    Paced()(turn)
    assert seen == ["a"]
    await asyncio.wait_for(over.wait(), 10)
    assert seen[:3] == ["a", "woken by a", "b"]
