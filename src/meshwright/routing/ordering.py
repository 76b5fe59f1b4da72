"""The order in which routes are tried: the first that matches wins.

The one rule: priority (0 first, none last), then exact path, then longest prefix, then regular expression, then the
route with more conditions, then the name. App Mesh documents the priority and, for gateway routes, the prefix length;
the rest is our choice where it is silent (`docs/adr/0010-translation-to-envoy.md`).
Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/routes.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from meshwright.model.gateway_routes import GatewayRouteSpec, GrpcGatewayRouteMatch, HttpGatewayRouteMatch
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch, RouteSpec

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.model.matching import HttpPathMatch
    from meshwright.model.routes import TcpRouteMatch
    from meshwright.model.state import Resource

    Match: TypeAlias = HttpRouteMatch | GrpcRouteMatch | TcpRouteMatch | None
    GatewayMatch: TypeAlias = HttpGatewayRouteMatch | GrpcGatewayRouteMatch

_NO_PRIORITY = 1001
_EXACT, _PREFIX, _REGEX = range(3)


def ordered_routes(graph: Graph, router: Key, port: int | None = None) -> tuple[Resource, ...]:
    """The routes of a router in match order; with `port`, those that a request to that port may match."""
    return tuple(
        sorted(
            (
                one
                for one in graph.children(router)
                if isinstance(one.spec, RouteSpec) and _concerns(route_match(one.spec), port)
            ),
            key=_rank,
        )
    )


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
            return (*_path_specificity(match.path, match.prefix), count)
        case GrpcRouteMatch() | GrpcGatewayRouteMatch():
            kind, path = grpc_path(match)
            return (_EXACT if kind == "path" else _PREFIX, len(path), len(match.metadata or ()))
        case _:
            return (_PREFIX, 0, 0)


def _path_specificity(path: HttpPathMatch | None, prefix: str | None) -> tuple[int, int]:
    if path is not None and path.exact is not None:
        return (_EXACT, len(path.exact))
    if path is not None and path.regex is not None:
        return (_REGEX, len(path.regex))
    return (_PREFIX, len("/" if prefix is None else prefix))


def grpc_path(match: GrpcRouteMatch | GrpcGatewayRouteMatch) -> tuple[str, str]:
    """The `path` or `prefix` that calls of a gRPC match have: `/SERVICE/METHOD`, `/SERVICE/` or `/`."""
    if match.service_name is None:
        return "prefix", "/"
    method = match.method_name if isinstance(match, GrpcRouteMatch) else None
    return ("path", f"/{match.service_name}/{method}") if method else ("prefix", f"/{match.service_name}/")
