"""CloudFormation templates: the `AWS::AppMesh::*` resources of a template in JSON or YAML.

The one rule: only App Mesh resources are looked at; whatever stands in the others does not matter unless one of
ours refers to it. A resource without a name is called by its logical id, because CloudFormation's random one would be
another at every stack.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/AWS_AppMesh.html
"""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from msgspec import inspect

from meshwright.diagnostics import Severity
from meshwright.documents.drafts import Draft, name_fields
from meshwright.documents.findings import ASSUMED, UNSUPPORTED
from meshwright.documents.intrinsics import Resolver
from meshwright.documents.positions import UNKNOWN, Items, Place, Table
from meshwright.documents.template_resources import KINDS, NOTHING, PREFIX, Arn
from meshwright.errors import did_you_mean
from meshwright.model import PORTABLE_KINDS, SPECS, Kind, Problem
from meshwright.model.decoding import fields_of
from meshwright.model.specs import TagRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.documents.findings import Findings
    from meshwright.documents.settings import LoadSettings
    from meshwright.model.scalars import Shape

_ACRONYMS: Mapping[str, str] = MappingProxyType(
    {one.lower(): one for one in ("TLS", "SDS", "ACM", "GRPC", "HTTP", "HTTP2", "TCP", "DNS")}
    | {"awsCloudMap": "AWSCloudMap"}
)
"""Wire members that CloudFormation spells in another way than with a capital first letter."""

_NAMING = frozenset({*(kind.name_field for kind in PORTABLE_KINDS), "virtualNode"})
"""Members that name another object, where an ARN of this template is read as the name."""


def recognises(value: Any) -> bool:
    """Whether `value` is a template with at least one App Mesh resource, or one that a loop would make."""
    resources = value.get("Resources") if isinstance(value, Table) else None
    return isinstance(resources, Table) and any(
        _is_ours(one) or _makes_ours(name, one) for name, one in resources.items()
    )


def _is_ours(resource: Any) -> bool:
    kind = resource.get("Type") if isinstance(resource, Table) else None
    return isinstance(kind, str) and kind.startswith(PREFIX)


def _makes_ours(name: str, loop: Any) -> bool:
    """Whether a loop in the place of a resource would make one of ours, itself or by a loop in it.

    Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-foreach.html
    """
    if not (name.startswith("Fn::ForEach::") and isinstance(loop, Items)):
        return False
    outputs = [one for part in loop if isinstance(part, Table) for one in part.items()]
    return any(_is_ours(one) or _makes_ours(inner, one) for inner, one in outputs)


def drafts(template: Table, file: str, settings: LoadSettings, findings: Findings) -> Iterator[Draft]:
    """The App Mesh objects of a template; what cannot be worked out is reported."""
    resolver = Resolver(template, settings, file, findings)
    resources = template["Resources"]
    for name, resource in resources.items():
        place = resources.places[name]
        if _makes_ours(name, resource):
            told = f"{name} is a loop that CloudFormation runs, and the objects that it makes are not known here"
            findings.add(UNSUPPORTED, file, place, told, "Write its resources out, or give the processed template.")
        if name == "Fn::Transform":
            told = "Fn::Transform may add resources that are not known here"
            detail = "Give the processed template if it adds any of App Mesh."
            findings.add(UNSUPPORTED, file, place, told, detail, severity=Severity.WARNING)
        if not _is_ours(resource):
            continue
        if resource["Type"] not in KINDS:
            detail = did_you_mean(resource["Type"], KINDS, f"There are {', '.join(KINDS)}.", sentence=True)
            where = resource.place_of("Type")
            findings.add(UNSUPPORTED, file, where, f"{resource['Type']} is no type of CloudFormation", detail)
            continue
        condition = resource.get("Condition")
        if isinstance(condition, str) and resolver.condition(condition, resource.places["Condition"]) is not True:
            continue
        yield _draft(name, resource, place, _Writer(file, findings), resolver)


def _draft(name: str, resource: Table, place: Place, writer: _Writer, resolver: Resolver) -> Draft:
    kind = KINDS[resource["Type"]]
    properties = resource.get("Properties")
    at = resource.place_of("Properties")
    value = resolver.value(properties if isinstance(properties, Table) else Table(at), at)
    wire = writer.request(kind, value, place)
    if wire.get(kind.name_field) is None:
        wire.put(kind.name_field, name, place)
        writer.assume(place, name, _spelled(kind.name_field))
    if wire.get("meshName") is None and resolver.mesh is not None:
        wire.put("meshName", resolver.mesh, place)
    hints = MappingProxyType({one: f"Add the property {_spelled(one)}." for one in name_fields(kind)})
    problems = tuple(writer.problems)
    return Draft(kind=kind, wire=wire, file=writer.file, place=place, lax=True, hints=hints, problems=problems)


