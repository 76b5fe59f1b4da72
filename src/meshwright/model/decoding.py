"""From untyped input to the model: fast when it fits, every problem at once when it does not.

The first pass is msgspec's; only when it fails does a second walk over the same types collect all problems.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, cast

import msgspec
from msgspec import inspect

from meshwright.errors import did_you_mean
from meshwright.model.scalars import Shape, choice_fault

T = TypeVar("T")

_PLAIN: Mapping[type[inspect.Type], type] = {
    inspect.BoolType: bool,
    inspect.IntType: int,
    inspect.FloatType: float,
}


class Problem(msgspec.Struct, frozen=True):
    """One fault of an input: the rule's code, the wire path, what is wrong, and the nearest known name."""

    rule: str
    """MW001 unknown field or wrong type, MW002 outside a limit, pattern or enumeration, MW003 one-of."""
    path: str
    message: str
    hint: str = ""


class DecodeError(ValueError):
    """The input does not fit; `problems` holds every reason, in document order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{one.path}: {one.message}" for one in problems))
        self.problems = tuple(problems)


def decode(wanted: type[T], value: object, *, at: str = "", lax: bool = False) -> T:
    """`value` (JSON-like, wire names) as `wanted`; `at` prefixes every path, such as `spec`.

    With `lax`, scalars may be strings ("8080", "true"), as CloudFormation allows.

    Raises:
        DecodeError: with every problem found.
    """
    try:
        return msgspec.convert(value, wanted, strict=not lax)
    except msgspec.ValidationError as error:
        problems = list(_walk(_type_info(cast("Hashable", wanted)), value, at, lax))
        # The walk judges the same types; should msgspec be stricter somewhere, its own word is better than none.
        raise DecodeError(problems or [Problem("MW001", at, str(error))]) from None


def encode(value: object) -> Any:
    """`value` as dictionaries, lists and scalars with wire names, equal to what a JSON parser would give."""
    return msgspec.json.decode(msgspec.json.encode(value))


def fields_of(shape: type[Shape]) -> Mapping[str, inspect.Type]:
    """The members of `shape` by wire name; for importers that must find a field's exact spelling."""
    info = cast("inspect.StructType", _type_info(shape))
    return {field.encode_name: _stripped(field.type) for field in info.fields}


@functools.lru_cache(maxsize=512)
def _type_info(wanted: Hashable) -> inspect.Type:
    return inspect.type_info(wanted)


def _stripped(info: inspect.Type) -> inspect.Type:
    """`info` without the None that marks an optional member."""
    if isinstance(info, inspect.Metadata):
        return _stripped(info.type)
    if isinstance(info, inspect.UnionType):
        kept = [one for one in info.types if not isinstance(one, inspect.NoneType)]
        if len(kept) == 1:
            return _stripped(kept[0])
    return info


def _described(info: inspect.Type) -> str:
    """What the type of a scalar says that it takes; "" where it says nothing."""
    if isinstance(info, inspect.Metadata):
        return str((info.extra_json_schema or {}).get("description", ""))
    return next(filter(None, map(_described, info.types)), "") if isinstance(info, inspect.UnionType) else ""


def _walk(info: inspect.Type, value: object, path: str, lax: bool) -> Iterator[Problem]:
    if isinstance(info, inspect.UnionType) and (value is None or (lax and _nothing(info, value))):
        return
    takes = _described(info)
    info = _nearest(_stripped(info), value)
    if isinstance(info, inspect.StructType):
        yield from _walk_struct(info, value, path, lax)
    elif isinstance(info, inspect.VarTupleType):
        yield from _walk_list(info, value, path, lax)
    elif isinstance(info, inspect.DictType):
        yield from _walk_dict(info, value, path, lax)
    else:
        for one in _walk_scalar(info, value, path, lax):
            yield msgspec.structs.replace(one, hint=one.hint or f"write {takes}") if takes else one


def _nearest(info: inspect.Type, value: object) -> inspect.Type:
    """Of several types, the one that `value` was probably meant for."""
    if not isinstance(info, inspect.UnionType):
        return info
    meant: tuple[type[inspect.Type], ...] = (inspect.LiteralType, inspect.StrType)
    if isinstance(value, Mapping):
        meant = (inspect.StructType, inspect.DictType)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        meant = (inspect.VarTupleType,)
    elif isinstance(value, int | float):
        meant = (inspect.IntType, inspect.FloatType)
    kinds = [_stripped(one) for one in info.types]
    return next((one for one in kinds if isinstance(one, meant)), kinds[0])


def _walk_struct(info: inspect.StructType, value: object, path: str, lax: bool) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem("MW001", path, f"expected an object, found {_kind(value)}")
        return
    known = {field.encode_name: field for field in info.fields}
    for name, member in value.items():
        inside = f"{path}.{name}" if path else str(name)
        if name in known:
            yield from _walk(known[name].type, member, inside, lax)
        else:
            hint = did_you_mean(str(name), known, f"known here: {', '.join(sorted(known))}")
            yield Problem("MW001", inside, f"unknown field {name!r}", hint)
    for field in info.fields:
        if (
            field.required
            and value.get(field.encode_name) is None
            and not (field.encode_name in value and value[field.encode_name] is None)
        ):
            yield Problem("MW001", f"{path}.{field.encode_name}" if path else field.encode_name, "is required")
    shape = info.cls
    if issubclass(shape, Shape):
        wire = {field.name: field.encode_name for field in info.fields}
        fault = choice_fault(shape, lambda name: value.get(wire[name]) is not None)
        if fault:
            yield Problem("MW003", path, fault)


