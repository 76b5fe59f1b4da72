"""Where requests to a virtual service go: its ports, its rules in match order, their targets.

The one rule: clients call the port of the provider's listener, and the request arrives at the port of the target
node's listener; the two need not be the same.
Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/virtual_services.html
"""

from __future__ import annotations

from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import route_action
from meshwright.model.extensions import RetryPolicySpec
from meshwright.model.identity import Key, Kind
from meshwright.model.listeners import Listener
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch, RouteSpec, TcpRouteMatch
from meshwright.model.scalars import PortProtocol
from meshwright.model.specs import VirtualNodeSpec
from meshwright.model.state import Resource
from meshwright.routing.extending import at_rule, holding
from meshwright.routing.ordering import ordered_routes, route_match
from meshwright.routing.policies import found_by_dns, zones
from meshwright.routing.ports import ServicePort, service_ports
from meshwright.routing.timing import (
    DEFAULT_IDLE,
    DEFAULT_REQUEST,
    Retry,
    Timeouts,
    default_retry,
    extended_retry,
    retry,
    route_timeouts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.graph import Graph
    from meshwright.model.extensions.traffic import MirrorDestination


_PROTOCOLS: Mapping[str, PortProtocol] = MappingProxyType(
    {"httpRoute": "http", "http2Route": "http2", "grpcRoute": "grpc", "tcpRoute": "tcp"}
)


class Target(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """One of the places where a rule sends traffic: a listener of a virtual node."""

    node: Key
    listener: Listener
    weight: int
    """Its share, relative to the sum of the rule's weights."""

    @property
    def port(self) -> int:
        """The port that the node listens on."""
        return self.listener.port_mapping.port

    @property
    def protocol(self) -> PortProtocol:
        """What the node speaks there."""
        return self.listener.port_mapping.protocol


class LostTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A weighted target that leads nowhere, and why."""

    path: str
    """The field in the route: `spec.httpRoute.action.weightedTargets[0]`."""
    reason: str


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a virtual service's decision: what matches, and what then happens."""

    origin: Key
    """The route; or the virtual node that provides the service itself."""
    protocol: PortProtocol
    match: HttpRouteMatch | GrpcRouteMatch | TcpRouteMatch | None
    """None matches everything."""
    targets: tuple[Target, ...]
    timeouts: Timeouts
    retry: Retry | None
    zoned: bool = False
    """Whether instances in the caller's zone are preferred; then a retry looks in another zone."""
    retried_by: Resource | None = None
    """The extension that `retry` was decided by."""
    lost: tuple[LostTarget, ...] = ()


def rules(graph: Graph, port: ServicePort) -> tuple[Rule, ...]:
    """What happens to a request to `port`, in match order; nothing matches when a router has no routes.

    A route of another family than its listener (TCP on HTTP, or the reverse) cannot match and is left out.
    """
    if port.provider.kind is Kind.VIRTUAL_NODE:
        return tuple(_retried(graph, rule, port) for rule in _node_rules(graph, port))
    found = []
    for route in ordered_routes(graph, port.provider, port.port):
        spec = route.spec
        if isinstance(spec, RouteSpec) and (spec.tcp_route is not None) == (port.protocol == "tcp"):
            found.append(_retried(graph, _rule(graph, route.key, spec, port), port))
    return tuple(found)


def _retried(graph: Graph, rule: Rule, port: ServicePort) -> Rule:
    """`rule`, with the retries of the extension that holds there."""
    if not graph.has_extensions:
        return rule  # as in most meshes
    extension = holding(graph, Kind.RETRY_POLICY, at_rule(port, rule.origin, rule.protocol), 0)
    if extension is None or not isinstance(extension.spec, RetryPolicySpec):
        return rule
    own = None if rule.protocol == "tcp" else extended_retry(rule.retry, extension.spec, rule.protocol)
    return msgspec.structs.replace(rule, retry=own, retried_by=extension)


def copied(graph: Graph, to: MirrorDestination, called: ServicePort) -> Target | LostTarget:
    """The listener that copies of requests to `called` go to, found as a route finds its targets."""
    node = Key(called.service.mesh, Kind.VIRTUAL_NODE, to.virtual_node_name)
    listener = _listener(graph, node, to.port, called)
    if listener is None:
        return LostTarget(path="spec.to", reason=_why_lost(graph, node, to.port))
    if listener.port_mapping.protocol == "tcp":
        reason = f"virtual node {node.name!r} speaks TCP on port {listener.port_mapping.port}: it takes no HTTP"
        return LostTarget(path="spec.to", reason=reason)
    return Target(node=node, listener=listener, weight=0)


def _node_rules(graph: Graph, port: ServicePort) -> tuple[Rule, ...]:
    listener = _listener(graph, port.provider, port.port, port)
    if listener is None:
        return ()
    request = 0 if port.protocol == "tcp" else DEFAULT_REQUEST
    rule = Rule(
        origin=port.provider,
        protocol=port.protocol,
        match=None,
        targets=(Target(node=port.provider, listener=listener, weight=1),),
        timeouts=Timeouts(request, DEFAULT_IDLE),
        retry=default_retry(port.protocol),
        zoned=_zoned(graph, port.provider, port.service),
    )
    return (rule,)


def _rule(graph: Graph, key: Key, spec: RouteSpec, port: ServicePort) -> Rule:
    member, action = route_action(spec)
    targets: list[Target] = []
    lost: list[LostTarget] = []
    for index, weighted in enumerate(action.weighted_targets):
        node = Key(key.mesh, Kind.VIRTUAL_NODE, weighted.virtual_node)
        listener = _listener(graph, node, weighted.port, port)
        if listener is not None:
            targets.append(Target(node=node, listener=listener, weight=weighted.weight))
        else:
            path = f"spec.{member}.action.weightedTargets[{index}]"
            lost.append(LostTarget(path=path, reason=_why_lost(graph, node, weighted.port)))
    return Rule(
        origin=key,
        protocol=spoken(spec),
        match=route_match(spec),
        targets=tuple(targets),
        timeouts=route_timeouts(spec),
        retry=retry(spec),
        zoned=any(_zoned(graph, one.node, port.service) for one in targets),
        lost=tuple(lost),
    )


def _zoned(graph: Graph, node: Key, service: Key) -> bool:
    """Whether callers of `service` prefer the instances of `node` in their own zone, and may know which these are."""
    return zones(graph, node, [service]) is not None and not found_by_dns(graph, node)


def spoken(spec: RouteSpec) -> PortProtocol:
    """The protocol of a route."""
    return _PROTOCOLS[route_action(spec)[0]]


def _listener(graph: Graph, node: Key, wanted: int | None, port: ServicePort) -> Listener | None:
    """The listener of `node` that is meant.

    The one that is named; else the only one; else the one on the port that was called; else the first that speaks
    the protocol. App Mesh asks for a name where there are several.
    """
    listeners = _listeners(graph, node)
    if wanted is not None:
        return next((one for one in listeners if one.port_mapping.port == wanted), None)
    if len(listeners) == 1:
        return listeners[0]
    speaking = [one for one in listeners if one.port_mapping.protocol == port.protocol]
    same = [one for one in speaking if one.port_mapping.port == port.port]
    return next(iter(same or speaking), None)


def _listeners(graph: Graph, node: Key) -> tuple[Listener, ...]:
    resource = graph.state.get(node)
    spec = resource.spec if resource else None
    return (spec.listeners or ()) if isinstance(spec, VirtualNodeSpec) else ()


def _why_lost(graph: Graph, node: Key, wanted: int | None) -> str:
    if node not in graph.state:
        return f"virtual node {node.name!r} does not exist"
    ports = ", ".join(str(one.port_mapping.port) for one in _listeners(graph, node))
    if not ports:
        return f"virtual node {node.name!r} has no listener"
    if wanted is not None:
        return f"virtual node {node.name!r} does not listen on port {wanted}; it listens on {ports}"
    return f"virtual node {node.name!r} has no listener for the protocol; its ports are {ports}"


def declared_ways(graph: Graph, mesh: str) -> dict[tuple[Key, Key], tuple[str, ...]]:
    """The services by which the definition of a caller, a node or gateway, leads to a node: by caller and node."""
    found: dict[tuple[Key, Key], dict[str, None]] = {}
    callers = (one.key for kind in (Kind.VIRTUAL_GATEWAY, Kind.VIRTUAL_NODE) for one in graph.state.of(kind, mesh))
    for caller in callers:
        for service in graph.entry_services(caller):
            for port in service_ports(graph, service):
                for rule in rules(graph, port):
                    for target in rule.targets:
                        if target.weight:
                            found.setdefault((caller, target.node), {})[service.name] = None
    return {way: tuple(services) for way, services in found.items()}


def shares(graph: Graph, caller: Key) -> dict[Key, dict[Key, Fraction]]:
    """By the nodes that calls of `caller` lead to: the routes, or nodes that are services, with its share in each."""
    found: dict[Key, dict[Key, Fraction]] = {}
    for service in graph.entry_services(caller):
        for port in service_ports(graph, service):
            for rule in rules(graph, port):
                total = sum(one.weight for one in rule.targets)
                for node in {one.node for one in rule.targets if one.weight}:
                    weight = sum(one.weight for one in rule.targets if one.node == node)
                    found.setdefault(node, {})[rule.origin] = Fraction(weight, total)
    return found
