"""The dependency graph as one SVG file: no script, no font, no link; readable on light and dark pages.

The one rule: every name is text content, escaped; a name too long for its box is cut and told whole on hover.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from meshwright.views.escaping import xml
from meshwright.views.graph_layout import Layout, arranged
from meshwright.views.markup import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meshwright.views.graph_picture import Box, Picture

_WIDTH, _HEIGHT, _COLUMN, _ROW, _MARGIN, _LEGEND = 190, 34, 320, 60, 24, 40
_LETTERS = 24
"""Characters that fit into a box; the whole name is the box's tooltip."""
_LABEL, _ENTRY = 20, 130
_SMALLEST = 0.75
"""By how much a drawing is made smaller at most."""
_KINDS = {"virtualGateway": "virtual gateway", "virtualService": "virtual service", "virtualNode": "virtual node"}
_TESTED = (("tested", "✓ tested"), ("untested", "○ untested"))
STYLE = """
.graph text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1b1f24}
.graph .label{font-size:10.5px;fill:#57606a;paint-order:stroke;stroke:#fff;stroke-width:3px}
.graph rect{stroke-width:1.4}
.graph .virtualGateway rect{fill:#ede7f6;stroke:#5e35b1}.graph .virtualService rect{fill:#e3f2fd;stroke:#1e6bb8}
.graph .virtualNode rect{fill:#e8f5e9;stroke:#2e7d32}.graph .virtualRouter rect{fill:#fff8e1;stroke:#b26a00}
.graph .missing rect{fill:#ffebee;stroke:#c62828;stroke-dasharray:5 3}
.graph .page{fill:#fff}.graph path{fill:none;stroke:#8c959f;stroke-width:1.3}.graph .head{fill:#8c959f;stroke:none}
.graph .circular path{stroke:#d1690b;stroke-dasharray:6 3}
.graph .tested path{stroke:#2e7d32;stroke-width:2}.graph .untested path{stroke:#c62828;stroke-dasharray:2 4}
.graph .untested rect{fill:none;stroke-dasharray:2 4}
@media(prefers-color-scheme:dark){.graph text{fill:#e6edf3}.graph .label{fill:#9da7b1;stroke:#0d1117}
.graph .page{fill:#0d1117}
.graph .virtualGateway rect{fill:#2a2140}.graph .virtualService rect{fill:#10263d}
.graph .virtualNode rect{fill:#12291a}.graph .virtualRouter rect{fill:#33270d}.graph .missing rect{fill:#3a1517}
.graph .tested path{stroke:#57ab5a}.graph .untested path{stroke:#f47067}.graph .untested rect{fill:none}}
"""
"""What a drawing looks like; of a page, only what is in it."""

_HEAD = """<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"
 markerUnits="userSpaceOnUse" orient="auto"><path class="head" d="M0,0.5 8,4 0,7.5z"/></marker></defs>"""


def render(picture: Picture) -> str:
    """A whole SVG document; ends in a newline."""
    return drawing(picture.boxes, [(one.source, one.target, one.label) for one in picture.arrows], style=STYLE) + "\n"


def drawing(
    boxes: Sequence[Box],
    arrows: Sequence[tuple[str, str, str]],
    *,
    style: str = "",
    tests: Mapping[object, int] | None = None,
    room: float = math.inf,
) -> str:
    """One `svg` element with `boxes` and `arrows`, each a source, a target and a label, which may be empty.

    `tests` says how many tests came by each box, by its object, and went over each arrow, by its source and target:
    what has none is drawn with dots and a circle, the rest with a tick. Without `style` the page has it. A drawing
    that is wider than the `room`, in pixels, is made smaller, but not so much smaller that nobody can read it.
    """
    layout = arranged([box.object for box in boxes], [(source, target) for source, target, _ in arrows])
    columns = 1 + max((layer for layer, _ in layout.places.values()), default=0)
    lowest = max((row for _, row in layout.places.values()), default=0.0)
    width = 2 * _MARGIN + (columns - 1) * _COLUMN + _WIDTH
    height = 2 * _MARGIN + lowest * _ROW + _HEIGHT + _LEGEND
    legend = [*_KINDS.items(), ("missing", "not defined"), *(_TESTED if tests is not None else ())]
    width = max(width, 2 * _MARGIN + len(legend) * _ENTRY)
    scale = max(_SMALLEST, min(1, room / width))
    size = f'viewBox="0 0 {width} {height:g}" width="{width * scale:g}" height="{height * scale:g}"'
    name = 'class="graph" role="img" aria-label="Dependency graph"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {name}>',
            f"<title>Dependency graph</title>{f'<style>{style}</style>' if style else ''}",
            _HEAD,
            f'<rect class="page" width="{width}" height="{height:g}"/>',
            *_arrows(arrows, layout, tests),
            *(_box(box, layout, tests) for box in boxes),
            *_legend(legend, height),
            "</svg>",
        ]
    )


