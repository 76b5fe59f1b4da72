"""What is asked of a call on its way: by the routes of a gateway, and by the rules of a service.

The one rule: the route that a call is to follow comes last, those that are tried before it come before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from meshwright.graph import gateway_route_target
from meshwright.model.gateway_routes import GatewayRouteSpec, HttpGatewayRouteMatch
from meshwright.model.identity import Key, Kind
from meshwright.model.listeners import VirtualGatewayListener
from meshwright.routing import (
    gateway_route_match,
    gateway_target,
    http_path,
    ordered_gateway_routes,
    path_rewrite,
    rules,
    service_ports,
)
from meshwright.simulate import rewritten
from meshwright.trials.deriving.avoiding import Asked
from meshwright.trials.deriving.entries import Arrival, from_outside, listeners, match_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.graph import Graph
    from meshwright.routing import ServicePort
    from meshwright.simulate import Call

Step: TypeAlias = tuple[Asked, ...]
"""What one proxy asks in its turn."""


class Entering(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway route at a listener."""

    key: Key
    spec: GatewayRouteSpec
    gateway: Key
    listener: VirtualGatewayListener
    asked: tuple[Asked, ...]
    """What the gateway routes ask that are tried before it, and last what it asks itself."""

    @property
    def base(self) -> Call:
        """A call to the listener; of a route for HTTP one of HTTP/2, also to a listener of gRPC."""
        call = from_outside(self.gateway, self.listener)
        other = isinstance(self.asked[-1].match, HttpGatewayRouteMatch) and call.protocol == "grpc"
        return msgspec.structs.replace(call, protocol="http2", path="/") if other else call


def ways_in(graph: Graph, gateway: Key, listener: VirtualGatewayListener) -> Iterator[Entering]:
    """The routes of a gateway that are for a listener, in the order in which they are tried."""
    asked: tuple[Asked, ...] = ()
    for one in ordered_gateway_routes(graph, gateway, listener.port_mapping.port):
        if isinstance(one.spec, GatewayRouteSpec):
            match, where = gateway_route_match(one.spec), f"spec.{gateway_route_target(one.spec)[0]}.match"
            asked = (*asked, Asked(route=one.key, match=match, where=where, seen=taken_up))
            yield Entering(key=one.key, spec=one.spec, gateway=gateway, listener=listener, asked=asked)


def of_rule(graph: Graph, port: ServicePort, origin: Key) -> Step:
    """What the rules of a service ask up to that of `origin`."""
    found = []
    for one in rules(graph, port):
        match, where = match_of(graph, one)
        found.append(Asked(route=one.origin, match=match, where=where, seen=taken_up))
        if one.origin == origin:
            break
    return tuple(found)


def behind(entering: Entering, port: ServicePort, step: Step) -> Step:
    """What the rules of a service ask of calls as a gateway route hands them on."""
    over = entering.listener.port_mapping.protocol

    def handed_on(call: Call) -> Call:
        return rewritten(entering.spec, taken_up(call), port).passed_on(over)

    return tuple(msgspec.structs.replace(one, seen=handed_on) for one in step)


def steps(graph: Graph, found: Arrival) -> tuple[Step, ...]:
    """What is asked of a call that arrives somewhere, as far as it follows routes: a gateway's, then a service's."""
    hops = [one for one in found.verdict.hops if one.chosen is not None]
    if found.caller.kind is Kind.VIRTUAL_NODE:
        ports = (one for hop in hops for one in service_ports(graph, hop.decided_by) if one.port == found.call.port)
        return tuple(of_rule(graph, port, hop.chosen) for port, hop in zip(ports, hops, strict=False) if hop.chosen)
    entered = (
        one
        for gateway, listener in listeners(graph)
        if gateway == found.caller and listener.port_mapping.port == found.call.port
        for one in ways_in(graph, gateway, listener)
        if hops and one.key == hops[0].chosen
    )
    own = next(entered, None)
    if own is None:
        return ()
    port, last = gateway_target(graph, own.key, own.spec).port, hops[-1].chosen
    if len(hops) == 1 or port is None or last is None:
        return (own.asked,)
    return own.asked, behind(own, port, of_rule(graph, port, last))


def taken_up(call: Call) -> Call:
    """As the proxy has it that takes it from whoever makes it."""
    return call.arrived(call.protocol)


def outer_paths(spec: GatewayRouteSpec, outside: str, inside: str) -> Iterator[str]:
    """Paths that a gateway route may take and make `inside` of; the caller looks whether it does."""
    match = gateway_route_match(spec)
    if isinstance(match, HttpGatewayRouteMatch) and http_path(match)[0] == "prefix":
        prefix = http_path(match)[1]
        rewrite = path_rewrite(spec)
        if rewrite is not None and rewrite.of == "prefix" and inside.startswith(rewrite.text):
            yield prefix + inside[len(rewrite.text) :]
        yield prefix.removesuffix("/") + inside
        yield inside
    elif not isinstance(match, HttpGatewayRouteMatch):
        yield inside
    yield outside
