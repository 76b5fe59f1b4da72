"""What depends on a listener: the routes and gateway routes that a change of listeners would leave without a port.

The one rule: an object is not changed so that another one, which was accepted, could no longer be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.constraints.references import agreement_faults, match_port, ports
from meshwright.graph import Relation, gateway_route_target, route_action
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import RouteSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.graph import Graph
    from meshwright.model.state import Resource

_TITLES = {
    Kind.VIRTUAL_NODE: "Virtual Node",
    Kind.VIRTUAL_ROUTER: "Virtual Router",
    Kind.VIRTUAL_GATEWAY: "Virtual Gateway",
    Kind.VIRTUAL_SERVICE: "Virtual Service",
}


class _Bound(msgspec.Struct, frozen=True):
    """Routes that need a port as soon as there is a choice."""

    what: str
    """`Route` or `Gateway Route`."""
    port: str
    """Which port they need."""
    names: tuple[str, ...]
    """Of those that have none."""


def unfit_dependent(graph: Graph, key: Key) -> str:
    """Why `key` cannot be as it stands in `graph` while others depend on it, "" when it can.

    The words for a virtual router's routes are the service's own (facts §1.3); the rest is in its voice.
    """
    place = graph.provider(key) if key.kind is Kind.VIRTUAL_SERVICE else key
    if len(ports(graph, place)) > 1:
        for bound in _bound(graph, key):
            if bound.names:
                return _portless(key, bound)
    if key.kind is Kind.VIRTUAL_ROUTER:
        for route in graph.children(key):
            for fault in agreement_faults(graph, route):
                if fault.refused:
                    return (
                        f"VirtualRouter {key.name} cannot be changed so while route {route.key.name} of virtual "
                        f"router {route.key.parent} depends on it: {fault.text}"
                    )
    return ""


def _portless(key: Key, bound: _Bound) -> str:
    title, few = _TITLES[key.kind], ", ".join(bound.names[:5])
    before = f"before adding multiple listeners to this {title}"
    if key.kind is Kind.VIRTUAL_SERVICE:
        before = "before its provider can have multiple listeners"
    return (
        f"All {bound.what}s for this {title} must define a {bound.port} {before}. "
        f"{len(bound.names)} {bound.what}(s) are missing port. "
        f"Listing up to 5 {bound.what.lower()} names: [{few}]"
    )


def _bound(graph: Graph, key: Key) -> Iterator[_Bound]:
    """The routes that `key`'s listeners concern, and those of them without a port."""
    match key.kind:
        case Kind.VIRTUAL_ROUTER:
            names = (one.key.name for one in graph.children(key) if match_port(one) is None)
            yield _Bound("Route", "port match", tuple(names))
        case Kind.VIRTUAL_NODE:
            names = (one.key.name for one in _sources(graph, key) if _targets_without_port(one, key))
            yield _Bound("Route", "target port", tuple(names))
        case Kind.VIRTUAL_GATEWAY:
            names = (one.key.name for one in graph.children(key) if _gateway_match_port(one) is None)
            yield _Bound("Gateway Route", "port match", tuple(names))
            return
        case Kind.VIRTUAL_SERVICE:
            yield _Bound("Gateway Route", "target port", _portless_entries(graph, key))
            return
    services = (edge.source for edge in graph.incoming(key, Relation.PROVIDER))
    names = (name for service in services for name in _portless_entries(graph, service))
    yield _Bound("Gateway Route", "target port", tuple(names))


def _sources(graph: Graph, key: Key) -> Iterator[Resource]:
    """The routes that lead to `key`, each once."""
    for source in dict.fromkeys(edge.source for edge in graph.incoming(key, Relation.TARGET)):
        yield graph.state[source]


def _targets_without_port(route: Resource, node: Key) -> bool:
    if not isinstance(route.spec, RouteSpec):
        return False
    _, action = route_action(route.spec)
    return any(one.port is None and one.virtual_node == node.name for one in action.weighted_targets)


def _portless_entries(graph: Graph, service: Key) -> tuple[str, ...]:
    """The gateway routes to `service` that name no port of it."""
    found = (one for one in _sources(graph, service) if isinstance(one.spec, GatewayRouteSpec))
    return tuple(one.key.name for one in found if _target_port(one.spec) is None)


def _target_port(spec: object) -> int | None:
    return gateway_route_target(spec)[1].port if isinstance(spec, GatewayRouteSpec) else None


def _gateway_match_port(route: Resource) -> int | None:
    spec = route.spec
    if not isinstance(spec, GatewayRouteSpec):
        return None
    member = spec.http_route or spec.http2_route or spec.grpc_route
    return member.match.port if member is not None else None
