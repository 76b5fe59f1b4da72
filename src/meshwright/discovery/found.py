"""What all sources know of every node, as the mapping that snapshots are built from.

The one rule: nothing is kept here. A node has what its sources say at that moment, and as long as one of them has not
looked yet, that is unknown rather than nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from meshwright.model.identity import Key
from meshwright.snapshot.resources import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint of one node, and how it is known."""

    node: Key
    endpoint: Endpoint
    source: str
    """`registration` or `cloud-map`."""
    name: str
    """The proxy that registered it, or the instance's id in Cloud Map."""
    state: str
    """`healthy`, `unhealthy`, `starting` (its proxy has not said yet that it serves) or `lost` (its stream ended)."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Why the endpoints of a node may be out of date: it has those that were found last."""

    node: Key
    source: str
    message: str
    since: int
    """Milliseconds since the epoch, UTC."""


class Source(Protocol):
    """One way of finding endpoints."""

    def of(self, node: Key) -> tuple[Endpoint, ...] | None:
        """The endpoints of `node`; None where they were not looked for yet."""
        ...

    def nodes(self) -> frozenset[Key]:
        """The nodes that it knows endpoints of."""
        ...

    def rows(self, mesh: str = "") -> tuple[Row, ...]:
        """Every endpoint, or those of one mesh, by node and address."""
        ...

    def faults(self, mesh: str = "") -> tuple[Fault, ...]:
        """What cannot be looked up now, or of one mesh, by node."""
        ...


class Found(Mapping[Key, tuple[Endpoint, ...] | None]):
    """The union of what `sources` know; a node that none knows of has no endpoint."""

    def __init__(self, *sources: Source) -> None:
        self.sources = sources

    def __getitem__(self, node: Key) -> tuple[Endpoint, ...] | None:
        found: list[Endpoint] = []
        for source in self.sources:
            known = source.of(node)
            if known is None:
                return None
            found += known
        return tuple(found)

    def __iter__(self) -> Iterator[Key]:
        return iter(frozenset().union(*(source.nodes() for source in self.sources)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def rows(self, mesh: str = "") -> tuple[Row, ...]:
        """Every endpoint with its source, or those of one mesh, by node and address."""
        rows = [row for source in self.sources for row in source.rows(mesh)]
        return tuple(sorted(rows, key=lambda row: (row.node, row.endpoint, row.source)))

    def faults(self, mesh: str = "") -> tuple[Fault, ...]:
        """What cannot be looked up now, of all meshes or of one, by node."""
        return tuple(
            sorted((one for source in self.sources for one in source.faults(mesh)), key=lambda one: one.node)
        )