def _box(box: Box, layout: Layout, tests: Mapping[object, int] | None) -> str:
    x, y = _corner(layout, box.object)
    kind, mark = box.kind if box.found else "missing", ""
    note = "" if box.found else " (not defined)"
    if tests is not None:
        count = tests.get(box.object, 0)
        kind += "" if count else " untested"
        note += f": {count} tests" if count else ": untested"
        mark = f'<text x="{x + _WIDTH - 14:g}" y="{y + _HEIGHT / 2 + 4:g}">{"✓" if count else "○"}</text>'
    return (
        f'<g class="{kind}"><title>{_text(f"{_KINDS.get(box.kind, box.kind)} {box.name}{note}")}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="{_radius(box.kind)}"/>'
        f'<text x="{x + _WIDTH / 2:g}" y="{y + _HEIGHT / 2 + 4:g}" text-anchor="middle">'
        f"{_text(cut(box.name, _LETTERS))}</text>{mark}</g>"
    )


def _arrows(
    arrows: Sequence[tuple[str, str, str]], layout: Layout, tests: Mapping[object, int] | None
) -> Iterator[str]:
    labels: dict[tuple[str, str], list[str]] = {}
    for source, target, label in arrows:
        labels.setdefault((source, target), []).extend([label] if label else [])
    for (source, target), found in labels.items():
        count = None if tests is None else tests.get((source, target), 0)
        yield _arrow(source, target, found, layout, count)


def _arrow(source: str, target: str, labels: list[str], layout: Layout, tests: int | None) -> str:
    """One arrow; one that closes a circle goes from right to left and is dashed."""
    words = ", ".join(labels)
    kinds = [] if tests is None else ["tested" if tests else "untested"]
    told = [words] if words else []
    if tests is not None:
        told.append(f"{tests} tests" if tests else "untested")
    title = f"<title>{_text(': '.join(told))}</title>" if told else ""
    if source == target:
        x, y = _corner(layout, source)
        path, label = f"M{x + _WIDTH - 40:g},{y:g} c0,-26 30,-26 30,-1", ""
    else:
        ports = _ports(source, target, layout)
        kinds += ["circular"] if ports[0][0] > ports[-1][0] else []
        path, label = _curve(ports), _label(ports[-2], ports[-1], words)
    names = f' class="{" ".join(kinds)}"' if kinds else ""
    return f'<g{names}>{title}<path d="{path}" marker-end="url(#head)"/>{label}</g>'


def _ports(source: str, target: str, layout: Layout) -> list[tuple[float, float]]:
    """Where an arrow leaves boxes and enters them."""
    points = [_corner(layout, point) for point in layout.ways[source, target]]
    back = points[0][0] > points[-1][0]
    ports = [(x + (0 if back else _WIDTH), y + _HEIGHT / 2) for x, y in points[:1]]
    for x, y in points[1:-1]:
        # A waypoint is as wide as a box, so that no arrow cuts through the boxes of its layer.
        sides = [(x, y + _HEIGHT / 2), (x + _WIDTH, y + _HEIGHT / 2)]
        ports += sides[::-1] if back else sides
    return ports + [(x + (_WIDTH if back else 0), y + _HEIGHT / 2) for x, y in points[-1:]]


def _curve(ports: list[tuple[float, float]]) -> str:
    path = f"M{ports[0][0]:g},{ports[0][1]:g}"
    for (x0, y0), (x1, y1) in itertools.pairwise(ports):
        middle = (x0 + x1) / 2
        path += f" C{middle:g},{y0:g} {middle:g},{y1:g} {x1:g},{y1:g}"
    return path


def _label(start: tuple[float, float], end: tuple[float, float], words: str) -> str:
    (x0, y0), (x1, y1) = start, end
    place = f'x="{(x0 + x1) / 2:g}" y="{y1 + (y0 - y1) * 0.3 - 5:g}"'
    return f'<text class="label" {place} text-anchor="middle">{_text(cut(words, _LABEL))}</text>' if words else ""


def _legend(kinds: Sequence[tuple[str, str]], height: float) -> Iterator[str]:
    for index, (kind, words) in enumerate(kinds):
        x, y = _MARGIN + index * _ENTRY, height - _LEGEND + 12
        shape = f'<rect x="{x}" y="{y:g}" width="16" height="12" rx="{_radius(kind) // 3}"/>'
        if (kind, words) in _TESTED:
            shape = f'<path d="M{x - 8},{y + 6:g} h24" marker-end="url(#head)"/>'
        yield f'<g class="{kind}">{shape}<text x="{x + 22}" y="{y + 10:g}">{words}</text></g>'


def _corner(layout: Layout, point: str) -> tuple[float, float]:
    layer, row = layout.places[point]
    return _MARGIN + layer * _COLUMN, _MARGIN + row * _ROW


def _radius(kind: str) -> int:
    return 18 if kind == "virtualService" else 5


def _text(text: str) -> str:
    return escape(xml(text))
