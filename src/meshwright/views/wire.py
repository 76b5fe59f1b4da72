"""The JSON of our own endpoints, files and `--format json`: one shape everywhere.

The one rule: an object is written as its path under `object` (`mesh/shop/virtualNode/cart`); all else is written as
the value's own members. Times are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from meshwright.model.identity import Key, parse_key

T = TypeVar("T")

_KEY = frozenset(msgspec.structs.asdict(Key.of_mesh("m")))


def to_wire(value: object) -> Any:
    """`value` as JSON values, every key of an object as its path."""
    return _folded(msgspec.to_builtins(value))


def from_wire(wanted: type[T], value: object) -> T:
    """The value that `to_wire` took apart; members that are not known are ignored.

    Raises:
        ValueError: `value` is no such thing; the message names the member.
    """
    return msgspec.convert(_unfolded(value), wanted)


def _folded(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_folded(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == _KEY:
        return msgspec.convert(value, Key).path
    return {_renamed(name, one): _folded(one) for name, one in value.items()}


def _renamed(name: str, value: Any) -> str:
    """A spec has members called `key` of its own: only those that hold an object are renamed."""
    return "object" if name == "key" and isinstance(value, dict) and value.keys() == _KEY else name


def _unfolded(value: Any) -> Any:
    if isinstance(value, list):
        return [_unfolded(one) for one in value]
    if not isinstance(value, dict):
        return value
    members = {name: _unfolded(one) for name, one in value.items()}
    path = members.get("object")
    if isinstance(path, str):
        del members["object"]
        members["key"] = msgspec.to_builtins(parse_key(path))
    return members
