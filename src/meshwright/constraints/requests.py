"""Matches, retries, timeouts and rewrites of routes and gateway routes: what App Mesh refuses in one object alone.

Facts: the API takes more than its clients do (an empty gRPC match, any sum of weights); what is taken is not refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.constraints.faults import Fault
from meshwright.constraints.listeners import duration_fault
from meshwright.errors import did_you_mean
from meshwright.routing.expressions import COSTLY, CURE, costly, written_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.model.gateway_routes import GatewayRouteSpec, HttpGatewayRouteMatch, HttpGatewayRouteRewrite
    from meshwright.model.matching import HttpRouteHeader
    from meshwright.model.routes import GrpcRetryPolicy, HttpRetryPolicy, RouteSpec

HTTP_RETRY_EVENTS = ("server-error", "gateway-error", "client-error", "stream-error")
"""Source: https://docs.aws.amazon.com/app-mesh/latest/APIReference/API_HttpRetryPolicy.html"""
RESERVED_PREFIXES = ("/aws-appmesh", "/aws-app-mesh")
RESERVED_SERVICES = ("aws.appmesh", "aws.app-mesh")
"""Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/gateway-routes.html"""


def route_faults(spec: RouteSpec) -> Iterator[Fault]:
    """What is refused in a route, whatever its router and its targets are."""
    for member, route in (("httpRoute", spec.http_route), ("http2Route", spec.http2_route)):
        if route is not None:
            at = f"spec.{member}"
            yield from _path_faults(route.match, f"{at}.match")
            yield from range_faults(route.match.headers, f"{at}.match.headers")
            yield from retry_faults(route.retry_policy, f"{at}.retryPolicy")
            yield from _timeout_faults(route.timeout, f"{at}.timeout")
    if spec.grpc_route is not None:
        grpc = spec.grpc_route
        if grpc.match.method_name is not None and grpc.match.service_name is None:
            yield Fault(
                rule="MW005",
                path="spec.grpcRoute.match.methodName",
                text="A gRPC route that matches a method name must match a service name",
                detail="Add serviceName: a method is called as /SERVICE/METHOD.",
            )
        yield from range_faults(grpc.match.metadata, "spec.grpcRoute.match.metadata")
        yield from retry_faults(grpc.retry_policy, "spec.grpcRoute.retryPolicy")
        yield from _timeout_faults(grpc.timeout, "spec.grpcRoute.timeout")
    if spec.tcp_route is not None:
        yield from _timeout_faults(spec.tcp_route.timeout, "spec.tcpRoute.timeout")
    yield from _costly_faults(spec)


def gateway_route_faults(spec: GatewayRouteSpec) -> Iterator[Fault]:
    """What is refused in a gateway route, whatever its gateway and its target are."""
    for member, route in (("httpRoute", spec.http_route), ("http2Route", spec.http2_route)):
        if route is not None:
            at = f"spec.{member}"
            yield from _path_faults(route.match, f"{at}.match")
            yield from _gateway_match_faults(route.match, f"{at}.match")
            yield from range_faults(route.match.headers, f"{at}.match.headers")
            yield from _rewrite_faults(route.action.rewrite, route.match, f"{at}.action.rewrite")
    if spec.grpc_route is not None:
        match = spec.grpc_route.match
        if match.service_name is not None and match.service_name.startswith(RESERVED_SERVICES):
            yield Fault(
                rule="MW005",
                path="spec.grpcRoute.match.serviceName",
                text=f"serviceName {match.service_name} is reserved: names that begin with aws.appmesh or "
                "aws.app-mesh cannot be used",
            )
        yield from range_faults(match.metadata, "spec.grpcRoute.match.metadata")
    yield from _costly_faults(spec)


def _costly_faults(spec: RouteSpec | GatewayRouteSpec) -> Iterator[Fault]:
    """What Envoy refuses is taken, as App Mesh took it; what would hold up server and Envoys is not."""
    for path, expression in written_in(spec):
        if costly(expression):
            text = f"The regular expression in {path} takes too long to compile: {COSTLY}"
            yield Fault(rule="MW210", path=path, text=text, detail=CURE)


