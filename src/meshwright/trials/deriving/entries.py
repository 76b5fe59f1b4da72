"""Where calls can enter a mesh, and what is told of those that were found for its routes.

The one rule: what is said here of a mesh is how it is written; where a call goes is said elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import route_action
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec
from meshwright.routing import (
    ServicePort,
    discovery_name,
    route_match,
    rules,
    service_ports,
)
from meshwright.simulate import Call, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.graph import Graph
    from meshwright.model.listeners import Listener, VirtualGatewayListener
    from meshwright.routing import Rule
    from meshwright.trials.deriving.parts import Matched


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A call that follows a route, and where it goes."""

    caller: Key
    call: Call
    verdict: Verdict


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Something of a route for which no call was found."""

    route: Key
    path: str
    """The field that is to blame; "" for the whole route."""
    reason: str
    whole: bool = False
    """Whether no call follows the route at all, whatever field is to blame."""


class Entrance(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway route at one of the gateway's listeners."""

    key: Key
    spec: GatewayRouteSpec
    found: Arrival | Gap
    """A call from outside that follows it, or why there is none."""
    unsent: str = ""
    """Why none was found that the service behind it takes, although others may know one; "" otherwise."""


def callers(graph: Graph, service: Key) -> tuple[Key, ...]:
    """The virtual nodes, then the gateways, that may call a service."""
    kinds = (Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY)
    return tuple(
        one.key for kind in kinds for one in graph.state.of(kind) if service in graph.entry_services(one.key)
    )


def bare_call(port: ServicePort) -> Call:
    """A call of a service on one of its ports, as an application makes it."""
    path = "/lab.Workload/Who" if port.protocol == "grpc" else "/"
    return Call(protocol=port.protocol, host=port.service.name, port=port.port, path=path)


def from_outside(gateway: Key, listener: VirtualGatewayListener) -> Call:
    """A call to a gateway's listener."""
    mapping = listener.port_mapping
    encrypted = listener.tls is not None and listener.tls.mode == "STRICT"
    path = "/lab.Workload/Who" if mapping.protocol == "grpc" else "/"
    return Call(
        protocol=mapping.protocol,
        host=f"{gateway.name}.test",
        port=mapping.port,
        path=path,
        scheme="https" if encrypted else "http",
    )


def straight(graph: Graph, node: Key, listener: Listener) -> Call:
    """A call in plaintext to a node's listener, past any proxy, by the name that its certificate carries."""
    mapping = listener.port_mapping
    path = "/lab.Workload/Who" if mapping.protocol == "grpc" else "/"
    spec = graph.state[node].spec
    found = discovery_name(spec.service_discovery) if isinstance(spec, VirtualNodeSpec) else ""
    host = found or node.name
    return Call(protocol=mapping.protocol, host=host, port=mapping.port, path=path, straight=True)


def service_rules(graph: Graph) -> Iterator[tuple[ServicePort, Rule]]:
    """Every rule of every service that has one, on every port of it."""
    for service in graph.state.of(Kind.VIRTUAL_SERVICE):
        for port in service_ports(graph, service.key):
            for rule in rules(graph, port):
                yield port, rule


def listeners(graph: Graph) -> Iterator[tuple[Key, VirtualGatewayListener]]:
    """Every listener of every gateway."""
    for one in graph.state.of(Kind.VIRTUAL_GATEWAY):
        if isinstance(one.spec, VirtualGatewaySpec):
            for listener in one.spec.listeners:
                yield one.key, listener


def node_listeners(graph: Graph) -> Iterator[tuple[Key, Listener]]:
    """Every listener of every node."""
    for one in graph.state.of(Kind.VIRTUAL_NODE):
        if isinstance(one.spec, VirtualNodeSpec):
            for listener in one.spec.listeners or ():
                yield one.key, listener


def match_of(graph: Graph, rule: Rule) -> tuple[Matched, str]:
    """What a rule matches on, and in which field that stands."""
    spec = graph.state[rule.origin].spec
    if not isinstance(spec, RouteSpec):
        return None, ""
    return route_match(spec), f"spec.{route_action(spec)[0]}.match"
