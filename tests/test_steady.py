"""A control plane that runs for long: what it holds is the mesh and the proxies, not what they once were.

Told by what Python has allocated, not by resident memory, which says as much of the allocator and of other tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ads_client import AdsClient
from boards import Board, a, r, took
from meshwright.model.identity import Key, Kind
from meshwright.model.memo import Memo
from meshwright.server import Settings, control_plane
from meshwright.server.freeing import give_back
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE
from settings import PROVE
from test_releases import MESH, item, node, route, router
from test_releases_propagation import Plane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from meshwright.control import Lane
    from meshwright.release import Item
    from meshwright.snapshot.resources import Snapshot

SERVICES = 8
"""Services, each with a node that calls all of them."""
LONG = 100
"""Releases after which memory is looked at, and again after three times as many."""
SLACK = 200_000
"""Bytes that may be more by then: caches of a thousand small things still fill."""


def content(number: int) -> tuple[Item, ...]:
    """All services; the weights of one route are other than in the release before, and were never there before."""
    backends = [{"virtualService": {"virtualServiceName": f"s{one}.local"}} for one in range(SERVICES)]
    found = [item("", {})]
    for one in range(SERVICES):
        made = node(f"n{one}")
        turns = (number - one) // SERVICES
        provider = {"provider": {"virtualRouter": {"virtualRouterName": f"r{one}"}}}
        found += [
            type(made)(key=made.key, spec={**made.spec, "backends": backends}),
            router(f"r{one}"),
            route(f"r{one}/all", **{f"n{one}": 1 + turns % 99, f"n{(one + 1) % SERVICES}": 1 + turns // 99 % 100}),
            item(f"virtualService/s{one}.local", provider),
        ]
    return tuple(found)


async def follow(plane: Plane, name: str, instance: str, *, ready: asyncio.Event, zone: str = "") -> None:
    """A proxy that takes whatever it is offered, until it is cancelled."""
    said = {"id": f"mesh/{MESH}/virtualNode/{name}", "locality": {"zone": zone}}
    told = {"metadata": {"meshwright": {"instance": instance}}}
    async with AdsClient(plane.running.xds, said | told, delta=True, key=plane.key) as stream:
        for type_url in (CLUSTER, LISTENER, ROUTE):
            await stream.say(type_url, resource_names_subscribe=["*"])
            await stream.ack(await stream.hear())
        ready.set()
        while True:
            await stream.ack(await stream.hear())


@contextlib.asynccontextmanager
async def proxies(plane: Plane, *named: tuple[str, str, str]) -> AsyncIterator[None]:
    """Proxies, each a node, an instance and a zone, that are there and have everything."""
    ready = [asyncio.Event() for _ in named]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(follow(plane, name, instance, ready=there, zone=zone))
            for (name, instance, zone), there in zip(named, ready, strict=True)
        ]
        for there in ready:
            await there.wait()
        yield
        for task in tasks:
            task.cancel()


async def released(plane: Plane, numbers: Iterable[int]) -> None:
    """Releases, each taken by all and by a proxy that comes and goes, which is like no other."""
    for number in numbers:
        async with proxies(plane, ("n0", f"guest-{number}", f"zone-{number}")):
            made = await plane.apply(*content(number))
            found = await plane.ask("propagation", made["release"]["number"], 30)
            assert (found["state"], len(found["acked"])) == ("propagated", SERVICES + 1)


def allocated() -> int:
    """Bytes that Python holds since it is traced."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.fixture
def _traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("_traced")
@pytest.mark.skipif(not PROVE, reason="hundreds of releases: make prove")
async def test_a_control_plane_holds_no_more_after_three_times_as_many_releases(tmp_path: Path) -> None:
    """Of the snapshots of all proxies, of what each took, of proxies that left: nothing stays that only was."""
    # Otherwise each release would wait ten seconds for the guest of the one before, who said no farewell.
    settings = Settings(listen=("127.0.0.1", 0), xds=("127.0.0.1", 0), data_dir=tmp_path / "data", away_seconds=0)
    async with control_plane(settings) as running:
        plane = Plane(running)
        await plane.apply(*content(0))
        async with proxies(plane, *((f"n{one}", "own", "") for one in range(SERVICES))):
            await released(plane, range(1, LONG))
            before = allocated()
            await released(plane, range(LONG, 3 * LONG))
            assert allocated() - before < 2 * SLACK, "each release used to leave 7,000"


@pytest.mark.usefixtures("_traced")
def test_what_is_remembered_of_changes_is_small_and_ends() -> None:
    """For each of two nodes, each of 550 changes; twice as many take no more."""
    board, names = Board(), [f"n{number}" for number in range(2)]

    def publish(numbers: Iterable[int]) -> None:
        for number in numbers:
            board.publish(**{name: (a(), r(f"{number} of {name}")) for name in names})
            for lane, pushed in connected:
                took(lane)
                pushed.clear()
            board.builds.clear()

    connected: list[tuple[Lane, list[Snapshot | None]]] = []
    publish(range(1))
    connected += [board.connect(Key("shop", Kind.VIRTUAL_NODE, name)) for name in names]
    before = allocated()
    publish(range(550))
    filled = allocated()
    publish(range(550, 1100))
    assert filled - before < SLACK // 2, "each change used to be 450 bytes a node"
    assert allocated() - filled < SLACK // 10


def test_memory_that_is_free_in_pieces_is_given_back() -> None:
    """The C library keeps what lies before something that is still in use; here a hundred megabytes."""
    some = [bytes([1]) * 1_000 for _ in range(100_000)]
    used = resident()
    del some[:-1]
    if not give_back():
        pytest.skip("the C library cannot give memory back")
    assert used - resident() > 50_000_000


def resident() -> int:
    """Resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_no_change_asks_for_any_more_is_made_anew_and_what_each_asks_for_is_not() -> None:
    """A weight that a route had once is no use; the cluster that it leads to is."""
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name

    memo = Memo(turns=4)
    for number in range(50):
        assert [memo.once(make, name) for name in ("cluster", f"weight {number}")] == ["cluster", f"weight {number}"]
        memo.pass_turn()
        assert len(memo) <= 1 + 2 * 4
    assert made.count("cluster") == 1
    assert memo.once(make, "weight 0") == "weight 0"
    assert made.count("weight 0") == 2
