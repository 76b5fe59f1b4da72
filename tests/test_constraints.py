"""What App Mesh refuses is refused in its words, and nothing that it takes is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from meshwright import constraints
from meshwright.diagnostics import Severity
from meshwright.errors import BadRequestException, NotFoundException
from meshwright.graph import Graph, resolve
from meshwright.model import SPECS, Key, Kind, Resource, State, decode

if TYPE_CHECKING:
    from pathlib import Path

DNS = {"dns": {"hostname": "a.local"}}
TO_A: dict[str, Any] = {"weightedTargets": [{"virtualNode": "a", "weight": 1}]}
TO_S: dict[str, Any] = {"target": {"virtualService": {"virtualServiceName": "s"}}}
EVENTS: dict[str, Any] = {"maxRetries": 1, "perRetryTimeout": {"unit": "s", "value": 1}}
HEALTH = {"healthyThreshold": 2, "unhealthyThreshold": 2, "intervalMillis": 5000, "timeoutMillis": 2000}


def listener(port: int = 80, protocol: str = "http", **more: Any) -> dict[str, Any]:
    """A listener of any kind."""
    return {"portMapping": {"port": port, "protocol": protocol}, **more}


def node(*listeners: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A virtual node's spec."""
    return {"listeners": list(listeners or [listener()]), "serviceDiscovery": DNS, **more}


def backend(name: str) -> dict[str, Any]:
    """A backend."""
    return {"virtualService": {"virtualServiceName": name}}


def one(kind: Kind, name: str, spec: dict[str, Any], parent: str = "") -> Resource:
    """An object of mesh `m`."""
    return Resource(key=Key("m", kind, name, parent), spec=decode(SPECS[kind], spec))


def http(match: dict[str, Any], action: dict[str, Any] = TO_A, **more: Any) -> dict[str, Any]:
    """An HTTP route's spec, of a router or of a gateway."""
    return {"httpRoute": {"match": match, "action": action, **more}}


MESH = State(
    [
        one(Kind.MESH, "m", {}),
        one(Kind.VIRTUAL_NODE, "a", node()),
        one(Kind.VIRTUAL_ROUTER, "r", {"listeners": [listener()]}),
        one(Kind.ROUTE, "all", http({"prefix": "/"}), "r"),
        one(Kind.VIRTUAL_SERVICE, "s", {"provider": {"virtualRouter": {"virtualRouterName": "r"}}}),
        one(Kind.VIRTUAL_GATEWAY, "g", {"listeners": [listener()]}),
        one(Kind.GATEWAY_ROUTE, "in", http({"prefix": "/"}, TO_S), "g"),
    ]
)


def with_(kind: Kind, name: str, spec: dict[str, Any], parent: str = "") -> tuple[Graph, Key]:
    """The mesh with one object added or replaced, and its key."""
    added = one(kind, name, spec, parent)
    return resolve(MESH.put(added)), added.key


def refused(kind: Kind, name: str, spec: dict[str, Any], parent: str = "") -> str:
    """The service's words about such an object, "" when it is taken."""
    graph, key = with_(kind, name, spec, parent)
    error = constraints.refusal(graph, key)
    found = {diagnostic.summary for diagnostic in constraints.check(graph)}
    assert error is None or str(error) in found or "depend" in str(error) or "All Routes" in str(error)
    return "" if error is None else str(error)


FOLDED = "(?i)" + r"/\p{L}\P{N}" * 2
"""As many Unicode classes as an expression that ignores case may have."""


