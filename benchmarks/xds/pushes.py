"""How quick a push is: a build, a commit until real Envoys have it, a thousand streams, a burst of writes.

The one rule: the floor sends what the control plane's own proxies were seen to hold, to the same clients in the same
run, and is asked the same question.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.xds.building import measured
from benchmarks.xds.envoys import envoys
from benchmarks.xds.figures import Figure, late
from benchmarks.xds.floor import floor
from benchmarks.xds.room import BACKENDS, SERVICES, around, counts, names, node_ids, room, simulated_proxies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.process import Process
    from benchmarks.xds.envoys import Envoy

ENVOYS = 20
STREAMS = 1_000
WRITES = 100
ROUNDS = 40
BURST = 200


def build(_: int) -> Iterator[Figure]:
    """In this process: 100 proxies, after a change of one route that all of them lead to or none."""
    it = measured(SERVICES, BACKENDS)
    what = "snapshot of a proxy with 20 backends"
    yield Figure(what=f"{what}, after a change", value=it.again, floor=it.again_floor, target=0.001)
    yield Figure(what=f"{what}, the first of each", value=it.first, floor=it.first_floor, target=0.001)
    yield Figure(what=f"{what}, the first of any", value=it.alone, floor=it.alone_floor)


def commit(_: int) -> Iterator[Figure]:
    """Writes of a route that all the Envoys' nodes call; then of one that a single one of them calls."""
    with room() as (plane, folder):
        # Node 20 is among the backends of each of the nodes 0 to 19, node 1 of these among the first's alone.
        with envoys(plane.xds, range(ENVOYS), plane.places) as running:
            before, after = around(plane, [one.name for one in running], [f"n{ENVOYS}"])
            heard = _received(running)
            taken = [plane.until_propagated(ENVOYS, f"n{ENVOYS}") for _ in range(WRITES)]
            heard = _received(running) - heard
            single = [plane.until_propagated(1, "n1") for _ in range(WRITES)]
        with floor(folder, before, after) as bare:
            with simulated_proxies(bare.target, ENVOYS, node_ids(ENVOYS)):
                simple = [bare.until_acked() for _ in range(WRITES)]
                simple_one = [bare.until_acked(node_ids(1)) for _ in range(WRITES)]
            with envoys(bare.target, range(ENVOYS), plane.places) as running:
                least = _received(running)
                real = [bare.until_acked() for _ in range(WRITES)]
                least = _received(running) - least
    p50, p99 = statistics.median, late
    what = f"commit to last ack, {ENVOYS} Envoys"
    yield Figure(what=f"{what}, p50", value=p50(taken), floor=p50(simple), target=0.025)
    yield Figure(what=f"{what}, p99", value=p99(taken), floor=p99(simple), target=0.1)
    yield Figure(what=f"{what}, p50, floor with the same Envoys", value=p50(taken), floor=p50(real))
    yield Figure(what=f"{what}, p99, floor with the same Envoys", value=p99(taken), floor=p99(real))
    each = ENVOYS * WRITES
    yield Figure(what="the same, received by an Envoy a write", value=heard / each, floor=least / each, unit="bytes")
    yield Figure(what="commit to ack, one Envoy of them, p50", value=p50(single), floor=p50(simple_one))


def _received(running: Sequence[Envoy]) -> int:
    return sum(one.received for one in running)


def fan_out(_: int) -> Iterator[Figure]:
    """A write that concerns all streams, and one that concerns one."""
    nodes = node_ids(SERVICES)
    # The last node has one stream, so that a change of its own service concerns exactly one.
    dealt = [nodes[index % (SERVICES - 1)] for index in range(STREAMS - 1)] + nodes[-1:]
    each = names([*range(SERVICES - 1), STREAMS - 1])
    with room(shared=SERVICES) as (plane, folder):
        with simulated_proxies(plane.xds, STREAMS, dealt) as proxies:
            before, after = around(plane, each, ["shared"])
            ours = _Fanned.out(proxies, plane.process, lambda: plane.change("shared"), lambda: plane.change("own"))
        with floor(folder, before, after) as bare, simulated_proxies(bare.target, STREAMS, dealt) as proxies:
            least = _Fanned.out(proxies, bare.process, bare.push, lambda: bare.push(nodes[-1:]))
    what = f"{STREAMS:,} streams, all changed"
    yield Figure(what=f"{what}, p99", value=late(ours.every), floor=late(least.every), target=0.4, most=2)
    middle, low = statistics.median(ours.every), statistics.median(least.every)
    yield Figure(what=f"{what}, p50", value=middle, floor=low)
    yield Figure(what="the same, processor time of the server a push", value=ours.used, floor=least.used)
    yield Figure(what="the same, received by all a push", value=ours.size, floor=least.size, unit="kB")
    middle, low = late(ours.single), late(least.single)
    yield Figure(what=f"{STREAMS:,} streams, one changed, p99", value=middle, floor=low, target=0.05)
    yield Figure(
        what="the same, received by the others", value=ours.others, floor=least.others, target=0, unit="bytes"
    )


class _Fanned(NamedTuple):
    """What pushes to all and to the last stream cost."""

    every: list[float]
    used: float
    size: float
    single: list[float]
    others: float

    @classmethod
    def out(
        cls, proxies: Process, server: Process, to_all: Callable[[], float], to_last: Callable[[], float]
    ) -> _Fanned:
        """Push some times to all streams, then as often to the last."""
        heard, used = sum(counts(proxies)["received"]), server.seconds()
        every = _rounds(proxies, to_all, STREAMS, ROUNDS)
        used = (server.seconds() - used) / ROUNDS
        said = counts(proxies)["received"]
        # The last acks are written, not yet all read: what follows at once waits behind them, which is no push's own.
        time.sleep(1)
        single = _rounds(proxies, to_last, 1, ROUNDS)
        time.sleep(0.5)
        others = sum(counts(proxies)["received"][:-1]) - sum(said[:-1])
        return cls(every, used, (sum(said) - heard) / ROUNDS / 1e3, single, others)


def burst(_: int) -> Iterator[Figure]:
    """Many writers at once; each commit concerns the same proxies, who could do with one push."""
    nodes = node_ids(ENVOYS)
    with room() as (plane, _folder), simulated_proxies(plane.xds, ENVOYS, nodes) as proxies:
        had = counts(proxies)["responses"]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: plane.change(f"n{ENVOYS}"), range(BURST)))
        time.sleep(1)
        pushes = (counts(proxies)["responses"] - had) / ENVOYS
    yield Figure(what=f"pushes a proxy for {BURST} writes at once", value=pushes, floor=1, target=BURST / 2, unit="")


def _rounds(proxies: Process, act: Callable[[], float], count: int, rounds: int) -> list[float]:
    """Seconds from each of some pushes, which `act` begins, until `count` streams have written their ack."""
    taken = []
    for _ in range(rounds):
        proxies.tell(f"expect {count}")
        proxies.answer()
        began = act()
        taken.append(proxies.answer()["last"] - began)
    return taken
