"""The model says what the published service model says: every structure that a spec or a tag is made of.

Walks both sides together from the seven specs and `TagRef`. One class of ours may stand for several published shapes
with the same members (`STANDS_FOR`); each of them is compared with it all the same.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from msgspec import inspect

import published
from meshwright.model import PORTABLE_KINDS, SPECS
from meshwright.model.scalars import Shape
from meshwright.model.specs import TagRef

STANDS_FOR = {
    "AccessLog": {"VirtualGatewayAccessLog"},
    "BackendDefaults": {"VirtualGatewayBackendDefaults"},
    "ClientPolicy": {"VirtualGatewayClientPolicy"},
    "ClientPolicyTls": {"VirtualGatewayClientPolicyTls"},
    "ClientTlsCertificate": {"VirtualGatewayClientTlsCertificate"},
    "FileAccessLog": {"VirtualGatewayFileAccessLog"},
    "HeaderMatchMethod": {"GrpcMetadataMatchMethod", "GrpcRouteMetadataMatchMethod"},
    "HttpConnectionPool": {"VirtualGatewayHttpConnectionPool", "VirtualNodeHttpConnectionPool"},
    "HttpRouteHeader": {"GrpcGatewayRouteMetadata", "GrpcRouteMetadata", "HttpGatewayRouteHeader"},
    "HttpTimeout": {"GrpcTimeout"},
    "ListenerTls": {"VirtualGatewayListenerTls"},
    "ListenerTlsAcmCertificate": {"VirtualGatewayListenerTlsAcmCertificate"},
    "ListenerTlsCertificate": {"VirtualGatewayListenerTlsCertificate"},
    "ListenerTlsFileCertificate": {"VirtualGatewayListenerTlsFileCertificate"},
    "ListenerTlsSdsCertificate": {"VirtualGatewayListenerTlsSdsCertificate"},
    "ListenerTlsValidationContext": {"VirtualGatewayListenerTlsValidationContext"},
    "ListenerTlsValidationContextTrust": {"VirtualGatewayListenerTlsValidationContextTrust"},
    "Logging": {"VirtualGatewayLogging"},
    "RequestPool": {
        "VirtualGatewayGrpcConnectionPool",
        "VirtualGatewayHttp2ConnectionPool",
        "VirtualNodeGrpcConnectionPool",
        "VirtualNodeHttp2ConnectionPool",
    },
    "RouteAction": {"GrpcRouteAction", "HttpRouteAction", "TcpRouteAction"},
    "TcpConnectionPool": {"VirtualNodeTcpConnectionPool"},
    "TlsValidationContext": {"VirtualGatewayTlsValidationContext"},
    "TlsValidationContextAcmTrust": {"VirtualGatewayTlsValidationContextAcmTrust"},
    "TlsValidationContextFileTrust": {"VirtualGatewayTlsValidationContextFileTrust"},
    "TlsValidationContextSdsTrust": {"VirtualGatewayTlsValidationContextSdsTrust"},
    "TlsValidationContextTrust": {"VirtualGatewayTlsValidationContextTrust"},
}
"""Published shapes that one class of ours stands for, besides the one of its own name, if that is published."""

STRICTER_UNIONS = {
    "RouteSpec": {"grpcRoute", "http2Route", "httpRoute", "tcpRoute"},
    "GatewayRouteSpec": {"grpcRoute", "http2Route", "httpRoute"},
    "HttpPathMatch": {"exact", "regex"},
    "GatewayRouteHostnameMatch": {"exact", "suffix"},
}
"""Members of which the service takes exactly one, though the published shape is no union (facts §1.3)."""

BOUNDS = {"integer": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
"""What the published number types hold."""

ROOTS: list[type[Shape]] = [*(SPECS[kind] for kind in PORTABLE_KINDS), TagRef]


class Walk:
    """One comparison of our types with a published document; collects differences and what it has seen."""

    def __init__(self, model: dict[str, Any]) -> None:
        self._shapes = model["shapes"]
        self.differences: list[str] = []
        self.seen: set[tuple[str, str]] = set()

    def structure(self, ours: inspect.StructType, name: str) -> None:
        """Compare a class with the published structure `name`, and all below it."""
        own = ours.cls.__name__
        if (own, name) in self.seen:
            return
        self.seen.add((own, name))
        shape = self._shapes[name]
        self._same(name, "its kind", "structure", shape["type"])
        self._same(name, "its name here", True, own == name or name in STANDS_FOR.get(own, ()))
        self._same(name, "unknown fields", True, ours.forbid_unknown_fields)
        fields = {field.encode_name: field for field in ours.fields}
        self._same(name, "its members", sorted(fields), sorted(shape["members"]))
        required = sorted(field.encode_name for field in ours.fields if field.required)
        self._same(name, "required members", required, sorted(shape.get("required", ())))
        self._union(ours, name)
        for member, theirs in shape["members"].items():
            if member in fields:
                self.type(stripped(fields[member].type), theirs["shape"], f"{name}.{member}")

    def type(self, ours: inspect.Type, name: str, at: str) -> None:
        """Compare any type of ours with the published shape `name`, a member `at`."""
        shape = self._shapes[name]
        match ours:
            case inspect.StructType():
                self.structure(ours, name)
            case inspect.VarTupleType():
                self._same(at, "its kind", "list", shape["type"])
                self._same(
                    at, "items", (ours.min_length or 0, ours.max_length), (shape.get("min", 0), shape.get("max"))
                )
                self.type(stripped(ours.item_type), shape["member"]["shape"], f"{at}[]")
            case inspect.LiteralType():
                self._same(at, "values", sorted(map(str, ours.values)), sorted(shape.get("enum", ())))
            case inspect.StrType():
                limits = (ours.min_length or 0, ours.max_length, ours.pattern, None)
                theirs = (shape.get("min", 0), shape.get("max"), shape.get("pattern"), shape.get("enum"))
                self._same(at, "its kind", "string", shape["type"])
                self._same(at, "limits", limits, theirs)
            case inspect.IntType():
                self._same(at, "its kind", True, shape["type"] in BOUNDS)
                if shape["type"] not in BOUNDS:
                    return
                # Where the published shape names no limit, its type is one.
                least, most = BOUNDS[shape["type"]]
                self._same(at, "limits", (ours.ge, ours.le), (shape.get("min", least), shape.get("max", most)))
            case inspect.BoolType():
                self._same(at, "its kind", "boolean", shape["type"])
            case _:
                self.differences.append(f"{at}: nothing published compares with {ours}")

    def _union(self, ours: inspect.StructType, name: str) -> None:
        """One-of members are the published union's, or those that the service is known to be stricter about."""
        assert issubclass(ours.cls, Shape)
        wire = {field.name: field.encode_name for field in ours.fields}
        shape = self._shapes[name]
        wanted = set(shape["members"]) if shape.get("union") else STRICTER_UNIONS.get(name, set())
        self._same(name, "one-of", sorted(wire[one] for one in ours.cls.one_of), sorted(wanted))

    def _same(self, at: str, what: str, ours: object, theirs: object) -> None:
        if ours != theirs:
            self.differences.append(f"{at}: {what}: here {ours!r}, published {theirs!r}")


