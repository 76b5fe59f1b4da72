"""Where calls can enter a mesh, and the calls that arrive at a given route.

The one rule: a call is taken only when `simulate` says that it follows the route that it is made for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import gateway_route_target, route_action
from meshwright.model.gateway_routes import GatewayRouteSpec, HttpGatewayRouteMatch
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import VirtualGatewaySpec
from meshwright.routing import (
    ServicePort,
    gateway_route_match,
    gateway_target,
    http_path,
    ordered_gateway_routes,
    path_rewrite,
    route_match,
    rules,
    service_ports,
)
from meshwright.simulate import Call, Verdict, route
from meshwright.trials.deriving.examples import NoExampleError, example

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.graph import Graph
    from meshwright.model.listeners import VirtualGatewayListener
    from meshwright.routing import Rule
    from meshwright.trials.deriving.examples import Matched
    from meshwright.trials.deriving.texts import Texts


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A call that follows a route, and where it goes."""

    caller: Key
    call: Call
    verdict: Verdict


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A route for which no call was found."""

    route: Key
    path: str
    """The field that is to blame; "" for the whole route."""
    reason: str


class Entrance(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway route at one of the gateway's listeners."""

    key: Key
    spec: GatewayRouteSpec
    found: Arrival | Gap
    """A call from outside that follows it, or why there is none."""


def entrances(graph: Graph, texts: Texts) -> Iterator[Entrance]:
    """Every route of every gateway, at each of its listeners that it is for."""
    for gateway, listener in listeners(graph):
        for one in ordered_gateway_routes(graph, gateway, listener.port_mapping.port):
            if isinstance(one.spec, GatewayRouteSpec):
                found = _at_gateway(graph, gateway, listener, one.key, one.spec, texts)
                yield Entrance(key=one.key, spec=one.spec, found=found)


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


def at_route(graph: Graph, port: ServicePort, rule: Rule, texts: Texts) -> Arrival | Gap:
    """A call of the service that follows `rule`, from whoever may make it; if it can be, from who gets through."""
    blamed, reason = "", f"nobody may call virtual service {port.service.name!r}"
    turned_away: Arrival | None = None
    for caller in callers(graph, port.service):
        try:
            for call in _calls(graph, caller, port, rule, texts):
                verdict = route(graph, caller, call)
                if verdict.hops and verdict.hops[-1].chosen == rule.origin:
                    found = Arrival(caller=caller, call=call, verdict=verdict)
                    if not verdict.refused:
                        return found
                    turned_away = turned_away or found
                reason = _taken(verdict)
        except NoExampleError as error:
            blamed, reason = str(error), "no example was found that it takes"
    return turned_away or Gap(route=rule.origin, path=blamed, reason=reason)


def _at_gateway(
    graph: Graph, gateway: Key, listener: VirtualGatewayListener, key: Key, spec: GatewayRouteSpec, texts: Texts
) -> Arrival | Gap:
    """A call from outside that follows a gateway route."""
    member, _ = gateway_route_target(spec)
    match = gateway_route_match(spec)
    try:
        call = example(match, f"spec.{member}.match", from_outside(gateway, listener), texts)
    except NoExampleError as error:
        return Gap(route=key, path=str(error), reason="no example was found that it takes")
    verdict = route(graph, gateway, call)
    if verdict.hops and verdict.hops[0].chosen == key:
        return Arrival(caller=gateway, call=call, verdict=verdict)
    return Gap(route=key, path="", reason=_taken(verdict))


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


def match_of(graph: Graph, rule: Rule) -> tuple[Matched, str]:
    """What a rule matches on, and in which field that stands."""
    spec = graph.state[rule.origin].spec
    if not isinstance(spec, RouteSpec):
        return None, ""
    return route_match(spec), f"spec.{route_action(spec)[0]}.match"


def _calls(graph: Graph, caller: Key, port: ServicePort, rule: Rule, texts: Texts) -> Iterator[Call]:
    match, where = match_of(graph, rule)
    inside = example(match, where, bare_call(port), texts)
    if caller.kind is Kind.VIRTUAL_NODE:
        yield inside
        return
    for gateway, listener in listeners(graph):
        if gateway == caller:
            yield from _through(graph, gateway, listener, inside, port, texts)


def _through(
    graph: Graph, gateway: Key, listener: VirtualGatewayListener, inside: Call, port: ServicePort, texts: Texts
) -> Iterator[Call]:
    """Calls from outside that come to `port` looking like `inside`, as far as a gateway's routes let them."""
    for one in ordered_gateway_routes(graph, gateway, listener.port_mapping.port):
        spec = one.spec
        if not isinstance(spec, GatewayRouteSpec) or gateway_target(graph, one.key, spec).port != port:
            continue
        member, _ = gateway_route_target(spec)
        match = gateway_route_match(spec)
        try:
            call = example(match, f"spec.{member}.match", from_outside(gateway, listener), texts)
        except NoExampleError:
            continue
        names = {name.lower() for name, _ in call.headers}
        added = tuple(pair for pair in inside.headers if pair[0].lower() not in names)
        method = call.method if isinstance(match, HttpGatewayRouteMatch) and match.method else inside.method
        for path in _paths(spec, call.path, inside.path):
            yield msgspec.structs.replace(call, path=path, method=method, headers=(*call.headers, *added))


def _paths(spec: GatewayRouteSpec, outside: str, inside: str) -> Iterator[str]:
    """Paths that a gateway route may take and make `inside` of; the caller looks whether it does."""
    match = gateway_route_match(spec)
    if isinstance(match, HttpGatewayRouteMatch) and http_path(match)[0] == "prefix":
        prefix = http_path(match)[1]
        rewritten = path_rewrite(spec)
        if rewritten is not None and rewritten.of == "prefix" and inside.startswith(rewritten.text):
            yield prefix + inside[len(rewritten.text) :]
        yield prefix.removesuffix("/") + inside
        yield inside
    elif not isinstance(match, HttpGatewayRouteMatch):
        yield inside
    yield outside


def _taken(verdict: Verdict) -> str:
    """Why a call that a match takes does not follow its route."""
    if verdict.hops and (chosen := verdict.hops[-1].chosen) is not None:
        return f"{chosen.kind.type_name} {chosen.name!r} takes before it whatever it would match"
    return verdict.ending.reason
