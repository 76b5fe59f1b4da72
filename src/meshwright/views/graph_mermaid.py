"""The dependency graph as a Mermaid flowchart, which GitHub and many wikis draw.

Source: https://mermaid.js.org/syntax/flowchart.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.views.escaping import terminal

if TYPE_CHECKING:
    from meshwright.views.graph_picture import Picture

_SHAPES = {"virtualGateway": ("{{", "}}"), "virtualService": ("([", "])"), "virtualNode": ("[", "]")}


def render(picture: Picture) -> str:
    """A `flowchart LR`; ends in a newline."""
    names = {box.object: f"n{index}" for index, box in enumerate(picture.boxes)}
    lines = ["flowchart LR"]
    for box in picture.boxes:
        left, right = _SHAPES.get(box.kind, ("[", "]"))
        style = box.kind if box.found else "missing"
        lines.append(f'  {names[box.object]}{left}"{_quoted(box.name)}"{right}:::{style}')
    for arrow in picture.arrows:
        label = f'|"{_quoted(arrow.label)}"|' if arrow.label else ""
        lines.append(f"  {names[arrow.source]} -->{label} {names[arrow.target]}")
    lines += [
        "  classDef virtualGateway fill:#ede7f6,stroke:#5e35b1,color:#1a1a1a",
        "  classDef virtualService fill:#e3f2fd,stroke:#1e6bb8,color:#1a1a1a",
        "  classDef virtualNode fill:#e8f5e9,stroke:#2e7d32,color:#1a1a1a",
        "  classDef missing fill:#ffebee,stroke:#c62828,stroke-dasharray:4,color:#1a1a1a",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """`text` inside a Mermaid string: anything that is not plain as a character reference."""
    return "".join(one if one.isalnum() or one in " -_./:%*~→…" else f"#{ord(one)};" for one in terminal(text))
