"""The order in which routes are tried: the first that matches wins.

The one rule: priority (0 first, none last), then exact path, then longest prefix, then regular expression, then the
route with more conditions, then the name. App Mesh documents the priority and, for gateway routes, the prefix length;
the rest is our choice where it is silent (`docs/adr/0010-translation-to-envoy.md`).
Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/routes.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.model.gateway_routes import GatewayRouteSpec, GrpcGatewayRouteMatch, HttpGatewayRouteMatch
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch, RouteSpec
from meshwright.routing.matching import grpc_path, http_path

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.model.state import Resource
    from meshwright.routing.matching import GatewayMatch, Match, PathKind

_NO_PRIORITY = 1001
_KINDS: tuple[PathKind, ...] = ("exact", "prefix", "regex")


def ordered_routes(graph: Graph, router: Key, port: int | None = None) -> tuple[Resource, ...]:
    """The routes of a router in match order; with `port`, those that a request to that port may match."""
    found = [
        one
        for one in graph.children(router)
        if isinstance(one.spec, RouteSpec) and _concerns(route_match(one.spec), port)
    ]
    return tuple(sorted(found, key=_rank) if len(found) > 1 else found)


def ordered_gateway_routes(graph: Graph, gateway: Key, port: int | None = None) -> tuple[Resource, ...]:
    """The gateway routes of a gateway in match order; with `port`, those for that listener."""
    return tuple(
        sorted(
            (
                one
                for one in graph.children(gateway)
                if isinstance(one.spec, GatewayRouteSpec) and _concerns(gateway_route_match(one.spec), port)
            ),
            key=_rank,
        )
    )


def route_match(spec: RouteSpec) -> Match:
    """What a route of any protocol matches on; None for a TCP route without a match."""
    if spec.tcp_route is not None:
        return spec.tcp_route.match
    if spec.grpc_route is not None:
        return spec.grpc_route.match
    route = spec.http2_route or spec.http_route
    return route.match if route else None


def gateway_route_match(spec: GatewayRouteSpec) -> GatewayMatch:
    """What a gateway route of any protocol matches on."""
    route = spec.grpc_route or spec.http2_route or spec.http_route
    if route is None:
        raise AssertionError("the model lets no gateway route without a protocol through")
    return route.match


def _concerns(match: Match | GatewayMatch, port: int | None) -> bool:
    return port is None or match is None or match.port in {None, port}


def _rank(resource: Resource) -> tuple[int, int, int, int, str]:
    spec = resource.spec
    if isinstance(spec, GatewayRouteSpec):
        priority, match = spec.priority, gateway_route_match(spec)
        kind, length, conditions = _specificity(match)
        conditions += int(match.hostname is not None)
    elif isinstance(spec, RouteSpec):
        priority = spec.priority
        kind, length, conditions = _specificity(route_match(spec))
    else:
        raise TypeError(f"{resource.key} is no route")
    return (_NO_PRIORITY if priority is None else priority, kind, -length, -conditions, resource.key.name)


def _specificity(match: Match | GatewayMatch) -> tuple[int, int, int]:
    """Kind of path match, length of the path, number of further conditions."""
    match match:
        case HttpRouteMatch() | HttpGatewayRouteMatch():
            count = len(match.headers or ()) + len(match.query_parameters or ()) + int(match.method is not None)
            if isinstance(match, HttpRouteMatch):
                count += int(match.scheme is not None)
            return (*_path_specificity(http_path(match)), count)
        case GrpcRouteMatch() | GrpcGatewayRouteMatch():
            return (*_path_specificity(grpc_path(match)), len(match.metadata or ()))
        case _:
            return (*_path_specificity(("prefix", "")), 0)


def _path_specificity(path: tuple[PathKind, str]) -> tuple[int, int]:
    kind, text = path
    return (_KINDS.index(kind), len(text))
