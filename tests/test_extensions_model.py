"""Extensions in the model: identity, strict decoding, and what they are about."""

from __future__ import annotations

from typing import Any

import pytest

from meshwright.graph import Edge, Relation, resolve
from meshwright.model import (
    EXTENSION_KINDS,
    PORTABLE_KINDS,
    SPECS,
    DecodeError,
    Key,
    Kind,
    Resource,
    State,
    decode,
    parse_key,
)
from meshwright.model.extensions import FaultSpec

DELAY = {"duration": {"value": 2, "unit": "s"}, "percentage": 12.5}
FAULT: dict[str, Any] = {
    "target": {"virtualServiceName": "payment.local"},
    "delay": DELAY,
    "expiresAt": "2026-12-01T08:30:00.25Z",
}


def extension(kind: Kind, name: str, spec: dict[str, Any]) -> Resource:
    """An extension of mesh `m`."""
    return Resource(key=Key("m", kind, name), spec=decode(SPECS[kind], spec))


def problems(kind: Kind, spec: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rule, path and words of every problem of `spec`."""
    with pytest.raises(DecodeError) as caught:
        decode(SPECS[kind], spec, at="spec")
    return [(one.rule, one.path, one.message) for one in caught.value.problems]


def test_every_kind_is_app_mesh_s_or_an_extension() -> None:
    """Seven are portable; the rest are ours, each with a shape, and none lies in a router or gateway."""
    assert len(PORTABLE_KINDS) == 7
    assert set(PORTABLE_KINDS) | set(EXTENSION_KINDS) == set(Kind) == set(SPECS)
    assert not any(kind.portable or kind.parent for kind in EXTENSION_KINDS)


def test_an_extension_has_a_path_of_its_own() -> None:
    """Its kind stands behind our name, so that no App Mesh object can have the same path."""
    key = Key("shop", Kind.HEADER_EDIT, "no-server")
    assert key.path == "mesh/shop/meshwright/headerEdit/no-server"
    assert parse_key(key.arn(region="us-east-1", account="000000000000")) == key
    for text in ("mesh/shop/headerEdit/x", "mesh/shop/meshwright/virtualNode/x", "mesh/shop/meshwright/fault/"):
        with pytest.raises(ValueError, match="names no App Mesh resource"):
            parse_key(text)


def test_a_fault_ends_at_its_instant() -> None:
    """To the millisecond, in UTC."""
    spec = decode(FaultSpec, FAULT)
    assert spec.expiry == 1_796_113_800_250
    assert decode(FaultSpec, {**FAULT, "expiresAt": "2026-12-01T08:30:00Z"}).expiry == 1_796_113_800_000


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"expiresAt": None}, ("MW001", "spec.expiresAt", "expected a string, found nothing None")),
        ({"expiresAt": "2026-12-01 08:30"}, ("MW002", "spec.expiresAt", "does not match")),
        ({"expiresAt": "2026-12-01T08:30:00+01:00"}, ("MW002", "spec.expiresAt", "does not match")),
        ({"expiresAt": "2026-12-01T08:30:00Z\n"}, ("MW002", "spec.expiresAt", "does not match")),
        (
            {"delay": {**DELAY, "percentage": 101}},
            ("MW002", "spec.delay.percentage", "101 is not a number from 0 to 100"),
        ),
        (
            {"delay": {**DELAY, "percentage": float("nan")}},
            ("MW002", "spec.delay.percentage", "nan is not a number from 0 to 100"),
        ),
        ({"delay": {**DELAY, "percentage": True}}, ("MW001", "spec.delay.percentage", "expected a number")),
        ({"delay": None}, ("MW003", "spec", "At least one of delay, abort must be set; none is")),
        ({"abort": {"percentage": 1}}, ("MW003", "spec.abort", "Exactly one of httpStatus, grpcStatus must be set")),
        (
            {"target": {"virtualServiceName": "a", "virtualNodeName": "b"}},
            ("MW003", "spec.target", "found virtualServiceName, virtualNodeName"),
        ),
        (
            {"target": {"virtualServiceName": "a", "port": 80}},
            ("MW003", "spec.target", "found virtualServiceName, port"),
        ),
        ({"target": {"routeName": "a"}}, ("MW003", "spec.target", "virtualRouterName and routeName")),
        ({"target": {}}, ("MW003", "spec.target", "none is")),
        ({"form": ["web"]}, ("MW001", "spec.form", "unknown field 'form'")),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(change: dict[str, Any], problem: tuple[str, str, str]) -> None:
    """One fault of the spec, one problem."""
    ((rule, path, message),) = problems(Kind.FAULT, {**FAULT, **change})
    assert (rule, path) == problem[:2]
    assert problem[2] in message


@pytest.mark.parametrize(
    ("kind", "spec", "told"),
    [
        (
            Kind.FAULT,
            {**FAULT, "expiresAt": "2026-12-01T08:30:00+00:00"},
            "write the time in UTC, with a Z behind it",
        ),
        (Kind.TELEMETRY, {"tracing": {"openTelemetry": {"endpoint": "http://otel:4317"}}}, "without a scheme"),
        (
            Kind.EGRESS_POLICY,
            {"target": {"virtualNodeName": "a"}, "allow": [{"host": "a.b:80", "ports": [80], "protocol": "http"}]},
            "write a DNS name without scheme, port or path",
        ),
    ],
)
def test_what_has_another_form_is_told_which_to_write(kind: Kind, spec: dict[str, Any], told: str) -> None:
    """A pattern alone tells nobody who does not read patterns."""
    with pytest.raises(DecodeError) as caught:
        decode(SPECS[kind], spec, at="spec")
    (problem,) = caught.value.problems
    assert told in problem.hint


def test_a_fault_without_an_expiry_is_refused() -> None:
    """Nobody forgets it on purpose."""
    spec = {name: value for name, value in FAULT.items() if name != "expiresAt"}
    assert problems(Kind.FAULT, spec) == [("MW001", "spec.expiresAt", "is required")]


def test_a_kind_takes_only_the_targets_that_it_can_serve() -> None:
    """A mirror is for routes; a node's ingress has none."""
    spec = {"target": {"virtualNodeName": "a"}, "to": {"virtualNodeName": "b"}, "percentage": 5}
    assert [one[1] for one in problems(Kind.MIRROR, spec)] == ["spec.target.virtualNodeName", "spec.target"]


@pytest.mark.parametrize(
    ("target", "key", "field"),
    [
        ({"virtualServiceName": "s"}, Key("m", Kind.VIRTUAL_SERVICE, "s"), "virtualServiceName"),
        ({"virtualRouterName": "r", "routeName": "x"}, Key("m", Kind.ROUTE, "x", "r"), "routeName"),
        (
            {"virtualGatewayName": "g", "gatewayRouteName": "x"},
            Key("m", Kind.GATEWAY_ROUTE, "x", "g"),
            "gatewayRouteName",
        ),
        ({"virtualNodeName": "n", "port": 80}, Key("m", Kind.VIRTUAL_NODE, "n"), "virtualNodeName"),
        ({"virtualGatewayName": "g"}, Key("m", Kind.VIRTUAL_GATEWAY, "g"), "virtualGatewayName"),
    ],
)
def test_an_extension_is_about_what_its_target_names(target: dict[str, Any], key: Key, field: str) -> None:
    """Each form is one edge; the graph finds the extension from there."""
    one = extension(Kind.FAULT, "f", {**FAULT, "target": target})
    graph = resolve(State([one]))
    assert Edge(one.key, key, Relation.EXTENDS, f"spec.target.{field}", found=False) in graph.edges
    assert graph.extensions(Kind.FAULT, key) == (one,)
    assert graph.extensions(Kind.CORS, key) == ()


def test_an_extension_without_a_target_is_about_its_mesh() -> None:
    """Zone preferences and telemetry may hold for all."""
    one = extension(Kind.ZONE_POLICY, "z", {"preferSameZone": True})
    assert resolve(State([one])).extensions(Kind.ZONE_POLICY, Key.of_mesh("m")) == (one,)


def test_callers_and_copies_are_edges_too() -> None:
    """A fault's `from` names nodes and gateways; a mirror's destination is a node."""
    fault = extension(Kind.FAULT, "f", {**FAULT, "from": ["web", "edge", "gone"]})
    mirror = extension(
        Kind.MIRROR,
        "m",
        {"target": {"virtualServiceName": "s"}, "to": {"virtualNodeName": "shadow"}, "percentage": 1},
    )
    web = Resource(key=Key("m", Kind.VIRTUAL_NODE, "web"), spec=decode(SPECS[Kind.VIRTUAL_NODE], {}))
    listener = {"portMapping": {"port": 80, "protocol": "http"}}
    edge = Resource(
        key=Key("m", Kind.VIRTUAL_GATEWAY, "edge"),
        spec=decode(SPECS[Kind.VIRTUAL_GATEWAY], {"listeners": [listener]}),
    )
    graph = resolve(State([fault, mirror, web, edge]))
    assert [(one.target, one.path, one.found) for one in graph.outgoing(fault.key, Relation.CALLER)] == [
        (web.key, "spec.from[0]", True),
        (edge.key, "spec.from[1]", True),
        (Key("m", Kind.VIRTUAL_NODE, "gone"), "spec.from[2]", False),
    ]
    (copies,) = graph.outgoing(mirror.key, Relation.COPIES)
    assert (copies.target, copies.path) == (Key("m", Kind.VIRTUAL_NODE, "shadow"), "spec.to.virtualNodeName")