class _Writer:
    """Rewrites worked-out properties in the API's spelling, guided by the model."""

    def __init__(self, file: str, findings: Findings) -> None:
        self.file = file
        self._findings = findings
        self.problems: list[tuple[Problem, Place]] = []

    def assume(self, place: Place, name: str, field: str) -> None:
        """Say that a resource is called by its logical id."""
        told = f"{name} has no {field}; it is called {name!r} by its logical id"
        detail = "CloudFormation would make up a name; give one so that both say the same."
        self._findings.add(ASSUMED, self.file, place, told, detail, severity=Severity.WARNING)

    def request(self, kind: Kind, properties: Any, place: Place) -> Table:
        """The properties of a resource as the API's request."""
        wire = Table(place)
        if not isinstance(properties, Table):
            return wire
        members: dict[str, Any] = dict.fromkeys((*name_fields(kind), "meshOwner"))
        members["spec"] = SPECS[kind]
        members["tags"] = TagRef
        known = {name.casefold(): name for name in members}
        for key, value in properties.items():
            at = properties.places[key]
            name = known.get(key.casefold())
            if name is None:
                self._unknown(key, at, "", [_spelled(one) for one in members])
            elif name in {"spec", "tags"}:
                wire.put(name, self._rewritten(_type_of(members[name]), value, name, at), at)
            else:
                wire.put(name, self._scalar(None, value, name, at), at)
        return wire

    def _rewritten(self, info: inspect.Type, value: Any, path: str, place: Place) -> Any:
        if isinstance(value, Table) and isinstance(info, inspect.StructType):
            return self._struct(info, value, path)
        if isinstance(value, Items):
            inner = _stripped(info.item_type) if isinstance(info, inspect.VarTupleType) else info
            items = Items(value.place)
            for index, (one, where) in enumerate(zip(value, value.places, strict=True)):
                items.put(self._rewritten(inner, one, f"{path}[{index}]", where), where)
            return items
        return self._scalar(info, value, path, place)

    def _struct(self, info: inspect.StructType, value: Table, path: str) -> Table:
        members = _members(cast("type[Shape]", info.cls))
        table = Table(value.place)
        for key, member in value.items():
            place = value.places[key]
            found = members.get(key.casefold())
            if found is None:
                self._unknown(key, place, path, [_spelled(name) for name, _ in members.values()])
            else:
                name, wanted = found
                table.put(name, self._rewritten(wanted, member, f"{path}.{name}", place), place)
        return table

    def _scalar(self, info: inspect.Type | None, value: Any, path: str, place: Place) -> Any:
        if isinstance(value, Arn) and path.rpartition(".")[2] in _NAMING:
            told = f"{path}: Ref gives an ARN in CloudFormation; it is read as the name {value.key.name!r}"
            detail = f"Write Fn::GetAtt with {value.key.kind.type_name}Name."
            self._findings.add(ASSUMED, self.file, place, told, detail, severity=Severity.WARNING, path=path)
            return value.key.name
        wants_text = info is None or isinstance(info, inspect.StrType)
        if wants_text and isinstance(value, bool):
            return str(value).lower()
        if wants_text and isinstance(value, int | float):
            return str(value)
        return str(value) if isinstance(value, str) else UNKNOWN if value is NOTHING else value

    def _unknown(self, key: str, place: Place, path: str, known: list[str]) -> None:
        hint = did_you_mean(key, known, f"known here: {', '.join(sorted(known))}.")
        problem = Problem("MW001", f"{path}.{key}" if path else key, f"unknown property {key!r}", hint)
        self.problems.append((problem, place))


def _spelled(name: str) -> str:
    """A wire name as CloudFormation spells it."""
    return _ACRONYMS.get(name) or f"{name[0].upper()}{name[1:]}"


@functools.cache
def _members(shape: type[Shape]) -> Mapping[str, tuple[str, inspect.Type]]:
    """The members of a shape by their name without regard to case."""
    return {name.casefold(): (name, wanted) for name, wanted in fields_of(shape).items()}


@functools.cache
def _type_of(shape: type[Shape]) -> inspect.Type:
    return inspect.type_info(shape)


def _stripped(info: inspect.Type) -> inspect.Type:
    return _stripped(info.type) if isinstance(info, inspect.Metadata) else info
