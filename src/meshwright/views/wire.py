"""The JSON of our own endpoints, files and `--format json`: one shape everywhere.

The one rule: an object is written as its path under `object` (`mesh/shop/virtualNode/cart`); all else is written as
the value's own members. Times are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from meshwright.model.identity import Key, parse_key

T = TypeVar("T")


def to_wire(value: object) -> Any:
    """`value` as JSON values, every key of an object as its path."""
    return _folded(value, msgspec.to_builtins(value))


def from_wire(wanted: type[T], value: object) -> T:
    """The value that `to_wire` took apart; members that are not known are ignored.

    Raises:
        ValueError: `value` is no such thing; the message names the member.
    """
    return msgspec.convert(_unfolded(inspect.type_info(wanted), value), wanted)


def _folded(value: object, plain: Any) -> Any:
    """`plain`, which is `value` as msgspec writes it, with paths where `value` has keys of objects.

    Types decide, never the look of a value: a tag may be called `object`, and another `mesh`.
    """
    if isinstance(value, Key):
        return value.path
    if isinstance(value, msgspec.Struct):
        # Not `structs.fields`: it reads every annotation anew, which was most of a status of thousands of proxies.
        named = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        members = {written: getattr(value, name) for written, name in named}
        return {_renamed(name, members[name]): _folded(members[name], one) for name, one in plain.items()}
    if isinstance(value, Mapping):
        return {name: _folded(inside, one) for inside, (name, one) in zip(value.values(), plain.items(), strict=True)}
    if isinstance(value, list | tuple):
        return [_folded(inside, one) for inside, one in zip(value, plain, strict=True)]
    return plain


def _renamed(name: str, value: object) -> str:
    return "object" if name == "key" and isinstance(value, Key) else name


def _unfolded(info: inspect.Type, value: Any) -> Any:
    """`value` as msgspec reads it, with the parts of keys where the wanted type has keys of objects."""
    match info:
        case inspect.UnionType():
            return value if value is None else _unfolded(_present(info), value)
        case inspect.StructType(cls=cls) if cls is Key and isinstance(value, str):
            return msgspec.to_builtins(parse_key(value))
        case inspect.StructType() if isinstance(value, dict):
            wire = {_named(field): field for field in info.fields}
            return {
                wire[name].encode_name if name in wire else name: _unfolded(wire[name].type, one)
                if name in wire
                else one
                for name, one in value.items()
            }
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item) if isinstance(value, list):
            return [_unfolded(item, one) for one in value]
    return value


def _named(field: inspect.Field) -> str:
    is_key = isinstance(field.type, inspect.StructType) and field.type.cls is Key
    return "object" if field.encode_name == "key" and is_key else field.encode_name


def _present(info: inspect.UnionType) -> inspect.Type:
    """What an optional member is when it is there; none of ours has more than one kind."""
    return next(one for one in info.types if not isinstance(one, inspect.NoneType))