@pytest.mark.parametrize(
    ("expression", "taken"),
    [
        (FOLDED, True),
        (FOLDED + r"\pS", False),
        (FOLDED + r"\\pS", True),
        (r"\(?i" + r"\pL" * 80, True),
        (r"\pL" * 80, True),
        (r"\pL" * 80 + "(?si:a)", False),
        (r"(?-i)" + r"\pL" * 80, True),
        (".{0,1000}" * 25, True),
        (r"(?i)\pL{1000}", True),
        ("(?!a)b", True),
    ],
)
def test_an_expression_that_would_hold_everybody_up_is_refused_by_its_field(expression: str, taken: bool) -> None:
    """Whatever else Envoy refuses is taken, as App Mesh took it; that costs no more than 10 ms to find out."""
    header = {"name": "n", "match": {"regex": expression}}
    places = [
        (Kind.ROUTE, "r", http({"path": {"regex": expression}}), "httpRoute.match.path.regex"),
        (Kind.ROUTE, "r", {"http2Route": {"match": {"prefix": "/", "headers": [header]}, "action": TO_A}},
         "http2Route.match.headers[0].match.regex"),
        (Kind.GATEWAY_ROUTE, "g", http({"path": {"regex": expression}}, TO_S), "httpRoute.match.path.regex"),
        (Kind.GATEWAY_ROUTE, "g", {"grpcRoute": {"match": {"metadata": [header]}, "action": TO_S}},
         "grpcRoute.match.metadata[0].match.regex"),
    ]  # fmt: skip
    for kind, parent, spec, field in places:
        words = "takes too long to compile: it ignores case and has more than 4 Unicode classes (\\p, \\P)"
        due = "" if taken else f"The regular expression in spec.{field} {words}"
        assert refused(kind, "new", spec, parent) == due


