"""What a gateway route does with a request: which service it is for, what becomes of its path and Host.

The one rule: a gateway route only rewrites; what then happens is decided by the service's rules, as for any caller.
Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/gateway-routes.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from meshwright.graph import gateway_route_target, service_key
from meshwright.routing.ports import ServicePort, service_ports
from meshwright.routing.timing import Timeouts, longest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshwright.graph import Graph
    from meshwright.model.gateway_routes import GatewayRouteSpec, GrpcGatewayRouteRewrite, HttpGatewayRouteRewrite
    from meshwright.model.identity import Key
    from meshwright.routing.services import Rule


class PathRewrite(msgspec.Struct, frozen=True):
    """What becomes of a path: all of it, or the prefix that was matched, is replaced."""

    of: Literal["path", "prefix"]
    text: str


class GatewayTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where a gateway route leads."""

    port: ServicePort | None
    """The port of the service; None where nothing there speaks HTTP."""
    lost: str = ""
    """What is wrong with the port that the route names; "" where nothing is."""


def gateway_target(graph: Graph, key: Key, spec: GatewayRouteSpec) -> GatewayTarget:
    """The port that a gateway route means: the one that it names, else the first of its service that speaks HTTP."""
    _, target = gateway_route_target(spec)
    service = service_key(key.mesh, target.virtual_service.virtual_service_name)
    ports = [one for one in service_ports(graph, service) if one.protocol != "tcp"]
    meant = next((one for one in ports if target.port in {None, one.port}), None)
    lost = ""
    if ports and meant is None:
        lost = f"virtual service {service.name!r} has no HTTP port {target.port}; requests get 404"
    return GatewayTarget(port=meant, lost=lost)


def path_rewrite(spec: GatewayRouteSpec) -> PathRewrite | None:
    """What a gateway route does to the path: by default, a matched prefix becomes `/`; None where it stays."""
    route = spec.http2_route or spec.http_route
    if route is None:
        return None
    wanted = route.action.rewrite
    if wanted is not None and wanted.path is not None and wanted.path.exact is not None:
        return PathRewrite("path", wanted.path.exact)
    if route.match.path is not None:
        return None
    prefix = wanted.prefix if wanted else None
    if prefix is not None and prefix.value is not None:
        return PathRewrite("prefix", prefix.value)
    if prefix is not None and prefix.default_prefix == "DISABLED":
        return None
    return PathRewrite("prefix", "/")


def keeps_host(spec: GatewayRouteSpec) -> bool:
    """Whether a gateway route leaves the Host alone."""
    rewrite = _rewrite_of(spec)
    return bool(rewrite and rewrite.hostname and rewrite.hostname.default_target_hostname == "DISABLED")


def gateway_marks(specs: Iterable[GatewayRouteSpec], ports: Sequence[ServicePort]) -> dict[ServicePort, str]:
    """What a gateway with these routes marks requests for each of its `ports` with; empty where it marks none.

    The Host tells its own egress whom a request is for, unless a route leaves that alone, or routes lead to several
    ports of one service, whose Host is the same.
    """
    services = [one.service for one in ports]
    if len(set(services)) == len(services) and not any(map(keeps_host, specs)):
        return {}
    return {
        one: f"{one.service.name}:{one.port}" if one.service in services[:index] else one.service.name
        for index, one in enumerate(ports)
    }


def roomiest(rules: Sequence[Rule]) -> Timeouts | None:
    """The limits at a gateway route to a service, which none of its `rules` exceeds; None without rules."""
    if not rules:
        return None
    return Timeouts(longest(one.timeouts.request for one in rules), longest(one.timeouts.idle for one in rules))


def _rewrite_of(spec: GatewayRouteSpec) -> HttpGatewayRouteRewrite | GrpcGatewayRouteRewrite | None:
    route = spec.grpc_route or spec.http2_route or spec.http_route
    return route.action.rewrite if route else None
