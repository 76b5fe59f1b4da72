"""What differs between two versions of an object, field by field, in wire paths.

The one rule: what App Mesh's clients hold to be equal is equal here: an empty list and an absent one, a health
check's port left out and the listener's own (it is the one value that the service fills in).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.model.decoding import DecodeError, Problem, decode, encode
from meshwright.model.specs import TagRef
from meshwright.model.state import SPECS, Resource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meshwright.model.identity import Key

_ABSENT = object()
_TAGS = tuple[TagRef, ...]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field that differs; `old` and `new` are JSON values, None where the field is absent."""

    path: str
    """In wire names: `spec.listeners[0].portMapping.port`, `tags.team`, `stack`."""
    old: Any = None
    new: Any = None


def contents(resource: Resource) -> tuple[dict[str, Any], dict[str, str]]:
    """The spec in wire names and the tags, as JSON values."""
    return encode(resource.spec), {tag.key: tag.value for tag in resource.tags}


def decoded(key: Key, spec: Mapping[str, Any], tags: Mapping[str, str], stack: str = "") -> Resource:
    """The object that `contents` took apart.

    Raises:
        DecodeError: `spec` does not fit the kind, or a tag the limits; paths begin with `spec` or `tags`.
    """
    listed = [{"key": name, "value": value} for name, value in tags.items()]
    try:
        refs = decode(_TAGS, listed, at="tags")
    except DecodeError as error:
        raise DecodeError((*_problems(key, spec), *error.problems)) from None
    return Resource(key=key, spec=decode(SPECS[key.kind], spec, at="spec"), tags=refs, stack=stack)


def leaves(spec: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Every field of an object that holds no others, by path, in the order in which it is written; tags last."""
    yield from _leaves(spec, "spec")
    yield from ((f"tags.{name}", text) for name, text in sorted(tags.items()))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, one in value.items():
            yield from _leaves(one, f"{path}.{name}")
    elif isinstance(value, list | tuple) and value:
        for place, one in enumerate(value):
            yield from _leaves(one, f"{path}[{place}]")
    else:
        yield path, value


def _problems(key: Key, spec: Mapping[str, Any]) -> tuple[Problem, ...]:
    try:
        decode(SPECS[key.kind], spec, at="spec")
    except DecodeError as error:
        return error.problems
    return ()


def differences(old: Resource, new: Resource) -> tuple[Field, ...]:
    """The fields of spec and tags in which `new` differs from `old`, in order of the new document."""
    (old_spec, old_tags), (new_spec, new_tags) = contents(old), contents(new)
    tags = [
        Field(path=f"tags.{name}", old=old_tags.get(name), new=new_tags.get(name))
        for name in sorted(old_tags.keys() | new_tags.keys())
        if old_tags.get(name) != new_tags.get(name)
    ]
    return (*_compared("spec", normal(old_spec), normal(new_spec)), *tags)


def normal(value: Any) -> Any:
    """`value` without empty lists, and with the health check ports that the service would fill in."""
    if isinstance(value, list):
        return [normal(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {name: normal(one) for name, one in value.items() if one != []}
    check, mapping = kept.get("healthCheck"), kept.get("portMapping")
    if isinstance(check, dict) and isinstance(mapping, dict) and "port" in mapping:
        kept["healthCheck"] = {"port": mapping["port"], **check}
    return kept


def _compared(path: str, old: Any, new: Any) -> Iterator[Field]:
    if old is not _ABSENT and new is not _ABSENT and old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            yield from _compared(f"{path}.{name}", old.get(name, _ABSENT), new.get(name, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _compared_lists(path, old, new)
    else:
        yield Field(path=path, old=_shown(old), new=_shown(new))


def _compared_lists(path: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Field]:
    """Items are matched by what names them, so that one insertion is one difference."""
    name = path.rpartition(".")[2]
    names_old = [_identity(name, one, index) for index, one in enumerate(old)]
    names_new = [_identity(name, one, index) for index, one in enumerate(new)]
    unique = len(set(names_old)) == len(old) and len(set(names_new)) == len(new)
    if not unique or (len(old) == len(new) == 1 and name != "backends"):
        names_old, names_new = list(map(str, range(len(old)))), list(map(str, range(len(new))))
    before = dict(zip(names_old, old, strict=True))
    if set(names_old) == set(names_new) and names_old != names_new:
        yield Field(path=f"{path}.order", old=names_old, new=names_new)
    for index, (identity, item) in enumerate(zip(names_new, new, strict=True)):
        yield from _compared(f"{path}[{index}]", before.get(identity, _ABSENT), item)
    for index, identity in enumerate(names_old):
        if identity not in names_new:
            yield Field(path=f"{path}[{index}]", old=old[index])


def _identity(name: str, item: Any, index: int) -> str:
    """What names an item of the list `name`; its position where nothing does."""
    match name, item:
        case "backends", {"virtualService": {"virtualServiceName": service}}:
            return str(service)
        case "weightedTargets", {"virtualNode": node, **rest}:
            return f"{node}:{rest['port']}" if "port" in rest else str(node)
        case "listeners", {"portMapping": {"port": port}}:
            return str(port)
        case "headers" | "metadata" | "queryParameters", {"name": parameter}:
            return str(parameter)
        case "attributes" | "json", {"key": key}:
            return str(key)
    return str(index)


def _shown(value: Any) -> Any:
    return None if value is _ABSENT else value