def test_a_correct_mesh_has_nothing_to_refuse() -> None:
    """No finding, no refusal, for any object."""
    graph = resolve(MESH)
    assert constraints.check(graph) == ()
    assert [constraints.refusal(graph, resource.key) for resource in MESH] == [None] * len(MESH)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, ""),
        ({"backends": [backend("nowhere"), backend("s")]}, ""),
        ({"serviceDiscovery": DNS}, "Service Discovery can't be set without a listener."),
        ({"listeners": [listener()]}, "A listener can't be set without Service Discovery."),
        (
            node(listener(healthCheck={**HEALTH, "protocol": "grpc"})),
            "GRPC HealthCheck requires listener type of HTTP2 or GRPC.",
        ),
        (node(listener(protocol="http2", healthCheck={**HEALTH, "protocol": "grpc"})), ""),
        (node(listener(protocol="grpc", healthCheck={**HEALTH, "protocol": "http2"})), ""),
        (node(listener(healthCheck={**HEALTH, "protocol": "tcp", "port": 80})), ""),
        (
            node(listener(healthCheck={**HEALTH, "protocol": "http", "port": 81})),
            "HealthCheck port 81 must be the listener's port 80",
        ),
        (
            node(listener(connectionPool={"tcp": {"maxConnections": 1}})),
            "The connectionPool of a listener with protocol http must be set under http, not tcp",
        ),
        (
            node(listener(timeout={"grpc": {"idle": {"unit": "s", "value": 1}}})),
            "The timeout of a listener with protocol http must be set under http, not grpc",
        ),
        (
            node(listener(timeout={"http": {"idle": {"unit": "s"}}})),
            "A duration needs both a unit and a value; value is not set",
        ),
        (
            node(backends=[backend("s"), backend("s")]),
            "Backends must be unique: virtual service s is listed more than once",
        ),
        (
            node(listener(), listener(protocol="tcp")),
            "Listener ports must be unique: port 80 is listed more than once",
        ),
        (node(listener(), listener(81)), ""),
    ],
)
def test_a_virtual_node_is_judged_as_the_service_does(spec: dict[str, Any], words: str) -> None:
    """Discovery, health checks, pools, timeouts, backends, ports."""
    assert refused(Kind.VIRTUAL_NODE, "b", spec) == words


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (http({"prefix": "/a"}), ""),
        (http({"method": "GET"}), ""),
        (http({"prefix": "/a", "path": {"exact": "/b"}}), "A match can have a prefix or a path, not both"),
        (http({"prefix": "a"}), "The prefix 'a' must start with /"),
        (http({"path": {"exact": "a"}}), "The path 'a' must start with /"),
        (http({"path": {"regex": "a|/b"}}), ""),
        (
            http({"prefix": "/", "headers": [{"name": "n", "match": {"range": {"start": 5, "end": 5}}}]}),
            "The range's start 5 must be less than its end 5",
        ),
        (
            http({"prefix": "/"}, retryPolicy={**EVENTS, "httpRetryEvents": ["server-eror"]}),
            "'server-eror' is not one of server-error, gateway-error, client-error, stream-error",
        ),
        (
            http({"prefix": "/"}, retryPolicy={"maxRetries": 0, "perRetryTimeout": {"value": 1}}),
            "A duration needs both a unit and a value; unit is not set",
        ),
        (
            {"grpcRoute": {"match": {"methodName": "M"}, "action": TO_A}},
            "A gRPC route that matches a method name must match a service name",
        ),
        ({"grpcRoute": {"match": {}, "action": TO_A}}, ""),
        ({"tcpRoute": {"action": {"weightedTargets": [{"virtualNode": "a", "weight": 0}]}}}, ""),
        (
            http({"prefix": "/", "port": 81}),
            "Route matches port 81, and virtual router r does not listen on it",
        ),
        (http({"prefix": "/", "port": 80}, {"weightedTargets": [{"virtualNode": "a", "weight": 1, "port": 80}]}), ""),
        ({"http2Route": {"match": {"prefix": "/"}, "action": TO_A}}, ""),
    ],
)
def test_a_route_is_judged_as_the_service_does(spec: dict[str, Any], words: str) -> None:
    """Matches, ranges, retry events, durations, ports; a protocol unlike the router's is taken."""
    assert refused(Kind.ROUTE, "new", spec, "r") == words


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (http({"hostname": {"exact": "shop.example"}}, TO_S), ""),
        (http({"prefix": "/users"}, TO_S), ""),
        (
            http({"method": "GET"}, TO_S),
            "A gateway route's match must have at least one of prefix, path and hostname",
        ),
        (
            http({"prefix": "/aws-appmesh/x"}, TO_S),
            "/aws-appmesh/x is reserved: paths that begin with /aws-appmesh or /aws-app-mesh cannot be used",
        ),
        (
            {"grpcRoute": {"match": {"serviceName": "aws.app-mesh.X"}, "action": TO_S}},
            (
                "serviceName aws.app-mesh.X is reserved: names that begin with aws.appmesh or aws.app-mesh "
                "cannot be used"
            ),
        ),
        (
            http({"path": {"exact": "/a"}}, {**TO_S, "rewrite": {"prefix": {"value": "/b/"}}}),
            "A prefix can be rewritten only when the match has a prefix",
        ),
        (
            http({"prefix": "/a"}, {**TO_S, "rewrite": {"prefix": {"value": "/b"}}}),
            "The prefix rewrite's value '/b' must start and end with /",
        ),
        (
            http({"prefix": "/a"}, {**TO_S, "rewrite": {"prefix": {"value": "/b/", "defaultPrefix": "DISABLED"}}}),
            "A prefix rewrite can have a value or a defaultPrefix, not both",
        ),
        (http({"prefix": "/a"}, {**TO_S, "rewrite": {"path": {"exact": "/b"}}}), ""),
    ],
)
def test_a_gateway_route_is_judged_as_the_service_does(spec: dict[str, Any], words: str) -> None:
    """Matches, reserved names, rewrites; a path rewrite without a path match is taken."""
    assert refused(Kind.GATEWAY_ROUTE, "new", spec, "g") == words


@pytest.mark.parametrize(
    ("kind", "spec", "parent", "words"),
    [
        (
            Kind.ROUTE,
            http({"prefix": "/"}, {"weightedTargets": [{"virtualNode": "b", "weight": 1}]}),
            "r",
            "VirtualNode with name b is missing",
        ),
        (Kind.ROUTE, http({"prefix": "/"}), "q", "VirtualRouter with name q is missing"),
        (
            Kind.VIRTUAL_SERVICE,
            {"provider": {"virtualNode": {"virtualNodeName": "b"}}},
            "",
            "VirtualNode with name b is missing",
        ),
        (
            Kind.GATEWAY_ROUTE,
            http({"prefix": "/"}, {"target": {"virtualService": {"virtualServiceName": "t"}}}),
            "g",
            "VirtualService with name t is missing",
        ),
        (Kind.GATEWAY_ROUTE, http({"prefix": "/"}, TO_S), "h", "VirtualGateway with name h is missing"),
    ],
)
def test_what_an_object_needs_must_exist(kind: Kind, spec: dict[str, Any], parent: str, words: str) -> None:
    """Parents, providers, targets: not found, in the service's own words."""
    graph, key = with_(kind, "new", spec, parent)
    error = constraints.refusal(graph, key)
    assert isinstance(error, NotFoundException)
    assert str(error) == words
    (finding,) = constraints.check(graph)
    assert (finding.severity, finding.summary, finding.subject) == (Severity.ERROR, words, key.path)