def _walk_list(info: inspect.VarTupleType, value: object, path: str, lax: bool) -> Iterator[Problem]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        yield Problem("MW001", path, f"expected a list, found {_kind(value)}")
        return
    low, high = info.min_length or 0, info.max_length
    if len(value) < low:
        yield Problem("MW002", path, f"needs at least {low} item{'s' * (low != 1)}, found {len(value)}")
    if high is not None and len(value) > high:
        yield Problem("MW002", path, f"takes at most {high} items, found {len(value)}")
    for index, item in enumerate(value):
        yield from _walk(info.item_type, item, f"{path}[{index}]", lax)


def _walk_dict(info: inspect.DictType, value: object, path: str, lax: bool) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem("MW001", path, f"expected an object, found {_kind(value)}")
        return
    for name, member in value.items():
        inside = f"{path}.{name}" if path else str(name)
        yield from _walk(info.key_type, name, inside, lax)
        yield from _walk(info.value_type, member, inside, lax)


def _walk_scalar(info: inspect.Type, value: object, path: str, lax: bool) -> Iterator[Problem]:
    if lax:
        value = _coerced(info, value)
    match info:
        case inspect.LiteralType():
            if value not in info.values or isinstance(value, bool):
                choices = ", ".join(map(str, info.values))
                hint = did_you_mean(str(value), map(str, info.values), cutoff=0.5)
                yield Problem("MW002", path, f"{_quoted(value)} is not one of {choices}", hint)
        case inspect.BoolType():
            if not isinstance(value, bool):
                yield Problem("MW001", path, f"expected true or false, found {_kind(value)} {_quoted(value)}")
        case inspect.IntType():
            yield from _whole(info, value, path)
        case inspect.FloatType():
            yield from _between(info, value, path)
        case inspect.StrType():
            if isinstance(value, str):
                yield from _fitting(info, value, path)
            else:
                yield Problem("MW001", path, f"expected a string, found {_kind(value)} {_quoted(value)}")
        case _:
            return


def _whole(info: inspect.IntType, value: object, path: str) -> Iterator[Problem]:
    if isinstance(value, bool) or not isinstance(value, int):
        yield Problem("MW001", path, f"expected a whole number, found {_kind(value)} {_quoted(value)}")
    else:
        yield from _in_range(info, value, path)


def _in_range(info: inspect.IntType, value: int, path: str) -> Iterator[Problem]:
    if info.ge is not None and value < info.ge:
        bound = f"from {info.ge} to {info.le}" if info.le is not None else f"of at least {info.ge}"
        yield Problem("MW002", path, f"{value} is too small; it takes a number {bound}")
    if info.le is not None and value > info.le:
        yield Problem("MW002", path, f"{value} is too large; it takes a number from {info.ge or 0} to {info.le}")


def _between(info: inspect.FloatType, value: object, path: str) -> Iterator[Problem]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield Problem("MW001", path, f"expected a number, found {_kind(value)} {_quoted(value)}")
        return
    low, high = info.ge if info.ge is not None else -math.inf, info.le if info.le is not None else math.inf
    # Written so that what is no number (NaN) is outside.
    if not low <= value <= high:
        yield Problem("MW002", path, f"{_quoted(value)} is not a number from {low:g} to {high:g}")


def _fitting(info: inspect.StrType, value: str, path: str) -> Iterator[Problem]:
    if info.min_length is not None and len(value) < info.min_length:
        yield Problem("MW002", path, f"{_quoted(value)} is shorter than {info.min_length} characters")
    if info.max_length is not None and len(value) > info.max_length:
        yield Problem("MW002", path, f"has {len(value)} characters; it takes at most {info.max_length}")
    if info.pattern is not None and not re.search(info.pattern, value):
        yield Problem("MW002", path, f"{_quoted(value)} does not match {info.pattern}")


def _coerced(info: inspect.Type, value: object) -> object:
    """What the fast pass takes `value` for where it is lax: a number or truth value that it spells, or itself."""
    wanted: Any = next((plain for kind, plain in _PLAIN.items() if isinstance(info, kind)), None)
    if isinstance(info, inspect.LiteralType):
        wanted = Literal[info.values]
    try:
        return msgspec.convert(value, wanted, strict=False) if wanted is not None else value
    except msgspec.ValidationError:
        return value


def _nothing(info: inspect.UnionType, value: object) -> bool:
    """Whether the fast pass takes `value` for no value at all where it is lax."""
    spelled = isinstance(value, str) and value.lower() == "null"
    return spelled and not any(isinstance(_stripped(one), inspect.StrType) for one in info.types)


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case Mapping():
            return "an object"
        case Sequence():
            return "a list"
    return type(value).__name__


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
