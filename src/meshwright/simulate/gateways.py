"""The step of a gateway: its listener, its routes, and what the one that matches makes of the request.

The one rule: a request goes through two steps, as in the gateway's proxy: its own route, then the service's rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import gateway_route_target
from meshwright.model.gateway_routes import GatewayRouteSpec, HttpGatewayRouteMatch
from meshwright.model.identity import Key, Kind
from meshwright.routing import (
    Place,
    ServicePort,
    at_gateway_route,
    domains,
    gateway_marks,
    gateway_route_match,
    gateway_target,
    holding,
    http_path,
    keeps_host,
    ordered_gateway_routes,
    path_rewrite,
    paths,
    roomiest,
    rules,
    untaken,
)
from meshwright.simulate.extending import answered, edited, effects
from meshwright.simulate.listeners import tls_refusal
from meshwright.simulate.matching import asks_for, misses
from meshwright.simulate.services import Caller, malformed, served
from meshwright.simulate.statuses import ending
from meshwright.simulate.verdicts import Candidate, Ending, Hop, Miss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.graph import Graph
    from meshwright.model.listeners import VirtualGatewayListener
    from meshwright.model.specs import VirtualGatewaySpec
    from meshwright.simulate.calls import Call, Protocol


class _Route(msgspec.Struct, frozen=True):
    """A gateway route at the listener by which the call comes in."""

    key: Key
    spec: GatewayRouteSpec
    place: Place


def through_gateway(
    graph: Graph, gateway: Key, spec: VirtualGatewaySpec, call: Call, now: int
) -> tuple[tuple[Hop, ...], Ending]:
    """What becomes of `call` that comes from outside to one of the gateway's ports."""
    listener = next((one for one in spec.listeners if one.port_mapping.port == call.port), None)
    if listener is None:
        ports = ", ".join(str(one.port_mapping.port) for one in spec.listeners)
        reason = f"virtual gateway {gateway.name!r} does not listen on port {call.port}; it listens on {ports}"
        return (), Ending(outcome="refused", reason=reason, decided_by=gateway)
    if reason := _refusal(gateway, listener, call):
        return (), Ending(outcome="refused", reason=reason, decided_by=gateway)
    if refused := malformed(call):
        return (), refused
    seen = call.arrived(call.protocol)
    several = tuple(_routes(graph, gateway, listener))
    considered = tuple(Candidate(origin=one.key, misses=_misses(graph, one, seen, listener, now)) for one in several)
    chosen = next((one for one, told in zip(several, considered, strict=True) if told.matched), None)
    hop = Hop(
        at=gateway,
        decided_by=gateway,
        virtual_host="self_redirect",
        call=seen,
        candidates=considered,
        chosen=None if chosen is None else chosen.key,
        call_after=seen,
    )
    if chosen is None:
        why = "no gateway route matches" if considered else f"virtual gateway {gateway.name!r} has no routes"
        return (hop,), ending(seen, "no-route", 404, why, gateway)
    caller = Caller(graph=graph, key=gateway, ports=_called(graph, gateway, spec), now=now)
    return _followed(caller, chosen, listener.port_mapping.protocol, hop)


def _followed(caller: Caller, route: _Route, over: Protocol, hop: Hop) -> tuple[tuple[Hop, ...], Ending]:
    """The gateway's proxy calls itself `over` the protocol of the listener that took the call."""
    graph = caller.graph
    target = gateway_target(graph, route.key, route.spec)
    told = effects(graph, route.place, hop.call, caller.now, sent_on=target.port is not None)
    hop = msgspec.structs.replace(hop, effects=told, call_after=edited(graph, route.place, hop.call, caller.now))
    if own := answered(told, hop.call):
        return (hop,), own
    if target.port is None:
        _, named = gateway_route_target(route.spec)
        why = target.lost or f"nothing answers HTTP at {named.virtual_service.virtual_service_name!r}"
        return (hop,), ending(hop.call, "no-target", 404, why, route.key)
    after = rewritten(route.spec, hop.call_after, target.port)
    limits = roomiest(graph.recall_about(target.port.service, rules, target.port))
    hop = msgspec.structs.replace(hop, call_after=after, timeouts=limits)
    if refused := malformed(after):
        return (hop,), refused
    if not _told_apart(caller, target.port):
        why = f"the host name {target.port.service.name!r} cannot be told from another backend's"
        return (hop,), ending(hop.call, "no-host", 404, why, target.port.service)
    again = msgspec.structs.replace(after.passed_on(over), port=target.port.port)
    second, end = served(caller, target.port, again, target.port.service.name)
    return (hop, second), end


def _refusal(gateway: Key, listener: VirtualGatewayListener, call: Call) -> str:
    """Why a listener does not take the connection; "" when it does."""
    where = f"port {call.port} of virtual gateway {gateway.name!r}"
    if call.protocol == "tcp":
        return f"{where} speaks HTTP only"
    return tls_refusal(where, listener.tls, call)


def _routes(graph: Graph, gateway: Key, listener: VirtualGatewayListener) -> Iterator[_Route]:
    """The gateway's routes in match order, those for other ports among them."""
    mapping = listener.port_mapping
    for one in ordered_gateway_routes(graph, gateway):
        if isinstance(one.spec, GatewayRouteSpec):
            yield _Route(one.key, one.spec, at_gateway_route(one.key, gateway, mapping.protocol, mapping.port))


def _misses(graph: Graph, route: _Route, call: Call, listener: VirtualGatewayListener, now: int) -> tuple[Miss, ...]:
    match = gateway_route_match(route.spec)
    where = f"spec.{gateway_route_target(route.spec)[0]}.match"
    port = listener.port_mapping.port
    if match.port not in {None, port}:
        return (Miss(f"{where}.port", str(match.port), str(port)),)
    missing = misses(match, call, where)
    if missing and asks_for(match, call, where) and holding(graph, Kind.CORS, route.place, now):
        return ()
    return missing


def rewritten(spec: GatewayRouteSpec, call: Call, port: ServicePort) -> Call:
    """`call`, which a gateway route takes, as the gateway's own egress gets it for the service's `port`."""
    wanted = path_rewrite(spec)
    if wanted is not None:
        path, query = paths.split(call.path)
        match = gateway_route_match(spec)
        matched = http_path(match)[1] if isinstance(match, HttpGatewayRouteMatch) else ""
        rest = path.removeprefix(matched) if wanted.of == "prefix" else ""
        told = call.with_headers(set_=[("x-envoy-original-path", call.path)])
        call = msgspec.structs.replace(told, path=wanted.text + rest + query)
    return call.to(call.authority if keeps_host(spec) else port.service.name)


def _called(graph: Graph, gateway: Key, spec: VirtualGatewaySpec) -> tuple[ServicePort, ...]:
    """What the gateway's routes lead to, in the order of its listeners and then of the routes."""
    found = (
        gateway_target(graph, route.key, route.spec).port
        for listener in spec.listeners
        for route in ordered_gateway_routes(graph, gateway, listener.port_mapping.port)
        if isinstance(route.spec, GatewayRouteSpec)
    )
    return tuple(dict.fromkeys(one for one in found if one is not None))


def _told_apart(caller: Caller, port: ServicePort) -> bool:
    """Whether the gateway's egress knows the service by its Host, or by a mark."""
    specs = (one.spec for one in caller.graph.children(caller.key) if isinstance(one.spec, GatewayRouteSpec))
    free = dict(zip(caller.ports, untaken(domains(one) for one in caller.ports), strict=True))
    return bool(gateway_marks(specs, caller.ports)) or bool(free[port])
