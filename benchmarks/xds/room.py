"""Where a case takes place: a control plane with its mesh, and simulated proxies in a process of their own."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.process import Process
from benchmarks.xds import captured
from benchmarks.xds.plane import MESH, ControlPlane
from meshwright.lab.addresses import Block

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.xds.captured import Held

SERVICES = 100
BACKENDS = 20


class Room(NamedTuple):
    """A control plane with its mesh, and a folder."""

    plane: ControlPlane
    folder: Path


@contextmanager
def room(*, shared: int = 0) -> Iterator[Room]:
    """With `SERVICES` services; with `shared` nodes that call one service instead."""
    with tempfile.TemporaryDirectory() as name, Block() as block, ControlPlane(Path(name)) as plane:
        if shared:
            plane.populate_shared(shared)
        else:
            plane.populate_services(SERVICES, BACKENDS, block)
        yield Room(plane, Path(name))


def node_ids(count: int) -> list[str]:
    """The first virtual nodes, as proxies name them."""
    return [f"mesh/{MESH}/virtualNode/n{index}" for index in range(count)]


@contextmanager
def simulated_proxies(target: str, count: int, nodes: Sequence[str]) -> Iterator[Process]:
    """`count` simulated proxies, to whom the nodes are dealt out in turn, in a process of their own."""
    dealt = [word for node in nodes for word in ("--node", node)]
    with Process("benchmarks.xds.streams", "--target", target, *dealt, "--count", str(count)) as proxies:
        proxies.answer()
        yield proxies


def names(numbers: Sequence[int]) -> list[str]:
    """The names of simulated proxies."""
    return [f"simulated-{number}" for number in numbers]


def around(plane: ControlPlane, instances: Sequence[str], services: Sequence[str]) -> tuple[Held, Held]:
    """What these proxies hold before and after a write of each of these services; all that are there have it then."""
    _settle(plane, instances)
    before = captured.held(plane.xds, instances)
    for name in services:
        plane.change(name)
    _settle(plane, instances)
    return before, captured.held(plane.xds, instances)


def _settle(plane: ControlPlane, instances: Sequence[str]) -> None:
    """Wait until these proxies, and whoever else is there, have all they should.

    Raises:
        RuntimeError: that takes long.
    """
    until = time.monotonic() + 60
    while True:
        states = {one["id"].rpartition("@")[2]: one["state"] for one in plane.client().status()["proxies"]}
        late = [name for name in {*instances, *states} if states.get(name) != "synced"]
        if not late:
            return
        if time.monotonic() > until:
            raise RuntimeError(f"{len(late)} proxies did not take what they should within 60 s, such as {late[0]}")
        time.sleep(0.1)


def counts(proxies: Process) -> dict[str, Any]:
    """What the simulated proxies have received since they started."""
    proxies.tell("counts")
    return proxies.answer()
