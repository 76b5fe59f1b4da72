"""Which objects may shape a proxy's snapshot, and by which of them it feels a change.

The one rule: too much is a build for nothing, too little a change that a proxy never hears of: in doubt, more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.model.identity import Key


def reach(graph: Graph, node: Key) -> frozenset[Key]:
    """Every object that may shape the snapshot of `node`, missing ones that it names included."""
    return graph.region(node).union(*(graph.region(service) for service in graph.entry_services(node)))
