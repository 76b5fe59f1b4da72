"""Routes of virtual routers: matches, weighted targets, retries, timeouts."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from meshwright.model.listeners import Duration, HttpTimeout, TcpTimeout
from meshwright.model.matching import Headers, HttpPathMatch, QueryParameters
from meshwright.model.scalars import (
    GrpcRetryPolicyEvent,
    HttpMethod,
    HttpRetryPolicyEvent,
    HttpScheme,
    MaxRetries,
    MethodName,
    PercentInt,
    PortNumber,
    Priority,
    ResourceName,
    Shape,
    TcpRetryPolicyEvent,
)


class WeightedTarget(Shape, frozen=True, kw_only=True):
    """A virtual node and its relative share of the traffic."""

    port: PortNumber | None = None
    virtual_node: ResourceName
    weight: PercentInt


class RouteAction(Shape, frozen=True, kw_only=True):
    """Where matching traffic goes; the weights are relative to their sum."""

    weighted_targets: Annotated[tuple[WeightedTarget, ...], Meta(min_length=1, max_length=10)]


HttpRetryEvents = Annotated[tuple[HttpRetryPolicyEvent, ...], Meta(min_length=1, max_length=25)]
GrpcRetryEvents = Annotated[tuple[GrpcRetryPolicyEvent, ...], Meta(min_length=1, max_length=5)]
TcpRetryEvents = Annotated[tuple[TcpRetryPolicyEvent, ...], Meta(min_length=1, max_length=1)]


class HttpRetryPolicy(Shape, frozen=True, kw_only=True):
    """When and how often an HTTP request is tried again; `perRetryTimeout` bounds the first try too."""

    http_retry_events: HttpRetryEvents | None = None
    max_retries: MaxRetries
    per_retry_timeout: Duration
    tcp_retry_events: TcpRetryEvents | None = None


class GrpcRetryPolicy(Shape, frozen=True, kw_only=True):
    """When and how often a gRPC call is tried again; `perRetryTimeout` bounds the first try too."""

    grpc_retry_events: GrpcRetryEvents | None = None
    http_retry_events: HttpRetryEvents | None = None
    max_retries: MaxRetries
    per_retry_timeout: Duration
    tcp_retry_events: TcpRetryEvents | None = None


class HttpRouteMatch(Shape, frozen=True, kw_only=True):
    """What an HTTP request must look like; with neither `prefix` nor `path`, any path does."""

    headers: Headers | None = None
    method: HttpMethod | None = None
    path: HttpPathMatch | None = None
    port: PortNumber | None = None
    prefix: str | None = None
    query_parameters: QueryParameters | None = None
    scheme: HttpScheme | None = None


class GrpcRouteMatch(Shape, frozen=True, kw_only=True):
    """What a gRPC call must look like; empty matches every call."""

    metadata: Headers | None = None
    method_name: MethodName | None = None
    port: PortNumber | None = None
    service_name: str | None = None


class TcpRouteMatch(Shape, frozen=True, kw_only=True):
    """Which listener port of the router a TCP route is for."""

    port: PortNumber | None = None


class HttpRoute(Shape, frozen=True, kw_only=True):
    """An HTTP or HTTP/2 route."""

    action: RouteAction
    match: HttpRouteMatch
    retry_policy: HttpRetryPolicy | None = None
    timeout: HttpTimeout | None = None


class GrpcRoute(Shape, frozen=True, kw_only=True):
    """A gRPC route."""

    action: RouteAction
    match: GrpcRouteMatch
    retry_policy: GrpcRetryPolicy | None = None
    timeout: HttpTimeout | None = None


class TcpRoute(Shape, frozen=True, kw_only=True):
    """A TCP route."""

    action: RouteAction
    match: TcpRouteMatch | None = None
    timeout: TcpTimeout | None = None


class RouteSpec(Shape, frozen=True, kw_only=True):
    """A route: exactly one protocol; priority 0 is looked at first, none last."""

    one_of: ClassVar[tuple[str, ...]] = ("grpc_route", "http2_route", "http_route", "tcp_route")

    grpc_route: GrpcRoute | None = None
    http2_route: HttpRoute | None = None
    http_route: HttpRoute | None = None
    priority: Priority | None = None
    tcp_route: TcpRoute | None = None