def test_nothing_exists_without_its_mesh() -> None:
    """A server knows every mesh there is."""
    lone = one(Kind.VIRTUAL_NODE, "a", {})
    graph = resolve(State([lone]))
    assert str(constraints.refusal(graph, lone.key)) == "Mesh with name m is missing"
    assert [found.rule for found in constraints.check(graph, whole=True)] == ["MW104"]


def test_files_without_the_mesh_are_a_part_of_it() -> None:
    """What is missing may be defined elsewhere: a warning, and silence about the mesh itself."""
    part = State([one(Kind.ROUTE, "new", http({"prefix": "/"}), "r")])
    found = constraints.check(resolve(part))
    assert [(one.rule, one.severity) for one in found] == [("MW101", Severity.WARNING), ("MW104", Severity.WARNING)]
    assert found[1].summary == "VirtualRouter r is not in these files"
    assert {one.severity for one in constraints.check(resolve(part), whole=True)} == {Severity.ERROR}
    assert {one.severity for one in constraints.check(resolve(part.put(MESH[Key.of_mesh("m")])))} == {Severity.ERROR}


def test_a_missing_name_suggests_the_nearest() -> None:
    """A typing error is the usual cause."""
    ingress = one(Kind.VIRTUAL_GATEWAY, "ingress", {"listeners": [listener()]})
    near = one(Kind.GATEWAY_ROUTE, "near", http({"prefix": "/"}, TO_S), "ingres")
    far = one(Kind.GATEWAY_ROUTE, "far", http({"prefix": "/"}, TO_S), "edge")
    details = [found.detail for found in constraints.check(resolve(MESH.put(ingress, near, far)))]
    assert [detail.startswith("Did you mean 'ingress'?") for detail in details] == [False, True]


def test_a_second_listener_needs_routes_that_name_their_port() -> None:
    """From the router's side and from the route's, each in its own words."""
    two = {"listeners": [listener(), listener(81)]}
    graph, router = with_(Kind.VIRTUAL_ROUTER, "r", two)
    error = constraints.refusal(graph, router)
    assert isinstance(error, BadRequestException)
    assert str(error) == (
        "All Routes for this Virtual Router must define a port match before adding multiple listeners to this "
        "Virtual Router. 1 Route(s) are missing port. Listing up to 5 route names: [all]"
    )
    through_gateway, found = constraints.check(graph)
    assert through_gateway.summary == "A target port must be set: virtual router r has multiple listeners"
    assert found.summary == "Route must define a port match criteria if the Virtual Router has multiple listeners"
    assert found.subject == "mesh/m/virtualRouter/r/route/all"
    assert str(constraints.refusal(graph, Key("m", Kind.ROUTE, "all", "r"))) == found.summary


def test_a_port_cannot_be_taken_from_under_a_route() -> None:
    """A route that names the router's port depends on it."""
    state = MESH.put(
        one(Kind.ROUTE, "all", http({"prefix": "/", "port": 80}), "r"),
        one(Kind.VIRTUAL_ROUTER, "r", {"listeners": [listener(81)]}),
    )
    error = constraints.refusal(resolve(state), Key("m", Kind.VIRTUAL_ROUTER, "r"))
    assert str(error) == (
        "VirtualRouter r cannot be changed so while route all of virtual router r depends on it: "
        "Route matches port 80, and virtual router r does not listen on it"
    )