def _path_faults(match: Any, at: str) -> Iterator[Fault]:
    if match.prefix is not None and match.path is not None:
        yield Fault(
            rule="MW003",
            path=f"{at}.path",
            text="A match can have a prefix or a path, not both",
            detail="Keep the one that you mean; prefix / matches every path.",
        )
    if match.prefix is not None:
        yield from _slash_fault(match.prefix, "prefix", f"{at}.prefix")
    if match.path is not None and match.path.exact is not None:
        yield from _slash_fault(match.path.exact, "path", f"{at}.path.exact")


def _slash_fault(value: str, what: str, path: str) -> Iterator[Fault]:
    if not value.startswith("/"):
        yield Fault(
            rule="MW002",
            path=path,
            text=f"The {what} {value!r} must start with /",
            detail="Every request path does; this could never match.",
        )


def range_faults(headers: tuple[HttpRouteHeader, ...] | None, at: str) -> Iterator[Fault]:
    """Ranges of header matches that are empty."""
    for index, header in enumerate(headers or ()):
        limits = header.match.range if header.match is not None else None
        if limits is not None and limits.start >= limits.end:
            yield Fault(
                rule="MW005",
                path=f"{at}[{index}].match.range",
                text=f"The range's start {limits.start} must be less than its end {limits.end}",
                detail="The end lies outside the range, so this range is empty.",
            )


def retry_faults(policy: HttpRetryPolicy | GrpcRetryPolicy | None, at: str) -> Iterator[Fault]:
    """Events that do not exist, durations that mean nothing."""
    if policy is None:
        return
    for index, event in enumerate(policy.http_retry_events or ()):
        if event not in HTTP_RETRY_EVENTS:
            yield Fault(
                rule="MW002",
                path=f"{at}.httpRetryEvents[{index}]",
                text=f"{event!r} is not one of {', '.join(HTTP_RETRY_EVENTS)}",
                detail=did_you_mean(event, HTTP_RETRY_EVENTS, sentence=True),
            )
    yield from duration_fault(policy.per_retry_timeout, f"{at}.perRetryTimeout")


def _timeout_faults(timeout: Any, at: str) -> Iterator[Fault]:
    yield from duration_fault(getattr(timeout, "idle", None), f"{at}.idle")
    yield from duration_fault(getattr(timeout, "per_request", None), f"{at}.perRequest")


def _gateway_match_faults(match: HttpGatewayRouteMatch, at: str) -> Iterator[Fault]:
    if match.prefix is None and match.path is None and match.hostname is None:
        yield Fault(
            rule="MW003",
            path=at,
            text="A gateway route's match must have at least one of prefix, path and hostname",
            detail="Prefix / matches every path.",
        )
    paths = (("prefix", match.prefix), ("path.exact", match.path.exact if match.path else None))
    for member, value in paths:
        if value is not None and value.startswith(RESERVED_PREFIXES):
            yield Fault(
                rule="MW005",
                path=f"{at}.{member}",
                text=f"{value} is reserved: paths that begin with /aws-appmesh or /aws-app-mesh cannot be used",
            )


def _rewrite_faults(
    rewrite: HttpGatewayRouteRewrite | None, match: HttpGatewayRouteMatch, at: str
) -> Iterator[Fault]:
    if rewrite is None:
        return
    if rewrite.path is not None and rewrite.path.exact is not None:
        yield from _slash_fault(rewrite.path.exact, "path", f"{at}.path.exact")
    prefix = rewrite.prefix
    if prefix is None:
        return
    if match.prefix is None:
        yield Fault(
            rule="MW005",
            path=f"{at}.prefix",
            text="A prefix can be rewritten only when the match has a prefix",
            detail="Match a prefix, or rewrite the path.",
        )
    if rewrite.path is not None:
        yield Fault(rule="MW003", path=f"{at}.path", text="A rewrite can have a prefix or a path, not both")
    if prefix.value is not None and prefix.default_prefix is not None:
        yield Fault(
            rule="MW003",
            path=f"{at}.prefix",
            text="A prefix rewrite can have a value or a defaultPrefix, not both",
            detail="value replaces the prefix; defaultPrefix only says whether it becomes /.",
        )
    if prefix.value is not None and not (prefix.value.startswith("/") and prefix.value.endswith("/")):
        yield Fault(
            rule="MW002",
            path=f"{at}.prefix.value",
            text=f"The prefix rewrite's value {prefix.value!r} must start and end with /",
        )
