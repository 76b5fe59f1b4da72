"""How long one proxy's snapshot takes to build, in this process."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from benchmarks.meshes import cloudformation
from meshwright.control import reach
from meshwright.documents import load
from meshwright.documents.settings import LoadSettings
from meshwright.graph import Graph, resolve
from meshwright.model import Key, Kind, State
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Redirect


def measured(services: int, backends: int) -> tuple[float, float]:
    """Processor seconds a proxy: the first time, and after each of some changes of a route."""
    state = _state(services, backends)
    graph = resolve(state)
    proxies = [one.key for one in state.of(Kind.VIRTUAL_NODE)]
    first = _built(graph, proxies) / len(proxies)
    again = built = 0.0
    routes = state.of(Kind.ROUTE)
    for one, other in zip(routes, [*routes[1:], routes[0]], strict=True):
        state = state.put(type(one)(key=one.key, spec=other.spec))
        began = time.process_time()
        graph = graph.renewed(state, [one.key])
        again += time.process_time() - began
        concerned = [key for key in proxies if one.key in reach(graph, key)]
        again += _built(graph, concerned)
        built += len(concerned)
    return first, again / built


def _built(graph: Graph, proxies: list[Key]) -> float:
    began = time.process_time()
    for key in proxies:
        build(graph, key, {}, Redirect())
    return time.process_time() - began


def _state(services: int, backends: int) -> State:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mesh.template.json"
        path.write_text(json.dumps(cloudformation(range(services), backends)))
        return load([path], LoadSettings()).state
