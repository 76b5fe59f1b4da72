"""Boxes in layers from left to right: where each stands, and which way each arrow goes.

The one rule: deterministic; the same picture always gives the same coordinates. The steps are Sugiyama's: turn the
arrows of circles around, put each box one layer behind what calls it, order the layers to cross few arrows, place.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    Pair = tuple[str, str]

_SWEEPS = 12


class Layout(msgspec.Struct, frozen=True):
    """Layer and height of every point, and the points of every arrow from its source to its target."""

    places: Mapping[str, tuple[int, float]]
    """By box or waypoint: the layer, from 0, and the row, a multiple of about 1."""
    ways: Mapping[tuple[str, str], tuple[str, ...]]
    """By source and target: the points that the arrow goes through, both ends included."""


def arranged(boxes: Sequence[str], arrows: Sequence[Pair]) -> Layout:
    """The layout of `boxes` and the arrows between them; arrows from a box to itself have no way."""
    pairs = [pair for pair in dict.fromkeys(arrows) if pair[0] != pair[1]]
    turned = _turned(boxes, pairs)
    forward = list(dict.fromkeys(pair[::-1] if pair in turned else pair for pair in pairs))
    layers = _layers(boxes, forward)
    ways = {pair: _way(pair, layers) for pair in forward}
    columns: defaultdict[int, list[str]] = defaultdict(list)
    for point, layer in layers.items():
        columns[layer].append(point)
    links = [link for way in ways.values() for link in itertools.pairwise(way)]
    _order(columns, links)
    rows = _rows(columns, links)
    return Layout(
        {point: (layer, rows[point]) for point, layer in layers.items()},
        {pair: ways[pair[::-1]][::-1] if pair in turned else ways[pair] for pair in pairs},
    )


def _turned(boxes: Sequence[str], pairs: Sequence[Pair]) -> set[Pair]:
    """The arrows that close a circle, found by a walk in depth."""
    below: defaultdict[str, list[str]] = defaultdict(list)
    for source, target in pairs:
        below[source].append(target)
    called = {target for _, target in pairs}
    state: dict[str, int] = {}
    found: set[Pair] = set()
    for start in sorted(boxes, key=lambda box: box in called):
        work = [] if start in state else [(start, iter(below[start]))]
        while work:
            here, rest = work[-1]
            state[here] = 1
            for target in rest:
                if state.get(target) == 1:
                    found.add((here, target))
                elif target not in state:
                    work.append((target, iter(below[target])))
                    break
            else:
                state[here] = 2
                work.pop()
    return found


def _layers(boxes: Sequence[str], forward: Sequence[Pair]) -> dict[str, int]:
    """The longest way to each box from one that nothing calls."""
    waiting = dict.fromkeys(boxes, 0)
    below: defaultdict[str, list[str]] = defaultdict(list)
    for source, target in forward:
        waiting[target] += 1
        below[source].append(target)
    layers = dict.fromkeys(boxes, 0)
    ready = [box for box in boxes if not waiting[box]]
    for box in ready:
        for target in below[box]:
            layers[target] = max(layers[target], layers[box] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return layers


def _way(pair: Pair, layers: dict[str, int]) -> tuple[str, ...]:
    """Source, a waypoint on every layer between, target; the waypoints are added to `layers`."""
    source, target = pair
    points = []
    for layer in range(layers[source] + 1, layers[target]):
        point = f"{source}\0{target}\0{layer}"
        layers[point] = layer
        points.append(point)
    return (source, *points, target)


def _order(columns: dict[int, list[str]], links: Sequence[Pair]) -> None:
    """Sort each column by the mean place of its neighbours, sweeping to and fro."""
    before, after = _neighbours(links)
    for sweep in range(_SWEEPS):
        neighbours = before if sweep % 2 == 0 else after
        for layer in sorted(columns, reverse=sweep % 2 == 1):
            place = {point: index for column in columns.values() for index, point in enumerate(column)}
            columns[layer].sort(key=lambda point: _mean([place[one] for one in neighbours[point]], place[point]))


def _rows(columns: dict[int, list[str]], links: Sequence[Pair]) -> dict[str, float]:
    """Heights: as near to the neighbours as the order and a distance of 1 allow."""
    before, after = _neighbours(links)
    rows = {point: float(index) for column in columns.values() for index, point in enumerate(column)}
    for sweep in range(_SWEEPS):
        neighbours = before if sweep % 2 == 0 else after
        for layer in sorted(columns, reverse=sweep % 2 == 1):
            column = columns[layer]
            wanted = [_mean([rows[one] for one in neighbours[point]], rows[point]) for point in column]
            rows.update(zip(column, _spread(wanted), strict=True))
    least = min(rows.values(), default=0.0)
    return {point: row - least for point, row in rows.items()}


def _spread(wanted: list[float]) -> list[float]:
    """The nearest heights to `wanted`, in order and at least 1 apart (pool adjacent violators)."""
    blocks: list[tuple[float, int]] = []
    for index, height in enumerate(wanted):
        total, count = height - index, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            more, others = blocks.pop()
            total, count = total + more, count + others
        blocks.append((total, count))
    flat = [total / count for total, count in blocks for _ in range(count)]
    return [height + index for index, height in enumerate(flat)]


def _neighbours(links: Sequence[Pair]) -> tuple[defaultdict[str, list[str]], defaultdict[str, list[str]]]:
    before: defaultdict[str, list[str]] = defaultdict(list)
    after: defaultdict[str, list[str]] = defaultdict(list)
    for source, target in links:
        before[target].append(source)
        after[source].append(target)
    return before, after


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
