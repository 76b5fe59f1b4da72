"""Which objects may shape a proxy's snapshot, and by which of them it feels a change.

The one rule: too much is a build for nothing, too little a change that a proxy never hears of: in doubt, more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.graph import Graph, Relation, extended
from meshwright.model.identity import EXTENSION_KINDS, Key, Kind
from meshwright.model.state import Extension, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def reach(graph: Graph, node: Key) -> frozenset[Key]:
    """Every object that may shape the snapshot of `node`, missing ones that it names included."""
    entries = (graph.recall(_walked, service) for service in graph.entry_services(node))
    return _walked(graph, node).union((Key.of_mesh(node.mesh),), *entries)


def _walked(graph: Graph, start: Key) -> frozenset[Key]:
    """`start` and all that it leads to."""
    todo, found = [start], {start}
    while todo:
        for key in _neighbours(graph, todo.pop()):
            if key not in found:
                found.add(key)
                todo.append(key)
    return frozenset(found)


def _neighbours(graph: Graph, key: Key) -> Iterator[Key]:
    # A called node's own backends are none of the caller's business: nodes are where the walk ends.
    called = (Relation.PROVIDER, Relation.TARGET, Relation.COPIES)
    yield from (edge.target for edge in graph.outgoing(key, *called))
    yield from (one.key for kind in EXTENSION_KINDS for one in graph.extensions(kind, key))
    yield from (child.key for child in graph.children(key) if key.kind is not Kind.MESH)


def felt(differing: Iterable[Key], before: State, after: State) -> frozenset[Key]:
    """The objects that differ, and those by which a proxy feels one that it does not lead to, or not yet.

    These are the routers and gateways that they lie in, and what extensions are about, or were.
    """
    found = frozenset(differing)
    extensions = [
        one for key in found if not key.kind.portable for state in (before, after) if (one := state.get(key))
    ]
    targets = {extended(one.key.mesh, one.spec)[0] for one in extensions if isinstance(one.spec, Extension)}
    owners = {key.owner for key in found | targets if key.kind.parent is not None}
    return found.union(targets, (owner for owner in owners if owner is not None))
