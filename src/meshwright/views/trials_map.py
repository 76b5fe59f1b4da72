"""The dependency graph of a mesh with what of it a test run went over, for reports.

The one rule: boxes and arrows are those of `meshwright graph`; one without a test is told like one with many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.trials.ways import taken
from meshwright.views.graph_picture import Box, picture

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.graph import Graph
    from meshwright.trials.judging import Result


class Place(Box, frozen=True, kw_only=True):
    """A gateway, a virtual service or a virtual node, and how many tests that passed went there."""

    tests: int


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic from one of them to another, and how many tests that passed took this way."""

    source: str
    target: str
    labels: tuple[str, ...]
    """By which routes, with the share of each where there are several."""
    tests: int


class Map(msgspec.Struct, frozen=True, kw_only=True):
    """The dependency graph, with what of it the run went over."""

    boxes: tuple[Place, ...]
    arrows: tuple[Way, ...]


def mapped(graph: Graph, results: Iterable[Result]) -> Map:
    """The graph with the tests among `results` that passed."""
    drawn, went = picture(graph), taken(graph, results)
    labels: dict[tuple[str, str], list[str]] = {}
    for arrow in drawn.arrows:
        labels.setdefault((arrow.source, arrow.target), []).extend([arrow.label] if arrow.label else [])
    ways = {(source.path, target.path): count for (source, target), count in went.ways.items()}
    ends = {key.path: count for key, count in went.ends.items()}
    return Map(
        boxes=tuple(
            Place(object=one.object, kind=one.kind, name=one.name, found=one.found, tests=ends.get(one.object, 0))
            for one in drawn.boxes
        ),
        arrows=tuple(
            Way(source=way[0], target=way[1], labels=tuple(told), tests=ways.get(way, 0))
            for way, told in labels.items()
        ),
    )
