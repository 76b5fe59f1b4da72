"""The targets of the push, each beside the raw floor in the same run: `python -m benchmarks.xds [--only NAME]`.

    commit      a write (validated, stored) to the last ack of 20 real Envoys, 100 services
    fan-out     1,000 delta streams, all changed, then one of them
    memory      resident memory a proxy with 20 backends
    reconnect   2,000 streams come back at once with what they have
    steady      2,000 streams and a change a second, for `--seconds`
    burst       200 writes at once: how many pushes a proxy gets
    build       one proxy's snapshot with 20 backends, after a change that concerns it

The floor sends as many bytes to as many streams through a bare gRPC loop. Every figure is the median of `--runs`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.process import Process
from benchmarks.push import MESH, NODES, STREAMS, ControlPlane, measure_floor
from benchmarks.report import Table, machine, ratio, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SERVICES = 100
BACKENDS = 20
ENVOYS = 20
MANY = 2_000
WRITES = 40


class Figure(msgspec.Struct, frozen=True):
    """One measured figure, its target, and the floor where there is one; in seconds unless `unit` says otherwise."""

    what: str
    value: float
    target: float
    floor: float | None = None
    unit: str = "s"

    @property
    def shown(self) -> tuple[str, ...]:
        """A row of the table."""
        floor = "-" if self.floor is None else _shown(self.floor, self.unit)
        over = "-" if self.floor is None else ratio(self.value, self.floor)
        met = "yes" if self.value <= self.target else "no"
        return (self.what, _shown(self.value, self.unit), _shown(self.target, self.unit), met, floor, over)


def _shown(value: float, unit: str) -> str:
    return seconds(value) if unit == "s" else f"{value:,.1f} {unit}"


def _late(taken: Sequence[float]) -> float:
    """The 99th percentile; of fewer than a hundred the largest."""
    return sorted(taken)[min(len(taken) - 1, round(0.99 * len(taken)))]


@contextmanager
def _plane(*, services: bool) -> Iterator[tuple[ControlPlane, Path]]:
    with tempfile.TemporaryDirectory() as folder, ControlPlane(Path(folder)) as plane:
        if services:
            plane.populate_services(SERVICES, BACKENDS)
        else:
            plane.populate()
        yield plane, Path(folder)


@contextmanager
def _streams(plane: ControlPlane, count: int, nodes: int) -> Iterator[Process]:
    dealt = [word for index in range(nodes) for word in ("--node", f"mesh/{MESH}/virtualNode/n{index}")]
    with Process("benchmarks.streams", "--target", plane.xds, *dealt, "--count", str(count)) as proxies:
        proxies.answer()
        yield proxies


def commit(_: argparse.Namespace) -> Iterator[Figure]:
    """Writes of a route that all the Envoys' nodes call."""
    with _plane(services=True) as (plane, folder), ExitStack() as envoys:
        plane.start_envoys(envoys, ENVOYS)
        # Node 20 is the next of each of the nodes 0 to 19.
        taken = [plane.until_propagated(ENVOYS, f"n{ENVOYS}") for _ in range(WRITES)]
        floor = measure_floor(folder, ENVOYS, 6_000)
    middle = statistics.median(floor)
    yield Figure("commit to last ack, 20 Envoys, p50", statistics.median(taken), 0.025, middle)
    yield Figure("commit to last ack, 20 Envoys, p99", _late(taken), 0.1, middle)


def fan_out(_: argparse.Namespace) -> Iterator[Figure]:
    """A write that concerns all streams, and one that concerns one."""
    with _plane(services=False) as (plane, folder):
        dealt = [f"mesh/{MESH}/virtualNode/n{index % (NODES - 1)}" for index in range(STREAMS - 1)]
        words = [word for one in [*dealt, f"mesh/{MESH}/virtualNode/n{NODES - 1}"] for word in ("--node", one)]
        with Process("benchmarks.streams", "--target", plane.xds, *words, "--count", str(STREAMS)) as proxies:
            proxies.answer()
            used = plane.process.seconds()
            every, size = plane.rounds(proxies, "shared", STREAMS)
            used = (plane.process.seconds() - used) / len(every)
            single, _ = plane.rounds(proxies, "own", 1)
            proxies.tell("counts")
            others = proxies.answer()["streams"] - 1
        floor = measure_floor(folder, STREAMS, size)
    yield Figure("1,000 streams, all changed, p99", _late(every), 0.4, _late(floor))
    yield Figure("1,000 streams, all changed, p50", statistics.median(every), 0.4, statistics.median(floor))
    yield Figure("the same, processor time of the server", used, 0.4)
    yield Figure("1,000 streams, one changed", _late(single), 0.05)
    yield Figure("other streams that heard of it", others, 0, unit="streams")


