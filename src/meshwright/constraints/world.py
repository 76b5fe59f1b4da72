"""How much of the mesh is known: whether a name that leads nowhere is a fault, or merely not among these files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.model.identity import Key

if TYPE_CHECKING:
    from meshwright.graph import Graph


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What there is beside the graph that is judged."""

    whole: bool | None = None
    """Whether the graph holds all there is; None decides for each mesh: it does when the mesh object is in it."""
    unread: frozenset[Key] = frozenset()
    """Objects that are defined, but with a fault that kept them out of the graph (`documents.Loaded.broken`)."""

    now: int | None = None
    """Milliseconds since the epoch, UTC; None where the time does not matter or is not known."""

    def has_all(self, graph: Graph, mesh: str) -> bool:
        """Whether everything of `mesh` that could be referred to is in `graph`."""
        return Key.of_mesh(mesh) in graph.state if self.whole is None else self.whole
