"""Calls that a mesh's definitions ask for, one a way that it has, for rigs to send."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import msgspec

from meshwright.graph import gateway_route_target, service_key
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch
from meshwright.model.specs import VirtualGatewaySpec
from meshwright.routing import gateway_route_match, ordered_gateway_routes, rules, service_ports
from meshwright.simulate import Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.graph import Graph


class Asked(msgspec.Struct, frozen=True):
    """A call, from which node or to which gateway, and who may answer it."""

    at: Key
    call: Call
    nodes: frozenset[str]


def declared(graph: Graph) -> tuple[Asked, ...]:
    """A call for every rule of every backend of every node, and for every route of every gateway."""
    return (*_backends(graph), *_gateways(graph))


def _backends(graph: Graph) -> Iterator[Asked]:
    for node in graph.state.of(Kind.VIRTUAL_NODE):
        for service in graph.entry_services(node.key):
            for port in service_ports(graph, service):
                for rule in rules(graph, port):
                    nodes = frozenset(one.node.name for one in rule.targets if one.weight)
                    if nodes:
                        yield Asked(node.key, _call(rule.match, rule.protocol, service.name, port.port), nodes)


def _gateways(graph: Graph) -> Iterator[Asked]:
    for gateway in graph.state.of(Kind.VIRTUAL_GATEWAY):
        spec = gateway.spec
        for listener in spec.listeners if isinstance(spec, VirtualGatewaySpec) else ():
            mapping, encrypted = listener.port_mapping, bool(listener.tls and listener.tls.mode == "STRICT")
            for route in ordered_gateway_routes(graph, gateway.key, mapping.port):
                if not isinstance(route.spec, GatewayRouteSpec):
                    continue
                match = gateway_route_match(route.spec)
                hostname = getattr(match, "hostname", None)
                host = (hostname.exact or f"x{hostname.suffix}") if hostname else "gateway.example"
                service = gateway_route_target(route.spec)[1].virtual_service.virtual_service_name
                nodes = graph.service_nodes(service_key(gateway.key.mesh, service))
                call = _call(match, mapping.protocol, host, mapping.port, "https" if encrypted else "http")
                if nodes:
                    yield Asked(gateway.key, call, frozenset(one.name for one in nodes))


def _call(match: object, protocol: str, host: str, port: int, scheme: Literal["http", "https"] = "http") -> Call:
    """A call that `match` takes, as far as one is easily made up."""
    if protocol == "tcp":
        return Call(protocol="tcp", host=host, port=port)
    if protocol == "grpc":
        service = getattr(match, "service_name", None) or "lab.Workload"
        path = f"/{service}/{getattr(match, 'method_name', None) or 'Who'}"
        headers = _headers(match.metadata or ()) if isinstance(match, GrpcRouteMatch) else ()
        return Call(protocol="grpc", host=host, port=port, scheme=scheme, path=path, headers=headers)
    path, method, headers = getattr(match, "prefix", None) or "/", getattr(match, "method", None) or "GET", ()
    if isinstance(match, HttpRouteMatch):
        path = (match.path.exact if match.path else None) or path
        headers = _headers(match.headers or ())
    spoken: Literal["http", "http2"] = "http2" if protocol == "http2" else "http"
    return Call(protocol=spoken, host=host, port=port, scheme=scheme, path=path, method=method, headers=headers)


def _headers(matches: Iterable[object]) -> tuple[tuple[str, str], ...]:
    found = []
    for one in matches:
        match = getattr(one, "match", None)
        values = [getattr(match, name, None) for name in ("exact", "prefix", "suffix")]
        regex = re.sub(r"[^\w-]", "", getattr(match, "regex", None) or "")
        found.append((str(getattr(one, "name", "")), next((value for value in values if value), regex or "1")))
    return tuple(found)
