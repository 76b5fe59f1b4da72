"""Snapshots of a revision that is being made durable, built while the disk is waited for.

The one rule: nobody gets one before its revision is published. It is of one graph, and counts where that has become
the newest one; of a commit that failed nothing is ever seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshwright.control.group import Group
    from meshwright.graph import Graph
    from meshwright.snapshot.resources import Snapshot


class Foreseen:
    """What groups of proxies should hold once a graph is the newest."""

    def __init__(self, graph: Graph | None = None) -> None:
        self._graph = graph
        self._snapshots: dict[Group, Snapshot] = {}

    def keep(self, group: Group, snapshot: Snapshot) -> None:
        """`snapshot` is what `group` should hold then."""
        self._snapshots[group] = snapshot

    def take(self, group: Group, graph: Graph, now: int) -> Snapshot | None:
        """What `group` should hold by `graph` at this moment, once; None where that was not foreseen."""
        if graph is not self._graph:
            return None
        found = self._snapshots.pop(group, None)
        ended = found is not None and found.changes_at is not None and found.changes_at <= now
        return None if ended else found
