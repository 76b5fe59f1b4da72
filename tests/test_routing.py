"""Order, targets, limits, retries and TLS: what a definition means, decided once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright import routing
from meshwright.graph import resolve
from meshwright.model import Key, Kind, State
from meshwright.model.specs import VirtualNodeSpec
from settings import examples
from strategies import MESH, Wire, resource, services, states

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.model import Resource

ROUTER = Key(MESH, Kind.VIRTUAL_ROUTER, "r")
SERVICE = Key(MESH, Kind.VIRTUAL_SERVICE, "s.local")
CLIENT = Key(MESH, Kind.VIRTUAL_NODE, "client")


def node(name: str, *ports: tuple[int, str], tls: Wire | None = None) -> Resource:
    """A node that listens on `ports`."""
    listeners = [
        {"portMapping": {"port": port, "protocol": protocol}, **({"tls": tls} if tls else {})}
        for port, protocol in ports
    ]
    return resource(
        Kind.VIRTUAL_NODE, name, {"listeners": listeners, "serviceDiscovery": {"dns": {"hostname": f"{name}.local"}}}
    )


def mesh(routes: dict[str, Wire], *extra: Resource, ports: tuple[tuple[int, str], ...] = ((80, "http"),)) -> Graph:
    """A router with `routes` behind a service, and a node `n`."""
    listeners = [{"portMapping": {"port": port, "protocol": protocol}} for port, protocol in ports]
    provider = {"provider": {"virtualRouter": {"virtualRouterName": "r"}}}
    return resolve(
        State(
            [
                resource(Kind.VIRTUAL_ROUTER, "r", {"listeners": listeners}),
                resource(Kind.VIRTUAL_SERVICE, "s.local", provider),
                node("n", (8080, "http")),
                *(resource(Kind.ROUTE, name, spec, "r") for name, spec in routes.items()),
                *extra,
            ]
        )
    )


def http(match: Wire, *targets: Wire, priority: int | None = None, **rest: Any) -> Wire:
    """An HTTP route spec; to `n` unless told otherwise."""
    action = {"weightedTargets": list(targets) or [{"virtualNode": "n", "weight": 1}]}
    spec: Wire = {"httpRoute": {"match": match, "action": action, **rest}}
    return spec if priority is None else {**spec, "priority": priority}


def names(found: tuple[Resource, ...]) -> list[str]:
    """The names of routes."""
    return [one.key.name for one in found]


def test_priority_beats_everything_and_comes_in_ascending_order() -> None:
    """0 is first; a route without a priority comes after all that have one."""
    graph = mesh(
        {
            "none": http({"path": {"exact": "/a/b/c"}}),
            "high": http({"prefix": "/"}, priority=0),
            "low": http({"prefix": "/a/b"}, priority=1000),
        }
    )
    assert names(routing.ordered_routes(graph, ROUTER)) == ["high", "low", "none"]


def test_without_priority_the_more_specific_path_is_tried_first() -> None:
    """Exact, then longer prefix, then regular expression; then the one with more conditions; then the name."""
    header = {"headers": [{"name": "x"}]}
    graph = mesh(
        {
            "a-root": http({"prefix": "/"}),
            "b-regex": http({"path": {"regex": "/abc/.*"}}),
            "c-long": http({"prefix": "/abc"}),
            "d-exact": http({"path": {"exact": "/a"}}),
            "e-root-with-header": http({"prefix": "/", **header}),
            "f-root": http({"prefix": "/"}),
        }
    )
    expected = ["d-exact", "c-long", "e-root-with-header", "a-root", "f-root", "b-regex"]
    assert names(routing.ordered_routes(graph, ROUTER)) == expected


def test_only_routes_for_the_port_are_tried() -> None:
    """A route without a port is for all of them."""
    routes = {"one": http({"prefix": "/", "port": 80}), "two": http({"prefix": "/", "port": 81}), "any": http({})}
    graph = mesh(routes, ports=((80, "http"), (81, "http")))
    assert sorted(names(routing.ordered_routes(graph, ROUTER, 81))) == ["any", "two"]
    assert len(routing.ordered_routes(graph, ROUTER)) == 3


def test_gateway_routes_with_a_hostname_come_before_those_without() -> None:
    """Among equals; a longer prefix still comes first."""
    target = {"target": {"virtualService": {"virtualServiceName": "s.local"}}}

    def gateway_route(name: str, match: Wire) -> Resource:
        return resource(Kind.GATEWAY_ROUTE, name, {"httpRoute": {"match": match, "action": target}}, "g")

    gateway = resource(Kind.VIRTUAL_GATEWAY, "g", {"listeners": [{"portMapping": {"port": 80, "protocol": "http"}}]})
    graph = mesh(
        {},
        gateway,
        gateway_route("any", {"prefix": "/"}),
        gateway_route("hosted", {"prefix": "/", "hostname": {"exact": "a"}}),
        gateway_route("long", {"prefix": "/long"}),
    )
    assert names(routing.ordered_gateway_routes(graph, gateway.key, 80)) == ["long", "hosted", "any"]


def rule(graph: Graph) -> routing.Rule:
    """The only rule of the service."""
    (port,) = routing.service_ports(graph, SERVICE)
    (found,) = routing.rules(graph, port)
    return found


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (None, routing.Timeouts(15_000, 300_000)),
        ({"perRequest": {"value": 0, "unit": "s"}}, routing.Timeouts(0, 300_000)),
        ({"perRequest": {"value": 2, "unit": "s"}, "idle": {"value": 5, "unit": "ms"}}, routing.Timeouts(2_000, 5)),
        ({"perRequest": {"unit": "s"}}, routing.Timeouts(15_000, 300_000)),
    ],
)
def test_absent_limits_are_app_meshs_and_zero_is_none(timeout: Wire | None, expected: routing.Timeouts) -> None:
    """15 s for a request and 300 s without traffic, on a route and on a node's listener alike."""
    rest: dict[str, Any] = {"timeout": timeout} if timeout else {}
    graph = mesh({"t": http({"prefix": "/"}, **rest)})
    assert rule(graph).timeouts == expected
    listener: Wire = {"portMapping": {"port": 8080, "protocol": "http"}}
    if timeout:
        listener["timeout"] = {"http": timeout}
    spec = {"listeners": [listener], "serviceDiscovery": {"dns": {"hostname": "n"}}}
    parsed = resource(Kind.VIRTUAL_NODE, "n", spec).spec
    assert isinstance(parsed, VirtualNodeSpec)
    assert parsed.listeners
    assert routing.listener_timeouts(parsed.listeners[0]) == expected


