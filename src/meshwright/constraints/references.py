"""References and what they must agree with: parents, providers, targets, ports.

A backend may name a virtual service that does not exist: App Mesh takes it, and so does this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from meshwright.constraints.faults import Fault, absent
from meshwright.graph import Graph, Relation, gateway_route_target, route_action
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec, VirtualRouterSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.model.state import Resource


def reference_faults(graph: Graph, key: Key) -> Iterator[Fault]:
    """Objects that `key` needs and that are not there: parent, provider, target."""
    for edge in graph.outgoing(key, Relation.OWNER, Relation.PROVIDER, Relation.TARGET):
        if not edge.found:
            rule, why = _explained(edge.relation, edge.target)
            yield absent(rule, edge.path or _owner_field(edge.target), edge.target, why)


def agreement_faults(graph: Graph, resource: Resource) -> Iterator[Fault]:
    """Ports that a route or gateway route must name, given the listeners of what it belongs to and leads to."""
    match resource.spec:
        case RouteSpec():
            yield from _route_match_port(graph, resource)
            yield from _weighted_target_ports(graph, resource.key, resource.spec)
        case GatewayRouteSpec():
            yield from _gateway_match_port(graph, resource.key, resource.spec)
            yield from _gateway_target_port(graph, resource.key, resource.spec)
        case _:
            return


def match_port(route: Resource) -> int | None:
    """The router's listener port that a route is for, when it says so."""
    spec = route.spec
    if not isinstance(spec, RouteSpec):
        return None
    member = spec.http_route or spec.http2_route or spec.grpc_route or spec.tcp_route
    return member.match.port if member is not None and member.match is not None else None


def ports(graph: Graph, key: Key | None) -> tuple[int, ...]:
    """The listener ports of a node, router or gateway; none where it does not exist."""
    resource = graph.state.get(key) if key is not None else None
    spec = resource.spec if resource is not None else None
    if isinstance(spec, VirtualNodeSpec | VirtualRouterSpec | VirtualGatewaySpec):
        return tuple(listener.port_mapping.port for listener in spec.listeners or ())
    return ()


def _route_match_port(graph: Graph, route: Resource) -> Iterator[Fault]:
    member, _ = route_action(cast("RouteSpec", route.spec))
    missing = "Route must define a port match criteria if the Virtual Router has multiple listeners"
    yield from _match_port(graph, route.key, member, match_port(route), missing=missing, refused=True)


def _gateway_match_port(graph: Graph, key: Key, spec: GatewayRouteSpec) -> Iterator[Fault]:
    member, _ = gateway_route_target(spec)
    route = spec.http_route or spec.http2_route or spec.grpc_route
    port = route.match.port if route is not None else None
    missing = "Gateway route must define a match port if the parent Virtual Gateway has multiple listeners."
    yield from _match_port(graph, key, member, port, missing=missing, refused=False)


def _match_port(
    graph: Graph, key: Key, member: str, port: int | None, *, missing: str, refused: bool
) -> Iterator[Fault]:
    """The port that a route or gateway route matches, against the listeners of what it lies in.

    `missing` is the service's own text; `refused` says whether the service refuses a port that nobody listens on.
    """
    kind, place = (
        ("Gateway route", "virtual gateway") if key.kind is Kind.GATEWAY_ROUTE else ("Route", "virtual router")
    )
    open_ports = ports(graph, key.owner)
    path = f"spec.{member}.match.port"
    if port is None and len(open_ports) > 1:
        yield Fault(
            rule="MW105",
            path=path,
            text=missing,
            detail=f"{place.capitalize()} {key.parent} listens on {_listed(open_ports)}; name one of them.",
        )
    if port is not None and open_ports and port not in open_ports:
        yield Fault(
            rule="MW105",
            path=path,
            text=f"{kind} matches port {port}, and {place} {key.parent} does not listen on it",
            detail=f"It listens on {_listed(open_ports)}; no request could ever match.",
            refused=refused,
        )


def _weighted_target_ports(graph: Graph, key: Key, spec: RouteSpec) -> Iterator[Fault]:
    member, action = route_action(spec)
    for index, weighted in enumerate(action.weighted_targets):
        node = Key(key.mesh, Kind.VIRTUAL_NODE, weighted.virtual_node)
        path = f"spec.{member}.action.weightedTargets[{index}].port"
        yield from _target_port(ports(graph, node), node, weighted.port, path)


def _gateway_target_port(graph: Graph, key: Key, spec: GatewayRouteSpec) -> Iterator[Fault]:
    member, target = gateway_route_target(spec)
    path = f"spec.{member}.action.target.port"
    for edge in graph.outgoing(key, Relation.TARGET):
        provider = graph.provider(edge.target)
        if provider is not None:
            yield from _target_port(ports(graph, provider), provider, target.port, path)


def _target_port(open_ports: tuple[int, ...], place: Key, port: int | None, path: str) -> Iterator[Fault]:
    words = {Kind.VIRTUAL_NODE: "virtual node", Kind.VIRTUAL_ROUTER: "virtual router"}
    name = f"{words.get(place.kind, place.kind)} {place.name}"
    if port is None and len(open_ports) > 1:
        yield Fault(
            rule="MW105",
            path=path,
            text=f"A target port must be set: {name} has multiple listeners",
            detail=f"It listens on {_listed(open_ports)}; name one of them.",
        )
    if port is not None and open_ports and port not in open_ports:
        yield Fault(
            rule="MW105",
            path=path,
            text=f"The target port {port} is not a listener's port of {name}",
            detail=f"It listens on {_listed(open_ports)}; requests would reach nobody.",
            refused=False,
        )


def _explained(relation: Relation, target: Key) -> tuple[str, str]:
    if relation is Relation.PROVIDER:
        return "MW102", "A virtual service's provider must exist before the virtual service does."
    if relation is Relation.TARGET:
        return (
            "MW101",
            f"A route's target must exist before the route does: define {target.path}, or correct the name.",
        )
    return "MW104", f"The object lies in it: define {target.path}, or correct the name."


def _owner_field(owner: Key) -> str:
    return owner.kind.name_field


def _listed(open_ports: tuple[int, ...]) -> str:
    return ", ".join(map(str, open_ports))
