"""Snapshots of a revision that is being made durable, built while the disk is waited for.

The one rule: nobody gets one before its revision is published. It is of one graph, and counts where that has become
the newest one; of a commit that failed nothing is ever seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshwright.control.group import Group, Renewal
    from meshwright.graph import Graph


class Foreseen:
    """What groups of proxies should hold once a graph is the newest."""

    def __init__(self, graph: Graph | None = None) -> None:
        self._graph = graph
        self._renewals: dict[Group, Renewal] = {}

    def keep(self, group: Group, found: Renewal) -> None:
        """`found` is what `group` should hold then."""
        self._renewals[group] = found

    def take(self, group: Group, graph: Graph, now: int) -> Renewal | None:
        """What `group` should hold by `graph` at this moment, once; None where that was not foreseen."""
        if graph is not self._graph:
            return None
        found = self._renewals.pop(group, None)
        ends = found.snapshot.changes_at if found is not None else None
        return None if ends is not None and ends <= now else found
