"""The dependency graph as a tree for a terminal, from what nothing calls down to what calls nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.views.escaping import terminal

if TYPE_CHECKING:
    from meshwright.views.graph_picture import Arrow, Box, Picture

_KINDS = {"virtualGateway": "gateway", "virtualService": "service", "virtualNode": "node", "virtualRouter": "router"}


def render(picture: Picture) -> str:
    """One line a call; a box is opened once, later lines say `(above)`, and `(circular)` inside itself."""
    if not picture.boxes:
        return "No objects.\n"
    boxes = {one.object: one for one in picture.boxes}
    called: dict[str, list[Arrow]] = {}
    for arrow in picture.arrows:
        called.setdefault(arrow.source, []).append(arrow)
    targets = {arrow.target for arrow in picture.arrows}
    order = {"virtualGateway": 0, "virtualNode": 1}
    starts = sorted(picture.boxes, key=lambda one: (one.object in targets, order.get(one.kind, 2), one.object))
    lines: list[str] = []
    opened: set[str] = set()
    for start in starts:
        if start.object not in opened:
            lines += _tree(start, boxes, called, opened)
    return "\n".join(lines) + "\n"


def _tree(start: Box, boxes: dict[str, Box], called: dict[str, list[Arrow]], opened: set[str]) -> list[str]:
    """The lines below `start`, itself included; without recursion, as chains may be long."""
    lines: list[str] = []
    path: list[str] = []
    work: list[tuple[int, Box, str, str, str]] = [(0, start, "", "", "")]
    while work:
        depth, box, label, branch, indent = work.pop()
        del path[depth:]
        known = box.object in opened
        circular = known and box.object in path
        lines.append(branch + _line(box, label, known=known and box.object in called, circular=circular))
        opened.add(box.object)
        path.append(box.object)
        calls = [] if known else called.get(box.object, [])
        for index in range(len(calls) - 1, -1, -1):
            turn, below = ("└─ ", "   ") if index == len(calls) - 1 else ("├─ ", "│  ")
            arrow = calls[index]
            work.append((depth + 1, boxes[arrow.target], arrow.label, indent + turn, indent + below))
    return lines


def _line(box: Box, label: str, *, known: bool, circular: bool) -> str:
    way = f"{terminal(label)} → " if label else ""
    notes = ["not defined"] * (not box.found) + ["circular"] * circular + ["above"] * (known and not circular)
    note = f"  ({', '.join(notes)})" if notes else ""
    return f"{way}{_KINDS.get(box.kind, box.kind)} {terminal(box.name)}{note}"
