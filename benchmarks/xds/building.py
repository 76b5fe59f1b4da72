"""How long one proxy's snapshot takes to build, in this process, beside the serialisation of what is new in it."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.meshes import cloudformation
from meshwright.control import reach
from meshwright.documents import load
from meshwright.documents.settings import LoadSettings
from meshwright.graph import Graph, resolve
from meshwright.model import Key, Kind, State
from meshwright.snapshot.build import build
from meshwright.snapshot.messages import message, serialized
from meshwright.snapshot.resources import EnvoyResource, Redirect, Snapshot


class Built(msgspec.Struct, frozen=True):
    """Processor seconds a proxy, and for the floor those of serialising the messages that were made."""

    first: float
    first_floor: float
    again: float
    again_floor: float


def measured(services: int, backends: int) -> Built:
    """The first time for each proxy, and after each of some changes of a route."""
    state = _state(services, backends)
    graph = resolve(state)
    proxies = [one.key for one in state.of(Kind.VIRTUAL_NODE)]
    # What a process loads with its first snapshot, the classes of messages (25 ms), is no part of any other.
    _built(resolve(state), proxies[:1])
    built, first = _built(graph, proxies)
    made = [one for snapshot in built.values() for named in snapshot.resources.values() for one in named.values()]
    first_floor = _serialised(made)
    again, count, made = 0.0, 0, []
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
    return Built(first / len(proxies), first_floor / len(proxies), again / count, _serialised(made) / count)


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
