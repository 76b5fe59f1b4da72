"""Names become edges, whether or not they lead anywhere."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.graph import Relation, resolve
from meshwright.model import SPECS, Key, Kind, Resource, State, decode
from settings import examples
from strategies import MESH as DRAWN
from strategies import states


def resource(kind: Kind, name: str, spec: dict[str, Any], parent: str = "") -> Resource:
    """An object of mesh `m`."""
    return Resource(key=Key("m", kind, name, parent), spec=decode(SPECS[kind], spec))


def node(name: str, *backends: str) -> Resource:
    """A node with a listener and backends."""
    spec = {
        "listeners": [{"portMapping": {"port": 80, "protocol": "http"}}],
        "backends": [{"virtualService": {"virtualServiceName": one}} for one in backends],
    }
    return resource(Kind.VIRTUAL_NODE, name, spec)


def route(name: str, router: str, *targets: str) -> Resource:
    """A catch-all HTTP route."""
    action = {"weightedTargets": [{"virtualNode": one, "weight": 1} for one in targets]}
    return resource(Kind.ROUTE, name, {"httpRoute": {"match": {"prefix": "/"}, "action": action}}, router)


MESH = State(
    [
        Resource(key=Key.of_mesh("m"), spec=decode(SPECS[Kind.MESH], {})),
        node(
            "web", "cart", "arn:aws:appmesh:eu-west-1:123456789012:mesh/m@210987654321/virtualService/pay", "nowhere"
        ),
        node("cart-1"),
        node("cart-2"),
        node("pay"),
        resource(Kind.VIRTUAL_ROUTER, "cart", {"listeners": [{"portMapping": {"port": 80, "protocol": "http"}}]}),
        route("all", "cart", "cart-1", "cart-2"),
        route("lost", "cart", "cart-3"),
        resource(Kind.VIRTUAL_SERVICE, "cart", {"provider": {"virtualRouter": {"virtualRouterName": "cart"}}}),
        resource(Kind.VIRTUAL_SERVICE, "pay", {"provider": {"virtualNode": {"virtualNodeName": "pay"}}}),
        resource(Kind.VIRTUAL_SERVICE, "empty", {}),
    ]
)
GRAPH = resolve(MESH)
WEB = Key("m", Kind.VIRTUAL_NODE, "web")


def test_a_name_that_leads_nowhere_is_an_edge_that_was_not_found() -> None:
    """Missing services and nodes stay in the graph, with the field that names them."""
    missing = {(edge.target.name, edge.path) for edge in GRAPH.edges if not edge.found}
    assert missing == {
        ("nowhere", "spec.backends[2].virtualService.virtualServiceName"),
        ("cart-3", "spec.httpRoute.action.weightedTargets[0].virtualNode"),
    }


def test_a_node_calls_the_nodes_behind_its_backends() -> None:
    """Through a router to every target, through a node provider, and not where nothing is."""
    assert [key.name for key in GRAPH.called_nodes(WEB)] == ["cart-1", "cart-2", "pay"]
    assert [key.name for key in GRAPH.entry_services(WEB)] == ["cart", "pay", "nowhere"]


def test_a_backend_named_by_its_arn_is_the_service_it_names() -> None:
    """A shared mesh's owner suffix does not make it another mesh."""
    assert Key("m", Kind.VIRTUAL_SERVICE, "pay") in GRAPH.entry_services(WEB)


def test_a_service_without_provider_leads_to_no_node() -> None:
    """That is legal, and nothing fails."""
    empty = Key("m", Kind.VIRTUAL_SERVICE, "empty")
    assert GRAPH.provider(empty) is None
    assert GRAPH.service_nodes(empty) == ()


def test_routes_are_found_through_their_router_and_users_through_their_target() -> None:
    """Edges are indexed both ways."""
    router = Key("m", Kind.VIRTUAL_ROUTER, "cart")
    assert [one.key.name for one in GRAPH.children(router)] == ["all", "lost"]
    users = GRAPH.incoming(Key("m", Kind.VIRTUAL_NODE, "cart-1"), Relation.TARGET)
    assert [edge.source.name for edge in users] == ["all"]


def fault(name: str, target: str, *callers: str) -> Resource:
    """A fault of one service, for the requests of some nodes and gateways."""
    spec = {
        "target": {"virtualServiceName": target},
        "from": list(callers),
        "delay": {"duration": {"value": 1, "unit": "s"}, "percentage": 10},
        "expiresAt": "2026-12-01T08:30:00Z",
    }
    return Resource(key=Key(DRAWN, Kind.FAULT, name), spec=decode(SPECS[Kind.FAULT], spec))


@settings(max_examples=examples(30))
@given(st.lists(states(), min_size=2, max_size=4), st.data())
def test_a_graph_that_is_renewed_is_the_one_that_would_be_resolved(steps: list[State], data: st.DataObject) -> None:
    """After any changes: objects that come, go and are named before they are there, extensions included."""
    faults = [fault("a", "s0.local", "n0", "g0"), fault("b", "s1.local", "n1")]
    graph = resolve(State())
    for step in steps:
        state = step.put(*data.draw(st.lists(st.sampled_from(faults), unique=True)))
        graph = graph.renewed(state, state.differing(graph.state))
        whole = resolve(state)
        assert graph.edges == whole.edges
        for key in {edge.target for edge in whole.edges} | {one.key for one in state}:
            assert graph.incoming(key) == whole.incoming(key)
            assert graph.children(key) == whole.children(key)
