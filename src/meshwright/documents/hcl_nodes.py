"""Expressions of HCL as values, and the bodies of files that hold them.

The one rule: what is written and nothing of what it comes to; an expression can be written again, for messages.
"""

from __future__ import annotations

from typing import Any

import msgspec

from meshwright.documents.positions import Place


class Node(msgspec.Struct, frozen=True):
    """An expression."""


class Literal(Node, frozen=True):
    """A number, a truth value, null, or text without anything in it to be worked out."""

    value: Any


class Template(Node, frozen=True):
    """Text with parts to be worked out."""

    parts: tuple[Node, ...]


class Name(Node, frozen=True):
    """A variable, or the first name of a reference."""

    name: str


class Member(Node, frozen=True):
    """`of.name`, or `of[key]`."""

    of: Node
    key: Node


class Splat(Node, frozen=True):
    """`of[*]` and what follows it, of each: `each` stands for one of them in `then`."""

    of: Node
    then: Node


class Each(Node, frozen=True):
    """What `Splat` goes through."""


class Call(Node, frozen=True):
    """A function's call; with `spread`, its last argument is a list of arguments."""

    name: str
    arguments: tuple[Node, ...]
    spread: bool


class Operation(Node, frozen=True):
    """An operator with one operand, two, or `?` with three."""

    operator: str
    operands: tuple[Node, ...]


class Sequence(Node, frozen=True):
    """`[…]`."""

    items: tuple[Node, ...]


class Mapping(Node, frozen=True):
    """`{…}`; a key is an expression."""

    items: tuple[tuple[Node, Node], ...]


class Loop(Node, frozen=True):
    """`[for …]`, or with `key` `{for …}`."""

    names: tuple[str, ...]
    over: Node
    key: Node | None
    value: Node
    condition: Node | None
    grouped: bool


class Block(msgspec.Struct, frozen=True):
    """`kind "label" {…}`."""

    kind: str
    labels: tuple[str, ...]
    body: Body
    place: Place


class Body(msgspec.Struct):
    """Attributes and blocks, each in the order of the file."""

    attributes: dict[str, tuple[Node, Place]] = {}
    blocks: list[Block] = []


def written(node: Node) -> str:
    """An expression as it would be written, shortened where it is long."""
    text = _written(node)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _written(node: Node) -> str:
    match node:
        case Literal(value):
            return f'"{value}"' if isinstance(value, str) else "null" if value is None else str(value).lower()
        case Name(name):
            return name
        case Member(of, key):
            if isinstance(key, Literal) and isinstance(key.value, str):
                return f"{_written(of)}.{key.value}"
            return f"{_written(of)}[{_written(key)}]"
        case Splat(of, then):
            return f"{_written(of)}[*]{_written(then)}"
        case Call(name, arguments, spread):
            return f"{name}({', '.join(map(_written, arguments))}{'...' if spread else ''})"
        case Operation(operator, operands):
            return _operation(operator, [_written(one) for one in operands])
    return _listed(node)


def _listed(node: Node) -> str:
    match node:
        case Template(parts):
            inside = (str(one.value) if isinstance(one, Literal) else f"${{{_written(one)}}}" for one in parts)
            return f'"{"".join(inside)}"'
        case Sequence(items):
            return f"[{', '.join(map(_written, items))}]"
        case Mapping(items):
            return f"{{{', '.join(f'{_written(key)} = {_written(value)}' for key, value in items)}}}"
        case Loop(names, over):
            return f"[for {', '.join(names)} in {_written(over)} : …]"
    return ""


def _operation(operator: str, parts: list[str]) -> str:
    if operator == "?":
        return f"{parts[0]} ? {parts[1]} : {parts[2]}"
    return f" {operator} ".join(parts) if len(parts) > 1 else f"{operator}{parts[0]}"