def test_events_become_envoys_conditions() -> None:
    """Each event by its conditions and status codes; the default policy where a route has none."""
    policy = {
        "maxRetries": 0,
        "perRetryTimeout": {"value": 250_000, "unit": "ms"},
        "httpRetryEvents": ["gateway-error", "client-error", "stream-error"],
        "tcpRetryEvents": ["connection-error"],
    }
    assert rule(mesh({"t": http({"prefix": "/"}, retryPolicy=policy)})).retry == routing.Retry(
        most=0,
        per_try=250_000,
        on=("reset", "connect-failure", "refused-stream", "retriable-status-codes"),
        statuses=(409, 502, 503, 504),
    )
    assert rule(mesh({"t": http({"prefix": "/"})})).retry == routing.DEFAULT_RETRY
    silent = {"maxRetries": 3, "perRetryTimeout": {"value": 1, "unit": "s"}}
    assert rule(mesh({"t": http({"prefix": "/"}, retryPolicy=silent)})).retry is None


def test_grpc_events_keep_their_names() -> None:
    """Beside the HTTP ones."""
    policy = {
        "maxRetries": 1,
        "perRetryTimeout": {"value": 1, "unit": "s"},
        "grpcRetryEvents": ["unavailable", "cancelled"],
    }
    action = {"weightedTargets": [{"virtualNode": "g", "weight": 1}]}
    spec = {"grpcRoute": {"match": {}, "action": action, "retryPolicy": policy}}
    found = rule(mesh({"t": spec}, node("g", (9000, "grpc")), ports=((80, "grpc"),))).retry
    assert found is not None
    assert found.on == ("cancelled", "unavailable")
    assert found.statuses == ()


def test_a_target_is_reached_on_its_own_port() -> None:
    """The named port, the only one, or the one that was called; what leads nowhere is lost with a reason."""
    graph = mesh(
        {
            "t": http(
                {"prefix": "/"},
                {"virtualNode": "n", "weight": 1},
                {"virtualNode": "two", "weight": 2, "port": 9001},
                {"virtualNode": "same", "weight": 3},
                {"virtualNode": "missing", "weight": 4},
                {"virtualNode": "two", "weight": 5, "port": 1},
                {"virtualNode": "deaf", "weight": 6},
            )
        },
        node("two", (9000, "http"), (9001, "http")),
        node("same", (81, "http"), (80, "http")),
        node("deaf"),
    )
    found = rule(graph)
    assert [(one.node.name, one.port, one.weight) for one in found.targets] == [
        ("n", 8080, 1),
        ("two", 9001, 2),
        ("same", 80, 3),
    ]
    assert [one.path.rpartition(".")[2] for one in found.lost] == [f"weightedTargets[{index}]" for index in (3, 4, 5)]
    reasons = " ".join(one.reason for one in found.lost)
    assert "'missing' does not exist" in reasons
    assert "does not listen on port 1; it listens on 9000, 9001" in reasons
    assert "'deaf' has no listener" in reasons


def test_a_node_that_provides_a_service_answers_everything_by_default() -> None:
    """One rule, one target, default limits and retries."""
    provider = {"provider": {"virtualNode": {"virtualNodeName": "n"}}}
    graph = resolve(State([node("n", (8080, "http")), resource(Kind.VIRTUAL_SERVICE, "s.local", provider)]))
    found = rule(graph)
    assert found.match is None
    assert found.origin == Key(MESH, Kind.VIRTUAL_NODE, "n")
    assert found.timeouts == routing.Timeouts(routing.DEFAULT_REQUEST, routing.DEFAULT_IDLE)
    assert found.retry == routing.DEFAULT_RETRY


