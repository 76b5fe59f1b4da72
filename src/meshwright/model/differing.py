"""Where two versions of an object differ: the paths alone, at the price of a few comparisons.

The one rule: it is on the way of every write. What is equal is left at once; no document is made.
"""

from __future__ import annotations

import functools
import itertools
import operator
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshwright.model.state import Resource

_ABSENT = object()
_SEVERAL = 2
"""Fields from which on `attrgetter` gives a tuple."""


def differing(old: Resource, new: Resource) -> list[str]:
    """The paths of what differs in spec, tags and stack, in wire names: `spec.listeners[0].portMapping.port`.

    What is there in one version only is one path, whatever is in it. What the server keeps of an object (`metadata`)
    is no part of it.
    """
    found: list[str] = []
    if old.spec != new.spec:
        _compare("spec", old.spec, new.spec, found)
    if old.tags != new.tags:
        before, after = ({tag.key: tag.value for tag in one.tags} for one in (old, new))
        found += [f"tags.{key}" for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    if old.stack != new.stack:
        found.append("stack")
    return found


@functools.cache
def _members(kind: type[Any]) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]] | None:
    """The names on the wire of a struct's fields, and what gives all their values; None for what is no struct."""
    if not issubclass(kind, msgspec.Struct):
        return None
    names = kind.__struct_fields__
    if len(names) < _SEVERAL:
        return kind.__struct_encode_fields__, lambda one: tuple(getattr(one, name) for name in names)
    return kind.__struct_encode_fields__, operator.attrgetter(*names)


def _compare(at: str, old: Any, new: Any, found: list[str]) -> None:
    """Add the paths in which `old` and `new`, which are not equal, differ."""
    kind = type(old)
    members = _members(kind) if kind is type(new) else None  # type: ignore[arg-type] # a type can be hashed
    if members is not None:
        names, values = members
        for name, before, after in zip(names, values(old), values(new), strict=True):
            if before is not after and before != after:
                _compare(f"{at}.{name}", before, after, found)
    elif kind is tuple and type(new) is tuple:
        for index, (before, after) in enumerate(itertools.zip_longest(old, new, fillvalue=_ABSENT)):
            if before is not after and before != after:
                _compare(f"{at}[{index}]", before, after, found)
    else:
        found.append(at)
