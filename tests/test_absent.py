"""A proxy between two streams: a release waits for it as long as an Envoy takes to come back, and then names it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from ads_client import AdsClient
from boards import OTHER, Board, a, took
from envoys import until
from handmade import NODE, snapshot
from meshwright.control import Control, Lane, Propagation, Proxy
from meshwright.model.specs import VirtualNodeSpec
from meshwright.model.state import Resource, State
from meshwright.proxy.farewell import say_farewell
from meshwright.server import Settings, control_plane
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE, Redirect
from meshwright.store.contract import Head
from meshwright.views.releases import propagation_text
from processes import DEADLINE
from registering import PAY, client, serving, shop, somewhere
from test_releases import SHIFTED
from test_releases_propagation import CALLER, CONTENT, PROXY, WEB, Plane
from test_releases_propagation import NODE as CALLS

if TYPE_CHECKING:
    from pathlib import Path

AWAY = 10
TIMEOUT = {"http": {"idle": {"unit": "s", "value": 7}}}
WHO = f"{NODE.path}@1"


def brief(found: Propagation) -> tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The state, and who has it, is waited for, or is away."""
    return found.state, found.acked, found.pending, found.away


def test_a_release_waits_for_a_proxy_between_two_streams_until_it_has_it() -> None:
    """It counts as pending, whether it left before or after the release, and whoever else is there."""
    board = Board(AWAY)
    board.publish(web=(a(),), other=(a(),))
    (lane, _), (aside, _) = board.connect(), board.connect(OTHER)
    took(lane)
    took(aside)
    lane.close()
    revision = board.publish(web=(a("2"),), other=(a(),))
    assert brief(board.control.propagation(revision)) == ("pending", (), (WHO,), (WHO,))
    lane, _ = board.connect()
    lane.close()
    assert brief(board.control.propagation(revision)) == ("pending", (), (WHO,), (WHO,))
    lane, _ = board.connect()
    assert brief(board.control.propagation(revision)) == ("pending", (), (WHO,), ())
    took(lane)
    assert brief(board.control.propagation(revision)) == ("propagated", (WHO,), (), ())


def test_one_that_does_not_come_back_holds_nothing_up_for_long_and_is_named_for_a_while() -> None:
    """After ten seconds it is as if it had never been there, but for its name; after two minutes without."""
    board = Board(AWAY)
    board.publish(web=(a(),))
    lane, _ = board.connect()
    lane.close()
    revision = board.publish(web=(a("2"),))
    board.time += AWAY * 1000 - 100
    assert brief(board.control.propagation(revision)) == ("pending", (), (WHO,), (WHO,))
    board.time += 100
    assert brief(board.control.propagation(revision)) == ("no-proxies", (), (), (WHO,))
    other, _ = board.connect(NODE, "2")
    took(other)
    assert brief(board.control.propagation(revision)) == ("propagated", (f"{NODE.path}@2",), (), (WHO,))
    board.time += 120_000
    assert brief(board.control.propagation(revision)) == ("propagated", (f"{NODE.path}@2",), (), ())


def test_nobody_waits_for_one_that_has_it_or_need_not_have_it() -> None:
    """It had it, it is not concerned, its mesh is another, its node is deleted."""
    board = Board(AWAY)
    first = board.publish(web=(a(),), other=(a(),))
    lane, _ = board.connect()
    took(lane)
    lane.close()
    second = board.publish(web=(a(),), other=(a("2"),))
    assert [board.control.propagation(one).state for one in (first, second)] == ["no-proxies", "no-proxies"]
    third = board.publish(web=(a("3"),), other=(a("2"),))
    assert board.control.propagation(third).state == "pending"
    assert board.control.propagation(third, "another").state == "no-proxies"
    board.publish(other=(a("2"),))
    assert brief(board.control.propagation(third)) == ("no-proxies", (), (), ())


@pytest.mark.parametrize("connected", [True, False])
def test_nobody_waits_for_one_that_said_farewell(connected: bool) -> None:
    """Before its stream ends, as it should, or after."""
    board = Board(AWAY)
    board.publish(web=(a(),))
    lane, _ = board.connect()
    if connected:
        board.control.take_leave(WHO)
        lane.close()
    else:
        lane.close()
        board.control.take_leave(WHO)
    assert brief(board.control.propagation(board.publish(web=(a("2"),)))) == ("no-proxies", (), (), ())


def test_what_is_not_built_yet_is_lacked_by_whoever_leaves_meanwhile() -> None:
    """The revision is taken in and its turn has not come when the stream ends."""
    turns: list[object] = []
    board = Board()
    board.control = Control(board._build, board._now, turns.append, away_seconds=AWAY)
    board.publish(web=(a(),))
    lane, _ = board.connect()
    took(lane)
    revision = board.publish(web=(a("2"),))
    board.connect(NODE, "2")[0].close()  # takes it in
    lane.close()
    assert WHO in board.control.propagation(revision).pending


