"""Whether an answer has the shape that the published service model gives it; written for answers alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def misfits(shape: Any, value: Any, at: str = "") -> Iterator[str]:
    """Every way in which the JSON `value` is not of botocore's `shape`."""
    yield from _OF[shape.type_name](shape, value, at)


def _structure(shape: Any, value: Any, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at} is no object"
        return
    for name in value.keys() - shape.members.keys():
        yield f"{at}.{name} is no member"
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"{at}.{name} is missing"
    if shape.metadata.get("union") and len([one for one in value.values() if one is not None]) != 1:
        yield f"{at} is a union of {sorted(value)}"
    for name, member in shape.members.items():
        if value.get(name) is not None:
            yield from misfits(member, value[name], f"{at}.{name}")


def _list(shape: Any, value: Any, at: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{at} is no list"
        return
    yield from _limits(shape, len(value), at)
    for index, one in enumerate(value):
        yield from misfits(shape.member, one, f"{at}[{index}]")


def _string(shape: Any, value: Any, at: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{at} is no string"
        return
    yield from _limits(shape, len(value), at)
    if shape.enum and value not in shape.enum:
        yield f"{at} is {value!r}"


def _number(shape: Any, value: Any, at: str) -> Iterator[str]:
    if type(value) is not int:
        yield f"{at} is no whole number"
        return
    yield from _limits(shape, value, at)


def _boolean(shape: Any, value: Any, at: str) -> Iterator[str]:
    del shape
    if not isinstance(value, bool):
        yield f"{at} is no boolean"


def _timestamp(shape: Any, value: Any, at: str) -> Iterator[str]:
    """Seconds since the epoch with milliseconds, as rest-json has them."""
    del shape
    if not isinstance(value, float) or not math.isclose(value * 1000, round(value * 1000), abs_tol=1e-3):
        yield f"{at} is no time"


def _limits(shape: Any, size: int, at: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and size < low) or (high is not None and size > high):
        yield f"{at} is {size}, outside {low} to {high}"


_OF: dict[str, Callable[[Any, Any, str], Iterator[str]]] = {
    "structure": _structure,
    "list": _list,
    "string": _string,
    "integer": _number,
    "long": _number,
    "boolean": _boolean,
    "timestamp": _timestamp,
}