def memory(_: argparse.Namespace) -> Iterator[Figure]:
    """What 1,000 proxies with 20 backends add, after each has everything."""
    with _plane(services=True) as (plane, _folder):
        before = plane.process.resident()
        with _streams(plane, STREAMS, SERVICES):
            after = plane.process.resident()
    yield Figure("memory a proxy", (after - before) / STREAMS / 1000, 150, unit="kB")


def reconnect(_: argparse.Namespace) -> Iterator[Figure]:
    """All come back at once, and the API is asked meanwhile."""
    with _plane(services=True) as (plane, _folder), _streams(plane, MANY, SERVICES) as proxies:
        used = plane.process.seconds()
        proxies.tell("reconnect")
        slowest, asked = 0.0, plane.client()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(proxies.answer)
            while not answer.done():
                began = time.monotonic()
                asked.status()
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.02)
        said = answer.result()
        used = plane.process.seconds() - used
        slow = len(asked.status()["proxies"])
    if slow != MANY:
        raise RuntimeError(f"{slow} of {MANY} proxies are connected")
    yield Figure("2,000 streams reconnect, all answered", said["seconds"], 10)
    yield Figure("the same, processor time of the server", used, 10)
    yield Figure("resources sent again", said["resent"], 0, unit="resources")
    yield Figure("slowest answer of the API meanwhile", slowest, 1)


def steady(chosen: argparse.Namespace) -> Iterator[Figure]:
    """A change a second that concerns a fifth of the streams."""
    with _plane(services=True) as (plane, _folder), _streams(plane, MANY, SERVICES):
        for _ in range(10):
            plane.change("n0")
        memory_before, used, began = plane.process.resident(), plane.process.seconds(), time.monotonic()
        for number in range(chosen.seconds):
            time.sleep(max(0.0, began + number - time.monotonic()))
            plane.change(f"n{number % SERVICES}")
        time.sleep(max(0.0, began + chosen.seconds - time.monotonic()))
        share = (plane.process.seconds() - used) / (time.monotonic() - began)
        grown = plane.process.resident() - memory_before
    yield Figure(f"2,000 streams, a change a second for {chosen.seconds} s", 100 * share, 70, unit="% of a core")
    yield Figure("memory that it grew by meanwhile", grown / 1e6, 16, unit="MB")


def burst(_: argparse.Namespace) -> Iterator[Figure]:
    """Many writers at once; each commit concerns the same proxies."""
    writes = 200
    with _plane(services=True) as (plane, _folder), _streams(plane, ENVOYS, ENVOYS) as proxies:
        proxies.tell(f"expect {ENVOYS}")
        proxies.answer()
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: plane.change(f"n{ENVOYS}"), range(writes)))
        proxies.answer()
        time.sleep(0.5)
        proxies.tell("counts")
        pushes = proxies.answer()["responses"] / ENVOYS
    yield Figure(f"pushes a proxy for {writes} writes at once", pushes, writes / 2, unit="pushes")


def build(_: argparse.Namespace) -> Iterator[Figure]:
    """In this process: 100 proxies, after a change of one route that all of them lead to or none."""
    from benchmarks.building import measured  # noqa: PLC0415 - it needs the package, not a server

    first, again = measured(SERVICES, BACKENDS)
    yield Figure("snapshot of a proxy with 20 backends, after a change", again, 0.001)
    yield Figure("the same, with nothing remembered", first, 0.01)


CASES: dict[str, Callable[[argparse.Namespace], Iterator[Figure]]] = {
    "build": build,
    "commit": commit,
    "fan-out": fan_out,
    "memory": memory,
    "reconnect": reconnect,
    "burst": burst,
    "steady": steady,
}


def measured_figures(name: str, chosen: argparse.Namespace) -> list[Figure]:
    """The median of each figure of one case over the runs; what takes minutes runs once."""
    runs = [list(CASES[name](chosen)) for _ in range(1 if name == "steady" else chosen.runs)]
    found = []
    for several in zip(*runs, strict=True):
        floors = [one.floor for one in several if one.floor is not None]
        value = statistics.median(one.value for one in several)
        floor = statistics.median(floors) if floors else None
        found.append(msgspec.structs.replace(several[0], value=value, floor=floor))
    return found


def main() -> None:
    """Run the cases and print one table."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.xds")
    arguments.add_argument("--only", choices=list(CASES), action="append", help="this case; may be repeated")
    arguments.add_argument("--runs", type=int, default=5, help="of which the median is told")
    arguments.add_argument("--seconds", type=int, default=600, help="how long the steady case lasts")
    chosen = arguments.parse_args()
    rows: list[tuple[str, ...]] = []
    for name in chosen.only or CASES:
        print(f"Running {name} …", file=sys.stderr)
        rows += [one.shown for one in measured_figures(name, chosen)]
    note = f"Median of {chosen.runs} runs on {machine()}; the steady case is one run."
    print(Table("Push", note, ("what", "measured", "target", "met", "floor", "ratio"), tuple(rows)).markdown())


if __name__ == "__main__":
    main()