def test_a_route_of_another_family_than_its_listener_never_matches() -> None:
    """TCP on an HTTP listener, for one."""
    graph = mesh({"t": {"tcpRoute": {"action": {"weightedTargets": [{"virtualNode": "n", "weight": 1}]}}}})
    (port,) = routing.service_ports(graph, SERVICE)
    assert routing.rules(graph, port) == ()


FILE = {"file": {"certificateChain": "/c", "privateKey": "/k"}}
ACM = {"acm": {"certificateArn": "arn:x"}}
CA = {"validation": {"trust": {"file": {"certificateChain": "/ca"}}}}
PRIVATE_CA = {"validation": {"trust": {"acm": {"certificateAuthorityArns": ["arn:x"]}}}}
NOT_VALIDATED = routing.ClientTls()


@pytest.mark.parametrize(
    ("policy", "server", "expected"),
    [
        (None, None, "plain"),
        (None, {"mode": "DISABLED", "certificate": FILE}, "plain"),
        (None, {"mode": "STRICT", "certificate": FILE}, "encrypted"),
        (None, {"mode": "PERMISSIVE", "certificate": FILE}, "encrypted"),
        (None, {"mode": "STRICT", "certificate": ACM}, "refused"),
        (CA, None, "validated"),
        ({**CA, "ports": [8080]}, None, "validated"),
        ({**CA, "ports": [1]}, None, "plain"),
        ({**CA, "ports": [1]}, {"mode": "STRICT", "certificate": FILE}, "encrypted"),
        ({**CA, "enforce": False}, None, "plain"),
        ({**CA, "enforce": False}, {"mode": "STRICT", "certificate": FILE}, "validated"),
        (PRIVATE_CA, None, "refused"),
        ({**PRIVATE_CA, "enforce": False}, None, "plain"),
        ({**PRIVATE_CA, "enforce": False}, {"mode": "STRICT", "certificate": FILE}, "encrypted"),
    ],
)
def test_the_policy_decides_and_else_the_server(policy: Wire | None, server: Wire | None, expected: str) -> None:
    """Never plaintext where an enforced policy or a strict server calls for TLS."""
    backend: Wire = {"virtualServiceName": "s.local"}
    if policy:
        backend["clientPolicy"] = {"tls": policy}
    client = resource(Kind.VIRTUAL_NODE, "client", {"backends": [{"virtualService": backend}]})
    target = node("n", (8080, "http"), tls=server)
    graph = resolve(State([client, target]))
    assert isinstance(target.spec, VirtualNodeSpec)
    assert target.spec.listeners
    found = routing.client_tls(graph, CLIENT, SERVICE, target.key, target.spec.listeners[0])
    assert kind_of(found) == expected
    if found and found.trust:
        assert found.names == ("n.local",)


def kind_of(found: routing.ClientTls | None) -> str:
    """A decision in a word."""
    if found is None:
        return "plain"
    if found.refused:
        return "refused"
    return "validated" if found.trust else "encrypted"


def test_a_backends_policy_replaces_the_default_one() -> None:
    """Whole, not member by member."""
    default = {"clientPolicy": {"tls": PRIVATE_CA}}
    backend = {"virtualServiceName": "s.local", "clientPolicy": {"tls": CA}}
    client = resource(
        Kind.VIRTUAL_NODE, "client", {"backendDefaults": default, "backends": [{"virtualService": backend}]}
    )
    target = node("n", (8080, "http"))
    graph = resolve(State([client, target]))
    assert isinstance(target.spec, VirtualNodeSpec)
    assert target.spec.listeners
    other = Key(MESH, Kind.VIRTUAL_SERVICE, "other.local")
    listener = target.spec.listeners[0]
    assert kind_of(routing.client_tls(graph, CLIENT, SERVICE, target.key, listener)) == "validated"
    assert kind_of(routing.client_tls(graph, CLIENT, other, target.key, listener)) == "refused"


limits = st.lists(st.integers(0, 1000), max_size=5)


@given(limits)
def test_zero_is_the_longest_limit_and_never_the_shortest(given_limits: list[int]) -> None:
    """0 means no limit."""
    real = [one for one in given_limits if one]
    assert routing.shortest(given_limits) == (min(real) if real else 0)
    assert routing.longest(given_limits) == (max(real) if real and len(real) == len(given_limits) else 0)


@settings(max_examples=examples(40))
@given(states())
def test_every_rule_of_a_legal_mesh_reaches_all_of_its_targets(state: State) -> None:
    """App Mesh's own checks leave nothing to lose; and the order does not depend on how the state was made."""
    graph, again = resolve(state), resolve(State(reversed(list(state))))
    for service in services(state):
        for port in routing.service_ports(graph, service):
            found = routing.rules(graph, port)
            assert all(one.targets and not one.lost for one in found)
            assert found == routing.rules(again, port)
