"""Arguments and blocks of `aws_appmesh_*` resources as requests of the API.

The one rule: the model says what there is; Terraform's spelling of it is the wire's in snake case, with the singular
for blocks that may stand several times.

Source: https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/appmesh_virtual_node
"""

from __future__ import annotations

import functools
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from msgspec import inspect

from meshwright.documents.drafts import Draft, name_fields
from meshwright.documents.positions import UNKNOWN, Items, Table
from meshwright.errors import did_you_mean
from meshwright.model import SPECS, Kind, Problem
from meshwright.model.decoding import fields_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.documents.positions import Place
    from meshwright.model.scalars import Shape

_COMPUTED = frozenset({"arn", "created_date", "id", "last_updated_date", "resource_owner", "region", "tags_all"})
"""What states show of a resource beside what was asked for, and what says where it is."""


def request(kind: Kind, values: Table, file: str, place: Place, address: str) -> Draft:
    """A resource as the API's request, with what is not understood in it; `address` is Terraform's for it."""
    writer = _Writer()
    wire = Table(place)
    members = {"name" if field == kind.name_field else snake(field): field for field in name_fields(kind)}
    members |= {"mesh_owner": "meshOwner", "spec": "spec", "tags": "tags"}
    for name, value in values.items():
        at = values.places[name]
        if name == "spec":
            info = inspect.type_info(SPECS[kind])
            wire.put("spec", writer.one(info, value, "spec", at), at)
        elif name == "tags":
            wire.put("tags", _pairs(value), at)
        elif name in members:
            if value is not None:
                wire.put(members[name], value, at)
        elif name not in _COMPUTED:
            writer.unknown(name, at, "", list(members))
    if kind is Kind.MESH and "spec" not in wire:
        wire.put("spec", Table(place), place)
    spelled = {field: "name" if field == kind.name_field else snake(field) for field in name_fields(kind)}
    hints = {field: f"Add {name} to {address}." for field, name in spelled.items()}
    return Draft(
        kind=kind,
        wire=wire,
        file=file,
        place=place,
        lax=True,
        hints=MappingProxyType(hints),
        problems=tuple(writer.problems),
    )


def snake(name: str) -> str:
    """A wire name as Terraform spells it: `awsCloudMap` is `aws_cloud_map`."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


@functools.cache
def members(shape: type[Shape]) -> Mapping[str, tuple[str, inspect.Type]]:
    """The members of a shape by Terraform's name, each with its wire name and type."""
    found = {}
    for wire, wanted in fields_of(shape).items():
        info = _stripped(wanted)
        blocks = isinstance(info, inspect.VarTupleType) and isinstance(_stripped(info.item_type), inspect.StructType)
        name = snake(wire)
        if blocks and not _is_mapping(info) and name.endswith("s"):
            name = name.removesuffix("s")
        found[name] = (wire, info)
    return found


class _Writer:
    def __init__(self) -> None:
        self.problems: list[tuple[Problem, Place]] = []

    def one(self, info: inspect.Type, value: Any, path: str, place: Place) -> Any:
        """A value of the type `info`; a block that may stand once is a list of one to Terraform."""
        if isinstance(info, inspect.VarTupleType):
            return self._several(info, value, path)
        if isinstance(info, inspect.StructType):
            if isinstance(value, Items):
                if len(value) > 1:
                    told = f"stands {len(value)} times, and may stand once"
                    self.problems.append((Problem("MW001", path, told, "Remove all but one."), value.places[1]))
                value = value[0] if value else Table(place)
            return self._struct(info, value, path) if isinstance(value, Table) else value
        return value

    def _several(self, info: inspect.VarTupleType, value: Any, path: str) -> Any:
        if _is_mapping(info):
            return _pairs(value)
        inner = _stripped(info.item_type)
        if isinstance(value, Table):
            alone = Items(value.place)
            alone.put(value, value.place)
            value = alone
        if not isinstance(value, Items):
            return value
        items = Items(value.place)
        for index, (one, at) in enumerate(zip(value, value.places, strict=True)):
            items.put(self.one(inner, one, f"{path}[{index}]", at), at)
        return items

    def _struct(self, info: inspect.StructType, value: Table, path: str) -> Table:
        known = members(cast("type[Shape]", info.cls))
        table = Table(value.place)
        for name, member in value.items():
            place = value.places[name]
            if name not in known:
                self.unknown(name, place, path, list(known))
            elif not (member is None or (name == "priority" and member in {0, "0"})):
                # The provider sends no priority where it is 0.
                wire, wanted = known[name]
                table.put(wire, self.one(wanted, member, f"{path}.{wire}", place), place)
        return table

    def unknown(self, name: str, place: Place, path: str, known: list[str]) -> None:
        """Tell of an argument or block that there is not."""
        hint = did_you_mean(name, known, f"known here: {', '.join(sorted(known))}.")
        where = f"{path}.{name}" if path else name
        self.problems.append((Problem("MW001", where, f"unknown argument {name!r}", hint), place))


def _is_mapping(info: inspect.Type) -> bool:
    """Whether Terraform writes it as a mapping: the attributes of an instance in Cloud Map."""
    inner = _stripped(info.item_type) if isinstance(info, inspect.VarTupleType) else None
    return isinstance(inner, inspect.StructType) and inner.cls.__name__ == "AwsCloudMapInstanceAttribute"


def _pairs(value: Any) -> Any:
    """A mapping as a list of keys and values."""
    if isinstance(value, Items) and len(value) == 1 and isinstance(value[0], Table):
        value = value[0]  # JSON cannot tell a mapping from a block
    if not isinstance(value, Table):
        return value if value is UNKNOWN else Items((0, 0)) if value is None else value
    items = Items(value.place)
    for key, one in value.items():
        pair = Table(value.places[key])
        pair.put("key", key, value.places[key])
        pair.put("value", one, value.places[key])
        items.put(pair, value.places[key])
    return items


def _stripped(info: inspect.Type) -> inspect.Type:
    if isinstance(info, inspect.Metadata):
        return _stripped(info.type)
    if isinstance(info, inspect.UnionType):
        kept = [one for one in info.types if not isinstance(one, inspect.NoneType)]
        return _stripped(kept[0]) if len(kept) == 1 else info
    return info
