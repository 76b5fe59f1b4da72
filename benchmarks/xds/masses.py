"""What thousands of proxies cost: memory, their return all at once, and changes that go on and on.

The one rule: the floor sends what the control plane's own proxies were seen to hold, to the same clients in the same
run, and is asked the same question.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.xds import captured
from benchmarks.xds.envoys import envoys
from benchmarks.xds.figures import Figure, slope
from benchmarks.xds.floor import floor
from benchmarks.xds.plane import MESH
from benchmarks.xds.room import BACKENDS, SERVICES, around, counts, names, node_ids, room, simulated_proxies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.process import Process
    from benchmarks.xds.captured import Held
    from benchmarks.xds.envoys import Envoy
    from benchmarks.xds.plane import ControlPlane

STREAMS = 1_000
MANY = 2_000
REPORTING = 10
"""Real Envoys by whose number two measurements of memory differ."""
LONG = 300
"""Seconds of steady changes from which on it is judged whether memory is flat."""
SAMPLE = 2
"""Seconds between two looks at the memory."""


def memory(_: int) -> Iterator[Figure]:
    """What 1,000 proxies with 20 backends add, after each has everything."""
    nodes = node_ids(SERVICES)
    with room() as (plane, folder):
        ours = plane.process.resident()
        with simulated_proxies(plane.xds, STREAMS, nodes):
            ours = plane.process.resident() - ours
            held = captured.held(plane.xds, names(range(SERVICES)))
        with floor(folder, held, held) as bare:
            least = bare.process.resident()
            with simulated_proxies(bare.target, STREAMS, nodes):
                least = bare.process.resident() - least
    what = f"memory a proxy, of {STREAMS:,} streams"
    yield Figure(what=what, value=ours / STREAMS / 1e3, floor=least / STREAMS / 1e3, target=150, unit="kB")


def loads(_: int) -> Iterator[Figure]:
    """What ten real Envoys add to ten others; all of them call their backends and report that."""
    with room() as (plane, folder):

        def reported(count: int) -> None:
            until = time.monotonic() + 120
            while plane.gauge("meshwright_observed_edges") < count * BACKENDS:
                if time.monotonic() > until:
                    raise RuntimeError(f"not all {count} Envoys reported whom they call within 120 s")
                time.sleep(0.2)

        def known() -> Held:
            return captured.held(plane.xds, [f"envoy-{number}" for number in range(2 * REPORTING)])

        ours, held = _grown(plane.xds, plane, plane.process, reported, known)
        with floor(folder, held, held) as bare:
            least, _held = _grown(bare.target, plane, bare.process, lambda _: time.sleep(10), dict)
    what = f"memory a real Envoy that reports load, {2 * REPORTING} less {REPORTING}"
    yield Figure(what=what, value=ours / REPORTING / 1e3, floor=least / REPORTING / 1e3, target=150, unit="kB")


def _grown(
    target: str, plane: ControlPlane, server: Process, reported: Callable[[int], None], known: Callable[[], Held]
) -> tuple[int, Held]:
    """By how many bytes a server grows from `REPORTING` Envoys to twice as many, and what these hold."""
    grown = 0
    with envoys(target, range(REPORTING), plane.places) as first:
        _call(first)
        reported(REPORTING)
        grown -= server.resident()
        with envoys(target, range(REPORTING, 2 * REPORTING), plane.places) as second:
            _call([*first, *second])
            reported(2 * REPORTING)
            grown += server.resident()
            return grown, known()


def _call(running: Sequence[Envoy]) -> None:
    """Each calls all its backends."""
    for one in running:
        first = int(one.name.rpartition("-")[2]) + 1
        one.call([f"n{(first + step) % SERVICES}" for step in range(BACKENDS)])


def reconnect(_: int) -> Iterator[Figure]:
    """All come back at once with what they have, and the API is asked meanwhile."""
    nodes = node_ids(SERVICES)
    with room() as (plane, folder):
        with simulated_proxies(plane.xds, MANY, nodes) as proxies:
            held = captured.held(plane.xds, names(range(SERVICES)))
            ours = _Returned.all(proxies, plane.process, lambda: plane.mesh.describe_mesh(meshName=MESH))
            connected = plane.gauge("meshwright_proxies_connected")
            if connected != MANY:
                raise RuntimeError(f"{connected:.0f} of {MANY} proxies are connected")
        with floor(folder, held, held) as bare, simulated_proxies(bare.target, MANY, nodes) as proxies:
            least = _Returned.all(proxies, bare.process, lambda: None)
    what = f"{MANY:,} streams reconnect, all answered"
    yield Figure(what=what, value=ours.seconds, floor=least.seconds, target=10)
    yield Figure(what="the same, processor time of the server", value=ours.used, floor=least.used)
    yield Figure(what="the same, received by all", value=ours.size, floor=least.size, unit="kB")
    yield Figure(what="the same, resources sent again", value=ours.resent, floor=least.resent, target=0, unit="")
    yield Figure(what="the same, connections that broke", value=ours.broken, floor=least.broken, unit="")
    yield Figure(what="slowest answer of the API meanwhile", value=ours.slowest, target=1)


class _Returned(NamedTuple):
    """What it cost that all came back."""

    seconds: float
    used: float
    size: float
    resent: int
    broken: int
    slowest: float

    @classmethod
    def all(cls, proxies: Process, server: Process, ask: Callable[[], object]) -> _Returned:
        """Have all streams opened again, and `ask` something all the while."""
        heard, used, slowest = sum(counts(proxies)["received"]), server.seconds(), 0.0
        proxies.tell("reconnect")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(proxies.answer)
            while not answer.done():
                began = time.monotonic()
                ask()
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.05)
        said = answer.result()
        used = server.seconds() - used
        heard = sum(counts(proxies)["received"]) - heard
        return cls(said["seconds"], used, heard / 1e3, said["resent"], said["broken"], slowest)


def steady(lasting: int) -> Iterator[Figure]:
    """A change a second that concerns a fifth of the streams, for `lasting` seconds; a tenth as long of the floor."""
    nodes, briefly = node_ids(SERVICES), max(10, min(60, lasting // 10))
    with room() as (plane, folder):
        with simulated_proxies(plane.xds, MANY, nodes) as proxies:
            # Each node calls the next 20, so that these five concern all.
            every = [f"n{number}" for number in range(0, SERVICES, BACKENDS)]
            before, after = around(plane, names(range(SERVICES)), every)
            ours = _Kept.up(proxies, plane.process, lambda second: plane.change(f"n{second % SERVICES}"), lasting)
        with floor(folder, before, after) as bare, simulated_proxies(bare.target, MANY, nodes) as proxies:
            least = _Kept.up(proxies, bare.process, lambda second: bare.push(_callers(nodes, second)), briefly)
    what = f"{MANY:,} streams, a change a second for {lasting} s"
    yield Figure(what=what, value=ours.share, floor=least.share, target=70, unit="% of a core")
    yield Figure(
        what="the same, the simulated proxies' process", value=ours.load, floor=least.load, unit="% of a core"
    )
    yield Figure(what="the same, responses a second", value=ours.responses, floor=least.responses, unit="")
    yield Figure(what="the same, sent a second", value=ours.sent, floor=least.sent, unit="kB")
    sizes = [size for _, size in ours.sizes]
    for when, size in (("start", sizes[0]), ("middle", sizes[len(sizes) // 2]), ("end", sizes[-1])):
        yield Figure(what=f"memory of the server at the {when}", value=size / 1e6, unit="MB")
    rise = 60 * slope(ours.sizes[len(sizes) // 2 :]) / 1e3
    flat = 200 if lasting >= LONG else None
    told = "" if flat else " (too short to judge)"
    yield Figure(what=f"its rise a minute over the second half{told}", value=rise, target=flat, unit="kB")


def _callers(nodes: Sequence[str], second: int) -> list[str]:
    """Those whom a change of that second's service concerns: the nodes before it."""
    return [nodes[(second - step) % len(nodes)] for step in range(1, BACKENDS + 1)]


