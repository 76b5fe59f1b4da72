"""Which objects may shape a proxy's snapshot, and by which of them it feels a change.

The one rule: too much is a build for nothing, too little a change that a proxy never hears of: in doubt, more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.graph import Graph

if TYPE_CHECKING:
    from meshwright.model.identity import Key


def reach(graph: Graph, node: Key) -> frozenset[Key]:
    """Every object that may shape the snapshot of `node`, missing ones that it names included."""
    services = graph.recall_about(node, Graph.entry_services, node)
    # Equal regions are the same object, so that after most changes this is known.
    return graph.memo.once(_joined, graph.region(node), *map(graph.region, services))


def _joined(*regions: frozenset[Key]) -> frozenset[Key]:
    return frozenset().union(*regions)
