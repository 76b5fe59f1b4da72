"""Building while the disk is waited for: it saves time, and nothing of it is seen before the commit is published."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from boards import OTHER, Board, a, took
from extending import extended
from handmade import NODE, plain
from meshwright.control import Control, Paced, Proxy
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, Redirect, Traits
from meshwright.store.contract import Head
from settings import examples
from strategies import proxies, states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.model.state import State
    from meshwright.snapshot.resources import EnvoyResource, Placement, Snapshot

KEYS = (NODE, OTHER)
ABLE = Traits(version=(1, 40, 0), runtime=True)


def board() -> Board:
    """A board with a cluster of two nodes."""
    made = Board()
    made.publish(web=(a(),), other=(a(),))
    return made


def test_what_was_foreseen_is_pushed_when_it_is_published_and_not_before() -> None:
    """Who is concerned is built for once, ahead; until the commit is durable nobody hears of it or is behind."""
    it = board()
    lane, pushed = it.connect()
    it.connect(OTHER)
    took(lane)
    it.builds.clear()
    head = it.head(web=(a("2"),), other=(a(),))
    steps = list(it.control.foresee(head, KEYS[:1]))
    assert (len(steps), it.builds) == (1, [NODE])
    assert pushed == []
    assert it.control.propagation(1).acked == (lane.proxy.id,)
    assert lane.snapshot.of(CLUSTER)["a"].version == a().version
    it.control.publish(head, KEYS[:1])
    assert it.builds == [NODE]
    (newer,) = pushed
    assert newer is not None
    assert newer.of(CLUSTER)["a"].version == a("2").version
    assert it.control.propagation(head.revision).pending == (lane.proxy.id,)


def test_of_a_commit_that_failed_nothing_is_left() -> None:
    """The next one is of the same number, and is built from what it says."""
    it = board()
    lane, pushed = it.connect()
    took(lane)
    list(it.control.foresee(it.head(web=(a("lost"),), other=(a(),)), KEYS))
    head = it.head(web=(a("2"),), other=(a(),))
    it.control.publish(head, KEYS)
    assert [one and one.of(CLUSTER)["a"].version for one in pushed] == [a("2").version]
    assert head.revision == it.control.revision == 2


def test_what_is_left_over_is_built_in_its_turn() -> None:
    """The disk was faster; and who connected meanwhile, or comes back, gets what is newest."""
    it = board()
    (one, to_one), (two, to_two) = it.connect(), it.connect(OTHER)
    for lane in (one, two):
        took(lane)
    before = it.offered
    head = it.head(web=(a("2"),), other=(a("2"),))
    next(it.control.foresee(head, KEYS))
    it.offered, after = before, it.offered
    again, to_again = it.connect(NODE, "2", runtime=True)
    it.offered = after
    it.builds.clear()
    it.control.publish(head, KEYS)
    assert sorted(it.builds) == sorted([NODE, OTHER])
    for pushed in (to_one, to_two, to_again):
        assert [snapshot and snapshot.of(CLUSTER)["a"].version for snapshot in pushed] == [a("2").version]
    assert set(it.control.propagation(head.revision).pending) == {one.proxy.id, two.proxy.id, again.proxy.id}


def test_instances_that_moved_meanwhile_are_sent_as_they_are() -> None:
    """What was foreseen is of where they were."""
    it = board()
    _, pushed = it.connect()
    head = it.head(web=(a("2"),), other=(a(),))
    list(it.control.foresee(head, KEYS))
    it.offered[NODE] = (a("2"), plain(ENDPOINT, "a", "moved"))
    it.control.refresh([NODE])
    it.control.publish(head, KEYS)
    assert pushed[-1] is not None
    assert "a" in pushed[-1].of(ENDPOINT)


def test_what_ended_meanwhile_is_not_sent() -> None:
    """A moment lies between the two, and at it a fault may have ended."""
    it = board()
    _, pushed = it.connect()
    it.ending[NODE] = it.time + 2
    head = it.head(web=(a("2"),), other=(a(),))
    list(it.control.foresee(head, KEYS))
    it.time += 10
    it.builds.clear()
    it.control.publish(head, KEYS)
    assert it.builds == [NODE]
    assert pushed[-1] is not None
    assert pushed[-1].changes_at is None


def test_what_cannot_be_built_ahead_fails_in_its_turn() -> None:
    """And others are built for all the same."""
    it = board()
    (one, _), (_, to_other) = it.connect(), it.connect(OTHER)
    it.broken.add(NODE)
    head = it.head(web=(a("2"),), other=(a("2"),))
    list(it.control.foresee(head, KEYS))
    it.control.publish(head, KEYS)
    assert it.control.propagation(head.revision).rejected[0].id == one.proxy.id
    assert len(to_other) == 1


def test_what_waits_to_be_taken_in_is_not_built_around() -> None:
    """It comes first, and then the two are taken in together."""
    it = board()
    turns: list[Callable[[], Iterator[None]]] = []
    it.control = Control(it._build, it._now, turns.append)
    it.publish(web=(a(),), other=(a(),))
    _, pushed = it.connect()
    it.publish(web=(a("2"),), other=(a(),))
    it.builds.clear()
    head = Head(3, it.head(web=(a("3"),), other=(a(),)).state)
    assert list(it.control.foresee(head, KEYS)) == []
    it.control.publish(head, KEYS)
    assert not it.builds
    list(turns[-1]())
    assert [one and one.of(CLUSTER)["a"].version for one in pushed] == [a("3").version]


@settings(max_examples=examples(20))
@given(st.lists(st.tuples(extended(states()), st.booleans(), st.integers(0, 3)), min_size=2, max_size=4))
def test_who_was_foreseen_for_holds_what_would_be_built_now(steps: list[tuple[State, bool, int]]) -> None:
    """Commits of any meshes, some of which fail, built ahead as far as there was time."""

    def built(graph: Graph, node: Key, placement: Placement, traits: Traits, now: int) -> Snapshot:
        return build(graph, node, {}, placement, traits, now)

    control = Control(built, lambda: 0)
    for state, fails, ahead in steps:
        touched = state.differing(control.state)
        head = Head(control.revision + 1, state)
        for _ in zip(range(ahead), control.foresee(head, touched), strict=False):
            pass
        if fails:
            continue
        control.publish(head, touched)
        for node in proxies(state):
            found = control.connect(Proxy(id=node.path, node=node, placement=Redirect(), traits=ABLE), lambda _: None)
            fresh = built(control.graph, node, Redirect(), ABLE, 0)
            assert resources(found.snapshot) == resources(fresh)
            assert found.snapshot.unserved == fresh.unserved


def resources(of: Snapshot) -> dict[tuple[str, str], EnvoyResource]:
    """Everything in it."""
    return {(url, name): one for url, named in of.resources.items() for name, one in named.items()}


async def test_steps_are_taken_early_as_long_as_they_are_wanted_and_no_turn_is_due() -> None:
    """Between two of them others have their time; what they took makes the next turn wait as if it were its own."""
    loop, pace = asyncio.get_running_loop(), Paced()
    seen: list[str] = []
    told, over = asyncio.Event(), asyncio.Event()

    def other(number: int) -> None:
        seen.append(f"other {number}")
        if number == 1:
            told.set()

    def steps() -> Iterator[None]:
        for number in range(4):
            loop.call_soon(other, number)
            seen.append(f"step {number}")
            time.sleep(0.02)
            yield

    def turn() -> Iterator[None]:
        seen.append("turn")
        return iter(())

    def last() -> Iterator[None]:
        over.set()
        return iter(())

    pace.early(steps(), lambda: not told.is_set())
    await told.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    assert seen == ["step 0", "other 0", "step 1", "other 1"]
    pace(turn)
    began = time.monotonic()
    pace(last)
    await asyncio.sleep(0)
    pace.early(steps(), lambda: True)
    await over.wait()
    assert seen[4:] == ["turn"]
    assert time.monotonic() - began > 0.01
