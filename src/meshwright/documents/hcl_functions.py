"""Functions of Terraform that need nothing but their arguments.

The one rule: only those whose answer is certain; a function that is not here is told as not known.

Source: https://developer.hashicorp.com/terraform/language/functions
"""

from __future__ import annotations

import itertools
import json
import math
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_FORMAT = re.compile(r"%(?:(%)|(0?\d*)([sdvq]))")


def text(value: Any, what: str = "it") -> str:
    """A scalar as text, as Terraform writes it.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    raise TypeError(f"{what} is no text")


def number(value: Any, what: str = "it") -> int | float:
    """A number, which text may stand for.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"{what} is no number")
    if isinstance(value, int | float):
        return value
    try:
        found = float(value)
    except ValueError:
        raise TypeError(f"{what} is {value!r}, no number") from None
    return int(found) if found.is_integer() else found


def _boolean(value: Any) -> bool:
    if value in {True, "true"}:
        return True
    if value in {False, "false"}:
        return False
    raise TypeError(f"{value!r} is neither true nor false")


def _format(pattern: str, *values: Any) -> str:
    given = iter(values)

    def one(match: re.Match[str]) -> str:
        if match[1]:
            return "%"
        value = next(given, None)
        if value is None:
            raise ValueError("it has too few arguments")
        width, kind = match[2], match[3]
        told = json.dumps(value) if kind == "q" else str(int(number(value))) if kind == "d" else _shown(value)
        return told.zfill(int(width)) if width.startswith("0") else told.rjust(int(width or 0))

    if re.search(r"%(?!%|0?\d*[sdvq])", pattern.replace("%%", "")):
        raise ValueError("its pattern is one that Terraform alone knows")
    return _FORMAT.sub(one, pattern)


def _shown(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict) else text(value)


def _replace(where: str, what: str, by: str) -> str:
    if len(what) > 1 and what[0] == what[-1] == "/":
        return re.sub(what[1:-1], re.sub(r"\$\{?(\w+)\}?", r"\\g<\1>", by), where)
    return where.replace(what, by)


def _lookup(of: Mapping[str, Any], key: str, *otherwise: Any) -> Any:
    if key in of or not otherwise:
        return of[key]
    return otherwise[0]


def _merge(*maps: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for one in maps for key, value in (one or {}).items()}


def _flatten(items: Iterable[Any]) -> list[Any]:
    return [deep for one in items for deep in (_flatten(one) if isinstance(one, list) else [one])]


def _distinct(items: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for one in items:
        if one not in found:
            found.append(one)
    return found


def _set(items: Iterable[Any]) -> list[Any]:
    return sorted(_distinct(items), key=lambda one: (str(type(one)), str(one)))


def _element(items: list[Any], index: Any) -> Any:
    return items[int(number(index)) % len(items)]


def _coalesce(*values: Any) -> Any:
    for one in values:
        if one not in (None, "", []):
            return one
    raise ValueError("none of its arguments is anything")


def _range(*bounds: Any) -> list[int]:
    return list(range(*(int(number(one)) for one in bounds)))


def _slice(items: list[Any], start: Any, end: Any) -> list[Any]:
    return items[int(number(start)) : int(number(end))]


def _substr(of: str, start: Any, length: Any) -> str:
    begin, count = int(number(start)), int(number(length))
    begin += len(of) if begin < 0 else 0
    return of[begin:] if count < 0 else of[begin : begin + count]


def _product(*sets: list[Any]) -> list[list[Any]]:
    return [list(one) for one in itertools.product(*sets)]


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "abs": lambda one: abs(number(one)),
        "ceil": lambda one: math.ceil(number(one)),
        "chomp": lambda one: one.rstrip("\r\n"),
        "coalesce": _coalesce,
        "coalescelist": _coalesce,
        "compact": lambda items: [one for one in items if one not in (None, "")],
        "concat": lambda *lists: [one for items in lists for one in items],
        "contains": lambda items, one: one in items,
        "distinct": _distinct,
        "element": _element,
        "endswith": lambda of, end: of.endswith(end),
        "flatten": _flatten,
        "floor": lambda one: math.floor(number(one)),
        "format": _format,
        "index": lambda items, one: items.index(one),
        "join": lambda by, *lists: by.join(text(one) for items in lists for one in items),
        "jsondecode": json.loads,
        "jsonencode": lambda one: json.dumps(one, separators=(",", ":"), sort_keys=True),
        "keys": sorted,
        "length": len,
        "lookup": _lookup,
        "lower": lambda one: one.lower(),
        "max": lambda *items: max(map(number, items)),
        "merge": _merge,
        "min": lambda *items: min(map(number, items)),
        "one": lambda items: items[0] if items else None,
        "range": _range,
        "replace": _replace,
        "reverse": lambda items: items[::-1],
        "setproduct": _product,
        "setunion": lambda *sets: _set(one for items in sets for one in items),
        "slice": _slice,
        "sort": sorted,
        "split": lambda by, of: of.split(by),
        "startswith": lambda of, start: of.startswith(start),
        "strrev": lambda one: one[::-1],
        "substr": _substr,
        "sum": lambda items: sum(map(number, items)),
        "title": lambda one: re.sub(r"(?<!\w)\w", lambda match: match[0].upper(), one),
        "tobool": _boolean,
        "tolist": list,
        "tomap": dict,
        "tonumber": number,
        "toset": _set,
        "tostring": text,
        "trim": lambda of, what: of.strip(what),
        "trimprefix": lambda of, what: of.removeprefix(what),
        "trimspace": lambda of: of.strip(),
        "trimsuffix": lambda of, what: of.removesuffix(what),
        "upper": lambda one: one.upper(),
        "values": lambda of: [of[key] for key in sorted(of)],
        "zipmap": lambda keys, values: dict(zip(keys, values, strict=True)),
    }
)
"""By name; each raises one of Python's own errors where its arguments do not suit it."""
