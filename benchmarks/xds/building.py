"""How long one proxy's snapshot takes to build, in this process, beside the serialisation of what is new in it.

The one rule: garbage is looked for as seldom as in a server; by Python's own settings it is a fifth of the time.
"""

from __future__ import annotations

import gc
import json
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.meshes import cloudformation
from meshwright.documents import load
from meshwright.documents.settings import LoadSettings
from meshwright.graph import Graph, resolve
from meshwright.model import Key, Kind, State
from meshwright.server.freeing import collect_rarely
from meshwright.snapshot.build import build
from meshwright.snapshot.messages import message, serialized
from meshwright.snapshot.reaching import reach
from meshwright.snapshot.resources import EnvoyResource, Redirect, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALONE = 20
"""Proxies that are built for alone, each with the graph of a mesh that nothing was made of yet."""


class Built(msgspec.Struct, frozen=True):
    """Processor seconds a proxy, and for the floor those of serialising the messages that were made."""

    alone: float
    """Of one proxy, whose backends nobody was built for yet either."""
    alone_floor: float
    first: float
    """Of each of all proxies, one after the other: what one made, the next ones hold as well."""
    first_floor: float
    again: float
    again_floor: float


def measured(services: int, backends: int) -> Built:
    """The first time for one proxy, for each of all, and after each of some changes of a route."""
    state = _state(services, backends)
    with _collected_as_in_a_server():
        return _measured(state)


def _measured(state: State) -> Built:
    graph = resolve(state)
    proxies = [one.key for one in state.of(Kind.VIRTUAL_NODE)]
    # What a process loads with its first snapshot, the classes of messages (25 ms), is no part of any other.
    _built(resolve(state), proxies[:1])
    alone, alone_floor = _alone(state, proxies[:_ALONE])
    built, first = _built(graph, proxies)
    first_floor = _serialised(_resources(built))
    again, count, made = 0.0, 0, list[EnvoyResource]()
    routes = state.of(Kind.ROUTE)
    for one, other in zip(routes, [*routes[1:], routes[0]], strict=True):
        state = state.put(type(one)(key=one.key, spec=other.spec))
        began = time.process_time()
        graph = graph.renewed(state, [one.key])
        again += time.process_time() - began
        newer, taken = _built(graph, [key for key in proxies if one.key in reach(graph, key)])
        again, count = again + taken, count + len(newer)
        made += [new for key, snapshot in newer.items() for new in _new(built[key], snapshot)]
        built |= newer
    again_floor = _serialised(made) / count
    return Built(alone, alone_floor, first / len(proxies), first_floor / len(proxies), again / count, again_floor)


@contextmanager
def _collected_as_in_a_server() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.collect()
    collect_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def _alone(state: State, proxies: list[Key]) -> tuple[float, float]:
    """Seconds a proxy, and of serialising what it holds."""
    built, taken = dict[Key, Snapshot](), 0.0
    for key in proxies:
        one, seconds = _built(resolve(state), [key])
        built, taken = built | one, taken + seconds
    return taken / len(proxies), _serialised(_resources(built)) / len(proxies)


def _resources(built: dict[Key, Snapshot]) -> list[EnvoyResource]:
    return [one for snapshot in built.values() for named in snapshot.resources.values() for one in named.values()]


def _built(graph: Graph, proxies: list[Key]) -> tuple[dict[Key, Snapshot], float]:
    began = time.process_time()
    built = {key: build(graph, key, {}, Redirect()) for key in proxies}
    return built, time.process_time() - began


def _new(older: Snapshot, newer: Snapshot) -> list[EnvoyResource]:
    """What the older snapshot did not have so."""
    return [
        one
        for url, named in newer.resources.items()
        for name, one in named.items()
        if name not in older.of(url) or older.of(url)[name].version != one.version
    ]


def _serialised(resources: list[EnvoyResource]) -> float:
    """Seconds to serialise the messages of these resources, which are there ready."""
    messages = [message(one.type_url.rpartition("/")[2]).FromString(one.body) for one in resources]
    began = time.process_time()
    for one in messages:
        serialized(one)
    return time.process_time() - began


def _state(services: int, backends: int) -> State:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mesh.template.json"
        path.write_text(json.dumps(cloudformation(range(services), backends)))
        return load([path], LoadSettings()).state
