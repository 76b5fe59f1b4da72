"""Elements of HTML, and of SVG inside of it, as text that cannot be anything else.

The one rule: whatever is not made by `element` is text, escaped; no name or value can become markup.
"""

from __future__ import annotations

from html import escape
from typing import TypeAlias

from meshwright.views.escaping import xml

_VOID = frozenset({"br", "input", "link", "meta"})


class Html(str):
    """Markup that is sound."""

    __slots__ = ()


Content: TypeAlias = object
"""Markup, text, numbers, or a list or tuple of these; None for nothing."""


def element(tag: str, *content: Content, **attributes: str | float | bool | None) -> Html:
    """An element. Of `class_`, `aria_label` become `class`, `aria-label`; True is an attribute without a value.

    False and None leave an attribute out.
    """
    listed = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(_told(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{tag}{listed}>" + ("" if tag in _VOID else f"{joined(content)}</{tag}>"))


def joined(content: Content) -> Html:
    """Everything of `content` after another, what is no markup escaped."""
    if isinstance(content, Html):
        return content
    if isinstance(content, list | tuple):
        return Html("".join(map(joined, content)))
    return Html("" if content is None else escape(_told(content)))


def cut(text: str, most: int) -> str:
    """`text` with no more than `most` characters; what was cut off is told by an ellipsis."""
    shown = xml(text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _told(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else xml(value)
