"""Gateway routes: from a virtual gateway to a virtual service, with rewrites."""

from __future__ import annotations

from typing import ClassVar

from meshwright.model.matching import GatewayRouteHostnameMatch, Headers, HttpPathMatch, QueryParameters
from meshwright.model.scalars import (
    DefaultGatewayRouteRewrite,
    HttpMethod,
    HttpPath,
    PortNumber,
    Priority,
    ResourceName,
    Shape,
)


class GatewayRouteVirtualService(Shape, frozen=True, kw_only=True):
    """The virtual service that matching traffic goes to."""

    virtual_service_name: ResourceName


class GatewayRouteTarget(Shape, frozen=True, kw_only=True):
    """A virtual service, and the port of its provider where that has several."""

    port: PortNumber | None = None
    virtual_service: GatewayRouteVirtualService


class GatewayRouteHostnameRewrite(Shape, frozen=True, kw_only=True):
    """Whether the Host becomes the virtual service's name (it does unless DISABLED)."""

    default_target_hostname: DefaultGatewayRouteRewrite | None = None


class HttpGatewayRoutePathRewrite(Shape, frozen=True, kw_only=True):
    """The path that replaces the whole of the matched one."""

    exact: HttpPath | None = None


class HttpGatewayRoutePrefixRewrite(Shape, frozen=True, kw_only=True):
    """What replaces the matched prefix: `/` unless `defaultPrefix` is DISABLED or `value` is given."""

    default_prefix: DefaultGatewayRouteRewrite | None = None
    value: HttpPath | None = None


class HttpGatewayRouteRewrite(Shape, frozen=True, kw_only=True):
    """Changes to an HTTP request on its way in."""

    hostname: GatewayRouteHostnameRewrite | None = None
    path: HttpGatewayRoutePathRewrite | None = None
    prefix: HttpGatewayRoutePrefixRewrite | None = None


class GrpcGatewayRouteRewrite(Shape, frozen=True, kw_only=True):
    """Changes to a gRPC call on its way in."""

    hostname: GatewayRouteHostnameRewrite | None = None


class HttpGatewayRouteAction(Shape, frozen=True, kw_only=True):
    """Where matching HTTP traffic goes."""

    rewrite: HttpGatewayRouteRewrite | None = None
    target: GatewayRouteTarget


class GrpcGatewayRouteAction(Shape, frozen=True, kw_only=True):
    """Where matching gRPC traffic goes."""

    rewrite: GrpcGatewayRouteRewrite | None = None
    target: GatewayRouteTarget


class HttpGatewayRouteMatch(Shape, frozen=True, kw_only=True):
    """What an HTTP request at the gateway must look like."""

    headers: Headers | None = None
    hostname: GatewayRouteHostnameMatch | None = None
    method: HttpMethod | None = None
    path: HttpPathMatch | None = None
    port: PortNumber | None = None
    prefix: str | None = None
    query_parameters: QueryParameters | None = None


class GrpcGatewayRouteMatch(Shape, frozen=True, kw_only=True):
    """What a gRPC call at the gateway must look like."""

    hostname: GatewayRouteHostnameMatch | None = None
    metadata: Headers | None = None
    port: PortNumber | None = None
    service_name: str | None = None


class HttpGatewayRoute(Shape, frozen=True, kw_only=True):
    """An HTTP or HTTP/2 gateway route."""

    action: HttpGatewayRouteAction
    match: HttpGatewayRouteMatch


class GrpcGatewayRoute(Shape, frozen=True, kw_only=True):
    """A gRPC gateway route."""

    action: GrpcGatewayRouteAction
    match: GrpcGatewayRouteMatch


class GatewayRouteSpec(Shape, frozen=True, kw_only=True):
    """A gateway route: exactly one protocol; priority 0 is looked at first, none last."""

    one_of: ClassVar[tuple[str, ...]] = ("grpc_route", "http2_route", "http_route")

    grpc_route: GrpcGatewayRoute | None = None
    http2_route: HttpGatewayRoute | None = None
    http_route: HttpGatewayRoute | None = None
    priority: Priority | None = None
