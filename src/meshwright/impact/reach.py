"""Whom a plan reaches: the proxies that get a difference, and the callers whose requests pass through them.

The one rule: a proxy is reached when its snapshot differs, built as the control plane builds it. Where instances are
is no part of a plan: for those that DNS does not tell stand addresses that are reserved for documentation.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import felt
from meshwright.impact.envoy import compared
from meshwright.impact.values import Reach, Reached
from meshwright.model.identity import Kind
from meshwright.snapshot.build import build
from meshwright.snapshot.reaching import reach as shaping
from meshwright.snapshot.resources import Endpoint, Redirect, Snapshot, Traits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshwright.graph import Graph
    from meshwright.impact.scene import Scene
    from meshwright.model.identity import Key
    from meshwright.model.state import State
    from meshwright.snapshot.resources import Endpoints

_PROXIES = (Kind.VIRTUAL_GATEWAY, Kind.VIRTUAL_NODE)
_TRAITS = Traits(version=(1, 999, 0), runtime=True, zone="here")
"""Of an Envoy that is sent all that there is."""
_INSTANCES = (
    Endpoint(address="192.0.2.1", zone="here"),
    Endpoint(address="192.0.2.2", zone="elsewhere"),
    Endpoint(address="2001:db8::1", zone="here"),
    Endpoint(address="2001:db8::2", zone="elsewhere"),
)
_MOST_RESOURCES = 200
"""Resources that are described of one node."""
_MOST_IN_ALL = 5_000
"""Resources that are described of all nodes together: a mesh of thousands would fill memory otherwise."""


def reach(scene: Scene, connected: Mapping[Key, Sequence[str]] | None, *, detail: bool = False) -> Reach:
    """Who gets a difference by the plan.

    `connected` are the ids of the connected proxies of each node and gateway, None where that is not known. With
    `detail` the Envoy resources are described that differ.
    """
    moving = felt((one.key for one in scene.plan.changes), scene.old, scene.new)
    nodes: list[Reached] = []
    left = _MOST_IN_ALL if detail else 0
    for key in _proxies(scene.old, scene.new):
        if not (shaping(scene.before, key).isdisjoint(moving) and shaping(scene.after, key).isdisjoint(moving)):
            found = _node(scene, key, tuple((connected or {}).get(key, ())), min(left, _MOST_RESOURCES))
            if found is not None:
                nodes.append(found if detail else msgspec.structs.replace(found, more=0))
                left -= len(found.resources)
    return Reach(
        nodes=tuple(nodes),
        callers=_callers((scene.before, scene.after), [one.key for one in nodes]),
        connected=None if connected is None else sum(len(one.proxies) for one in nodes),
    )


def _proxies(*states: State) -> list[Key]:
    return sorted({one.key for state in states for kind in _PROXIES for one in state.of(kind)})


def _node(scene: Scene, key: Key, proxies: tuple[str, ...], most: int) -> Reached | None:
    before, after = _snapshot(scene.before, key, scene.now), _snapshot(scene.after, key, scene.now)
    found = compared(before, after, most=most)
    if not found.total:
        return None
    return Reached(
        key=key,
        action="create" if key not in scene.old else "update" if key in scene.new else "delete",
        added=found.added,
        changed=found.changed,
        removed=found.removed,
        proxies=proxies,
        resources=found.resources,
        more=found.total - len(found.resources),
    )


def _snapshot(graph: Graph, key: Key, now: int) -> Snapshot:
    if key not in graph.state:
        return Snapshot(proxy=key, resources={})
    return build(graph, key, graph.recall(_instances), Redirect(), _TRAITS, now)


def _instances(graph: Graph) -> Endpoints:
    return {one.key: _INSTANCES for one in graph.state.of(Kind.VIRTUAL_NODE)}


def _callers(graphs: Iterable[Graph], reached: Sequence[Key]) -> tuple[Key, ...]:
    """Who may send requests that come by any of `reached`, before or after, themselves apart."""
    calling: defaultdict[Key, set[Key]] = defaultdict(set)
    for graph in graphs:
        for key in _proxies(graph.state):
            for called in graph.called_nodes(key):
                calling[called].add(key)
    found, todo = set(reached), list(reached)
    while todo:
        fresh = calling[todo.pop()] - found
        found |= fresh
        todo += fresh
    return tuple(sorted(found - set(reached)))