def stripped(info: inspect.Type) -> inspect.Type:
    """`info` without the None that marks an optional member."""
    if isinstance(info, inspect.Metadata):
        return stripped(info.type)
    if isinstance(info, inspect.UnionType):
        (kept,) = (one for one in info.types if not isinstance(one, inspect.NoneType))
        return stripped(kept)
    return info


def walked(model: dict[str, Any]) -> Walk:
    """Both sides walked from every root."""
    walk = Walk(model)
    for root in ROOTS:
        info = inspect.type_info(root)
        assert isinstance(info, inspect.StructType)
        walk.structure(info, root.__name__)
    return walk


def test_the_model_is_as_published() -> None:
    """Members, required ones, unions, limits, patterns and enumerations of everything below the specs."""
    assert walked(published.description()).differences == []


def test_every_published_structure_below_a_spec_is_compared() -> None:
    """Nothing reachable is left out, so nothing can differ unseen."""
    model = published.description()
    reachable: set[str] = set()
    waiting = [root.__name__ for root in ROOTS]
    while waiting:
        name = waiting.pop()
        shape = model["shapes"][name]
        if name in reachable:
            continue
        reachable.add(name)
        waiting += [member["shape"] for member in shape.get("members", {}).values()]
        waiting += [shape["member"]["shape"]] if shape["type"] == "list" else []
    structures = {name for name in reachable if model["shapes"][name]["type"] == "structure"}
    assert {name for _, name in walked(model).seen} == structures
    assert len(structures) > 80


def test_no_alias_is_idle() -> None:
    """A table that says more than is needed would hide a wrong class one day."""
    used = walked(published.description()).seen
    assert {(ours, name) for ours, names in STANDS_FOR.items() for name in names} <= used
    shapes = published.description()["shapes"]
    assert [name for name in STRICTER_UNIONS if shapes[name].get("union")] == []


def _drop_member(shapes: dict[str, Any]) -> None:
    del shapes["HttpRetryPolicy"]["members"]["tcpRetryEvents"]


def _require(shapes: dict[str, Any]) -> None:
    shapes["VirtualRouterSpec"]["required"] = ["listeners"]


def _raise_limit(shapes: dict[str, Any]) -> None:
    shapes["PortNumber"]["max"] = 65536


def _add_value(shapes: dict[str, Any]) -> None:
    shapes["HttpMethod"]["enum"].append("QUERY")


def _open_union(shapes: dict[str, Any]) -> None:
    del shapes["ServiceDiscovery"]["union"]


def _longer_list(shapes: dict[str, Any]) -> None:
    shapes["WeightedTargets"]["max"] = 11


def _other_pattern(shapes: dict[str, Any]) -> None:
    shapes["AwsCloudMapInstanceAttributeKey"]["pattern"] = "^[a-z]+$"


def _other_type(shapes: dict[str, Any]) -> None:
    shapes["TlsValidationContextSdsTrust"]["members"]["secretName"]["shape"] = "PortNumber"


def _new_member(shapes: dict[str, Any]) -> None:
    shapes["VirtualGatewayGrpcConnectionPool"]["members"]["maxAge"] = {"shape": "PortNumber"}


@pytest.mark.parametrize(
    "change",
    [
        _drop_member,
        _require,
        _raise_limit,
        _add_value,
        _open_union,
        _longer_list,
        _other_pattern,
        _other_type,
        _new_member,
    ],
)
def test_a_difference_is_told(change: Any) -> None:
    """The walk can fail, for each thing that it compares."""
    model = copy.deepcopy(published.description())
    change(model["shapes"])
    assert walked(model).differences != []