def _settled(proxies: Process) -> dict[str, Any]:
    """The counts once a second has passed in which nothing came."""
    had, now = -1, counts(proxies)
    while had != now["responses"]:
        time.sleep(1)
        had, now = now["responses"], counts(proxies)
    return now


class _Kept(NamedTuple):
    """What it cost to keep changing something."""

    share: float
    load: float
    responses: float
    sent: float
    sizes: list[tuple[float, int]]

    @classmethod
    def up(cls, proxies: Process, server: Process, change: Callable[[int], object], lasting: int) -> _Kept:
        """One change a second, after ten that are not counted."""
        for second in range(10):
            change(second)
        if proxies.pid == server.pid:
            raise RuntimeError("the simulated proxies run in the server's own process")
        had, used, load, began = _settled(proxies), server.seconds(), proxies.seconds(), time.monotonic()
        sizes = []
        for second in range(lasting):
            time.sleep(max(0.0, began + second - time.monotonic()))
            change(second)
            if second % SAMPLE == 0:
                sizes.append((time.monotonic() - began, server.resident()))
        time.sleep(max(0.0, began + lasting - time.monotonic()))
        took, have = time.monotonic() - began, counts(proxies)
        sizes.append((took, server.resident()))
        share, load = 100 * (server.seconds() - used) / took, 100 * (proxies.seconds() - load) / took
        sent = sum(have["received"]) - sum(had["received"])
        return cls(share, load, (have["responses"] - had["responses"]) / took, sent / took / 1e3, sizes)
