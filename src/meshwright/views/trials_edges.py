"""Who called whom in a test run, beside what the definitions declare.

The one rule: what proxies and workloads told counts; where nothing ran, it is what simulation says.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from meshwright.routing import declared_ways

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.graph import Graph
    from meshwright.trials.judging import Result


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one node or gateway to another node, declared or seen."""

    caller: str
    callee: str
    """Objects, as paths."""
    declared: bool
    """Whether the caller's definition leads there."""
    services: tuple[str, ...]
    """By which virtual services it does."""
    tests: int
    """How many tests made such a call; where nothing ran, how many would have."""
    passed: int
    """How many of them passed; a declared edge without one is not tested."""


def edges(graph: Graph, results: Sequence[Result]) -> Iterator[Edge]:
    """Everything that is declared or was seen, by caller and called node."""
    declared = declared_ways(graph, graph.state.meshes[0])
    made = Counter(way for one in results for way in one.seen.ways)
    passed = Counter(way for one in results if one.passed for way in one.seen.ways)
    for way in sorted(declared.keys() | made.keys()):
        services = declared.get(way, ())
        yield Edge(
            caller=way[0].path,
            callee=way[1].path,
            declared=bool(services),
            services=services,
            tests=made[way],
            passed=passed[way],
        )