def test_several_listeners_of_a_target_need_a_target_port() -> None:
    """Of a node in a route, of a provider in a gateway route."""
    graph, key = with_(Kind.VIRTUAL_NODE, "a", node(listener(), listener(81)))
    (found,) = constraints.check(graph)
    assert found.summary == "A target port must be set: virtual node a has multiple listeners"
    assert found.path == "spec.httpRoute.action.weightedTargets[0].port"
    assert str(constraints.refusal(graph, key)) == (
        "All Routes for this Virtual Node must define a target port before adding multiple listeners to this Virtual "
        "Node. 1 Route(s) are missing port. Listing up to 5 route names: [all]"
    )
    graph, _ = with_(Kind.VIRTUAL_SERVICE, "s", {"provider": {"virtualNode": {"virtualNodeName": "two"}}})
    graph = resolve(graph.state.put(one(Kind.VIRTUAL_NODE, "two", node(listener(), listener(81)))))
    assert [one.path for one in constraints.check(graph)] == ["spec.httpRoute.action.target.port"]


def test_a_gateway_with_several_listeners_needs_a_match_port() -> None:
    """In the service's own words; from the gateway's side in words like those for a router."""
    graph, key = with_(Kind.VIRTUAL_GATEWAY, "g", {"listeners": [listener(), listener(81)]})
    words = "Gateway route must define a match port if the parent Virtual Gateway has multiple listeners."
    assert [one.summary for one in constraints.check(graph)] == [words]
    assert str(constraints.refusal(graph, key)) == (
        "All Gateway Routes for this Virtual Gateway must define a port match before adding multiple listeners to "
        "this Virtual Gateway. 1 Gateway Route(s) are missing port. Listing up to 5 gateway route names: [in]"
    )
    assert str(constraints.refusal(graph, Key("m", Kind.GATEWAY_ROUTE, "in", "g"))) == words


def test_a_target_port_that_nobody_listens_on_is_found_and_one_call_may_still_set_it() -> None:
    """Ports move step by step through the API; a definition that says so cannot work."""
    action = {"weightedTargets": [{"virtualNode": "a", "weight": 1, "port": 9}]}
    graph, key = with_(Kind.ROUTE, "all", http({"prefix": "/"}, action), "r")
    assert [(one.rule, one.severity) for one in constraints.check(graph)] == [("MW105", Severity.ERROR)]
    assert constraints.refusal(graph, key) is None


@pytest.mark.parametrize("name", ["a/b", "a b", "", "x" * 256, "a\x1b[31m", ".", ".."])
def test_a_name_that_no_arn_can_carry_is_refused(name: str) -> None:
    """Whatever the kind."""
    for kind in (Kind.VIRTUAL_NODE, Kind.VIRTUAL_SERVICE):
        assert "is not a valid name" in refused(kind, name, {})


def test_every_input_that_the_real_service_accepted_is_accepted(corpus: Path) -> None:
    """Each case of the acceptance tests of others, and each update that it makes."""
    cases = json.loads((corpus / "accepted_cases.json").read_text())
    for case in cases:
        state, key = prepared(case)
        for spec in (case["create"], *case["then_update"]):
            state = state.put(Resource(key=key, spec=decode(SPECS[key.kind], spec)))
            graph = resolve(state)
            assert constraints.refusal(graph, key) is None, case["name"]
            assert constraints.check(graph) == (), case["name"]
    assert len(cases) > 20


def prepared(case: dict[str, Any]) -> tuple[State, Key]:
    """The state that a case starts from, and the key of the object that it is about."""
    kind = Kind(case["kind"][0].lower() + case["kind"][1:])
    state = State([one(Kind.MESH, "m", {})])
    parent = ""
    for group, members in case["base"].items():
        for name, spec in members.items():
            state = state.put(one(Kind(group.removesuffix("s")), name, spec))
            parent = name if kind.parent is not None and kind.parent == group.removesuffix("s") else parent
    return state, Key.of_mesh("m") if kind is Kind.MESH else Key("m", kind, "subject", parent)
