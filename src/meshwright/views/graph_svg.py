"""The dependency graph as one SVG file: no script, no font, no link; readable on light and dark pages.

The one rule: every name is text content, escaped; a name too long for its box is cut and told whole on hover.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from meshwright.views.escaping import terminal, xml
from meshwright.views.graph_layout import Layout, arranged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.views.graph_picture import Box, Picture

_WIDTH, _HEIGHT, _COLUMN, _ROW, _MARGIN, _LEGEND = 180, 34, 310, 60, 24, 40
_LETTERS = 24
"""Characters that fit into a box; the whole name is the box's tooltip."""
_LABEL = 20
_KINDS = {"virtualGateway": "virtual gateway", "virtualService": "virtual service", "virtualNode": "virtual node"}
_STYLE = """
text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1b1f24}
.label{font-size:10.5px;fill:#57606a;paint-order:stroke;stroke:#fff;stroke-width:3px}
rect{stroke-width:1.4}
.virtualGateway rect{fill:#ede7f6;stroke:#5e35b1}.virtualService rect{fill:#e3f2fd;stroke:#1e6bb8}
.virtualNode rect{fill:#e8f5e9;stroke:#2e7d32}.virtualRouter rect{fill:#fff8e1;stroke:#b26a00}
.missing rect{fill:#ffebee;stroke:#c62828;stroke-dasharray:5 3}
.page{fill:#fff}path{fill:none;stroke:#8c959f;stroke-width:1.3}.head{fill:#8c959f;stroke:none}
.circular path{stroke:#d1690b;stroke-dasharray:6 3}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.label{fill:#9da7b1;stroke:#0d1117}.page{fill:#0d1117}
.virtualGateway rect{fill:#2a2140}.virtualService rect{fill:#10263d}.virtualNode rect{fill:#12291a}
.virtualRouter rect{fill:#33270d}.missing rect{fill:#3a1517}}
"""

_HEAD = """<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"
 markerUnits="userSpaceOnUse" orient="auto"><path class="head" d="M0,0.5 8,4 0,7.5z"/></marker></defs>"""


def render(picture: Picture) -> str:
    """A whole SVG document; ends in a newline."""
    layout = arranged([box.object for box in picture.boxes], [(one.source, one.target) for one in picture.arrows])
    columns = 1 + max((layer for layer, _ in layout.places.values()), default=0)
    lowest = max((row for _, row in layout.places.values()), default=0.0)
    width = 2 * _MARGIN + (columns - 1) * _COLUMN + _WIDTH
    height = 2 * _MARGIN + lowest * _ROW + _HEIGHT + _LEGEND
    width = max(width, 2 * _MARGIN + 4 * 130)
    size = f'viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="Dependency graph">',
            f"<title>Dependency graph</title><style>{_STYLE}</style>",
            _HEAD,
            f'<rect class="page" width="{width}" height="{height:g}"/>',
            *_arrows(picture, layout),
            *(_box(box, layout) for box in picture.boxes),
            *_legend(height),
            "</svg>\n",
        ]
    )


def _box(box: Box, layout: Layout) -> str:
    x, y = _corner(layout, box.object)
    kind = box.kind if box.found else "missing"
    note = "" if box.found else " (not defined)"
    return (
        f'<g class="{kind}"><title>{_text(f"{_KINDS.get(box.kind, box.kind)} {box.name}{note}")}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="{_radius(box.kind)}"/>'
        f'<text x="{x + _WIDTH / 2:g}" y="{y + _HEIGHT / 2 + 4:g}" text-anchor="middle">'
        f"{_text(_cut(box.name, _LETTERS))}</text></g>"
    )


def _arrows(picture: Picture, layout: Layout) -> Iterator[str]:
    labels: dict[tuple[str, str], list[str]] = {}
    for arrow in picture.arrows:
        labels.setdefault((arrow.source, arrow.target), []).extend([arrow.label] if arrow.label else [])
    for (source, target), found in labels.items():
        yield _arrow(source, target, found, layout)


def _arrow(source: str, target: str, labels: list[str], layout: Layout) -> str:
    """One arrow; one that closes a circle goes from right to left and is dashed."""
    words = ", ".join(labels)
    if source == target:
        x, y = _corner(layout, source)
        d = f"M{x + _WIDTH - 40:g},{y:g} c0,-26 30,-26 30,-1"
        return f'<path d="{d}" marker-end="url(#head)"/>'
    points = [_corner(layout, point) for point in layout.ways[source, target]]
    back = points[0][0] > points[-1][0]
    ports = [(x + (0 if back else _WIDTH), y + _HEIGHT / 2) for x, y in points[:1]]
    for x, y in points[1:-1]:
        # A waypoint is as wide as a box, so that no arrow cuts through the boxes of its layer.
        sides = [(x, y + _HEIGHT / 2), (x + _WIDTH, y + _HEIGHT / 2)]
        ports += sides[::-1] if back else sides
    ports += [(x + (_WIDTH if back else 0), y + _HEIGHT / 2) for x, y in points[-1:]]
    path = f"M{ports[0][0]:g},{ports[0][1]:g}"
    for (x0, y0), (x1, y1) in itertools.pairwise(ports):
        middle = (x0 + x1) / 2
        path += f" C{middle:g},{y0:g} {middle:g},{y1:g} {x1:g},{y1:g}"
    (x0, y0), (x1, y1) = ports[-2:]
    label = ""
    if words:
        place = f'x="{(x0 + x1) / 2:g}" y="{y1 + (y0 - y1) * 0.3 - 5:g}"'
        label = f'<text class="label" {place} text-anchor="middle">{_text(_cut(words, _LABEL))}</text>'
    title = f"<title>{_text(words)}</title>" if words else ""
    circular = ' class="circular"' if back else ""
    return f'<g{circular}>{title}<path d="{path}" marker-end="url(#head)"/>{label}</g>'


def _legend(height: float) -> Iterator[str]:
    kinds = [*_KINDS.items(), ("missing", "not defined")]
    for index, (kind, words) in enumerate(kinds):
        x, y = _MARGIN + index * 130, height - _LEGEND + 12
        yield (
            f'<g class="{kind}"><rect x="{x}" y="{y:g}" width="16" height="12" rx="{_radius(kind) // 3}"/>'
            f'<text x="{x + 22}" y="{y + 10:g}">{words}</text></g>'
        )


def _corner(layout: Layout, point: str) -> tuple[float, float]:
    layer, row = layout.places[point]
    return _MARGIN + layer * _COLUMN, _MARGIN + row * _ROW


def _radius(kind: str) -> int:
    return 18 if kind == "virtualService" else 5


def _cut(text: str, most: int) -> str:
    shown = terminal(text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _text(text: str) -> str:
    return escape(xml(text))
