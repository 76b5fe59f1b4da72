"""The resources of a CloudFormation template as other resources refer to them: by name, by ARN, by attribute.

The one rule: a resource of ours is known by what the template says of it; of others only what the template itself
gives is known before a deployment.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/AWS_AppMesh.html
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from meshwright.documents.positions import UNKNOWN, Place, Table
from meshwright.model import PORTABLE_KINDS, Key, Kind
from meshwright.model.identity import DEFAULT_ACCOUNT, DEFAULT_REGION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from meshwright.documents.settings import LoadSettings

PREFIX = "AWS::AppMesh::"
KINDS: Mapping[str, Kind] = MappingProxyType({f"{PREFIX}{kind.type_name}": kind for kind in PORTABLE_KINDS})

_NAMED_BY: Mapping[str, str] = MappingProxyType(
    {
        "AWS::Route53::RecordSet": "Name",
        "AWS::ECS::Cluster": "ClusterName",
        "AWS::Logs::LogGroup": "LogGroupName",
        "AWS::SSM::Parameter": "Name",
    }
)
"""Types whose `Ref` is a property that the template itself gives."""
_ATTRIBUTES: Mapping[tuple[str, str], str] = MappingProxyType({("AWS::ServiceDiscovery::Service", "Name"): "Name"})
"""Attributes that are a property that the template itself gives."""


class Nothing:
    """The value of `AWS::NoValue`: the member that holds it does not exist."""


NOTHING = Nothing()


class Arn(str):
    """The ARN of an object of the template, as `Ref` gives it; `key` is the object."""

    __slots__ = ("key",)

    key: Key


class TemplateResources:
    """The resources of one template; `value` works out a property, `unknown` reports that something is not known."""

    def __init__(
        self, nodes: Table, settings: LoadSettings, value: Callable[..., Any], unknown: Callable[..., Any]
    ) -> None:
        self._nodes = nodes
        self._settings = settings
        self._value = value
        self._unknown = unknown
        self._named: dict[tuple[str, str], Any] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def attribute(self, name: str, attribute: str, place: Place) -> Any:
        """An attribute of a resource, or with "" what `Ref` gives."""
        what = f"{name}.{attribute}" if attribute else name
        given = self._settings.parameters.get(what)
        if given is not None:
            return given
        lack = self._settings.lacks.get(what)
        if lack is not None:
            return self._unknown(place, lack.told, lack.remedy, severity=self._settings.gravity(lack))
        node = self._nodes[name]
        kind_name = node.get("Type") if isinstance(node, Table) else None
        kind = KINDS.get(kind_name) if isinstance(kind_name, str) else None
        if kind is not None and (attribute in {"", "Arn"}):
            return self._arn(kind, name, place)
        field = _wire_field(kind, attribute) if kind else _ATTRIBUTES.get((str(kind_name), attribute))
        if not attribute:
            field = _NAMED_BY.get(str(kind_name))
        if field is not None:
            return self.property_of(name, field, place)
        told = f"{what} ({kind_name}) is only known once it is deployed"
        return self._unknown(place, told, f"Give its value as --parameter {what}=VALUE.")

    def property_of(self, name: str, field: str, place: Place) -> Any:
        """A property of a resource, worked out once; an App Mesh resource without a name has its logical id."""
        if (name, field) in self._named:
            value = self._named[name, field]
            if value is not None:
                return value
            return self._unknown(place, f"{name}.{field} is made from itself", "References may not run in a circle.")
        self._named[name, field] = None
        node = self._nodes[name]
        properties = node.get("Properties") if isinstance(node, Table) else None
        value = NOTHING
        if isinstance(properties, Table) and field in properties:
            value = self._value(properties[field], properties.places[field])
        if value is NOTHING:
            value = self._default(name, field, place)
        self._named[name, field] = value
        return value

    def _default(self, name: str, field: str, place: Place) -> Any:
        kind = KINDS.get(self._nodes[name].get("Type"))
        if field == "MeshName" and kind is not Kind.MESH and self._settings.mesh:
            return self._settings.mesh
        if kind is not None and field == f"{kind.type_name}Name":
            return name
        return self._unknown(place, f"{name} has no {field}", "The value is needed here; add it to the resource.")

    def _arn(self, kind: Kind, name: str, place: Place) -> Any:
        fields = ["MeshName", *([f"{kind.parent.type_name}Name"] if kind.parent else []), f"{kind.type_name}Name"]
        values = [self.property_of(name, field, place) for field in dict.fromkeys(fields)]
        if not all(isinstance(one, str) for one in values):
            return UNKNOWN
        key = Key(values[0], kind, values[-1], values[1] if kind.parent else "")
        region, account = self._settings.region or DEFAULT_REGION, self._settings.account or DEFAULT_ACCOUNT
        arn = Arn(key.arn(region=region, account=account))
        arn.key = key
        return arn


def _wire_field(kind: Kind, attribute: str) -> str | None:
    """The property that an attribute of an App Mesh resource repeats, None for one that only the server knows."""
    fields = {"MeshName", "MeshOwner", f"{kind.type_name}Name"}
    if kind.parent:
        fields.add(f"{kind.parent.type_name}Name")
    return attribute if attribute in fields else None
