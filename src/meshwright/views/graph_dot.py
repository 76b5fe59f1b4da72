"""The dependency graph in Graphviz' DOT.

Source: https://graphviz.org/doc/info/lang.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.views.escaping import terminal

if TYPE_CHECKING:
    from meshwright.views.graph_picture import Picture

_SHAPES = {"virtualGateway": "hexagon", "virtualService": "oval", "virtualNode": "box"}


def render(picture: Picture) -> str:
    """A `digraph`; ends in a newline."""
    lines = ["digraph mesh {", "  rankdir=LR;", '  node [fontname="sans-serif"]; edge [fontname="sans-serif"];']
    for box in picture.boxes:
        style = "" if box.found else ", style=dashed, color=red"
        shape = _SHAPES.get(box.kind, "box")
        lines.append(f"  {_quoted(box.object)} [label={_quoted(box.name)}, shape={shape}{style}];")
    for arrow in picture.arrows:
        label = f" [label={_quoted(arrow.label)}]" if arrow.label else ""
        lines.append(f"  {_quoted(arrow.source)} -> {_quoted(arrow.target)}{label};")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    shown = terminal(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{shown}"'