def test_one_of_several_of_a_name_is_back_by_another_of_its_ids() -> None:
    """Where addresses tell them apart an id lasts as long as its connection; one that comes is one that left."""
    board = Board(AWAY)
    board.publish(web=(a(),))

    def connect(instance: str, shared: str = "") -> Lane:
        proxy = Proxy(id=f"{NODE.path}@{instance}", node=NODE, placement=Redirect(), shared_id=shared)
        return board.control.connect(proxy, lambda _: None)

    connect("1").close()
    several = [connect(f"1+ipv4:10.0.0.7:{port}", WHO) for port in (1, 2)]
    revision = board.publish(web=(a("2"),))
    assert not board.control.propagation(revision).away
    for lane in several:
        lane.close()
    left = tuple(f"{WHO}+ipv4:10.0.0.7:{port}" for port in (1, 2))
    assert board.control.propagation(revision).away == left
    connect("2")
    connect("1+ipv4:10.0.0.7:3", WHO)
    assert board.control.propagation(revision).away == left[1:]


async def test_a_call_that_waits_goes_on_without_it_by_itself() -> None:
    """Nothing else happens that would wake it."""
    node = Resource(key=NODE, spec=VirtualNodeSpec())
    control = Control(
        lambda _, key, *__: snapshot(a(str(control.revision)), node=key),
        lambda: time.time_ns() // 1_000_000,
        away_seconds=0.05,
    )
    control.publish(Head(1, State([node])))
    control.connect(Proxy(id=WHO, node=NODE, placement=Redirect()), lambda _: None).close()
    control.publish(Head(2, State([msgspec.structs.replace(node, stack="2")])))
    found = await asyncio.wait_for(control.wait(2, 10 * DEADLINE), DEADLINE)
    assert brief(found) == ("no-proxies", (), (), (WHO,))


async def test_a_proxy_that_was_away_as_the_release_came_is_waited_for_over_real_streams(tmp_path: Path) -> None:
    """`wait` says for whom, and the release is marked once that one is back and has it."""
    settings = Settings(
        listen=("127.0.0.1", 0), xds=("127.0.0.1", 0), data_dir=tmp_path / "data", away_seconds=DEADLINE
    )
    async with control_plane(settings) as running:
        plane = Plane(running)
        await plane.apply(*CONTENT)
        async with plane.proxy():
            pass
        await until(lambda: _nobody_is_connected(plane))
        await plane.apply(*SHIFTED, CALLER, WEB)
        found = await plane.ask("propagation", 2)
        assert (found["state"], found["status"], found["pending"]) == ("pending", "applied", [PROXY])
        assert f"pending: {PROXY}, which is away" in propagation_text(found)
        waiting = asyncio.create_task(plane.ask("propagation", 2, 30))
        async with AdsClient(running.xds, dict(CALLS), delta=True, key=plane.key) as stream:
            for type_url in (CLUSTER, LISTENER, ROUTE):
                await stream.say(type_url, resource_names_subscribe=["*"])
                await stream.ack(await stream.hear())
            found = await waiting
            assert (found["state"], found["acked"], found["away"]) == ("propagated", [PROXY], [])
            assert found["status"] == "propagated"


@pytest.mark.envoy
@pytest.mark.parametrize("farewell", [True, False])
async def test_a_real_envoy_that_said_farewell_is_not_waited_for_and_one_that_was_killed_is(
    tmp_path: Path, farewell: bool
) -> None:
    """What it says before it is stopped is the word that takes its endpoint back."""
    with serving(tmp_path / "data") as server, somewhere(tmp_path) as place:
        ours = client(server)
        async with place.instance(server, 1) as envoy:
            await until(lambda: [one["state"] for one in ours.status()["proxies"]] == ["synced"])
            if farewell:
                assert await asyncio.to_thread(say_farewell, envoy.bootstrap)
        await until(lambda: not ours.status()["proxies"])
        released = await asyncio.to_thread(ours.apply, "shop", "shop", shop(timeout=TIMEOUT))
        found = await asyncio.to_thread(ours.propagation, "shop", "shop", released["release"]["number"], 0.0)
        assert found["away"] == ([] if farewell else [f"{PAY.path}@pay-1"])
        assert found["state"] in ({"no-proxies"} if farewell else {"pending", "no-proxies"})


async def _nobody_is_connected(plane: Plane) -> bool:
    return not (await asyncio.to_thread(plane.client.status))["proxies"]


def test_wait_names_who_was_not_seen() -> None:
    """Below how far the release has come."""
    found = {"release": "shop#2", "revision": 2, "acked": [], "pending": [], "tally": None, "away": [WHO]}
    line = f"  not seen: {WHO}, which left lately and gets it when it is back\n"
    for state in ("no-proxies", "propagated"):
        assert propagation_text({**found, "state": state}).endswith(f".\n{line}")
