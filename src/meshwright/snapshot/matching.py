"""Matches and rewrites of routes and gateway routes in Envoy's words.

The one rule: a condition that App Mesh has and Envoy writes differently is translated here and nowhere else.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from meshwright.model.gateway_routes import GrpcGatewayRouteMatch, HttpGatewayRouteMatch
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch, TcpRouteMatch
from meshwright.routing import gateway_route_match, grpc_path
from meshwright.snapshot import names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.model.gateway_routes import GatewayRouteSpec
    from meshwright.model.matching import (
        GatewayRouteHostnameMatch,
        HttpPathMatch,
        HttpQueryParameter,
        HttpRouteHeader,
    )
    from meshwright.snapshot.values import Wire

AnyMatch: TypeAlias = (
    HttpRouteMatch | GrpcRouteMatch | TcpRouteMatch | HttpGatewayRouteMatch | GrpcGatewayRouteMatch | None
)

_INT64 = (-(2**63), 2**63 - 1)


def http(match: HttpRouteMatch | HttpGatewayRouteMatch) -> Wire:
    """The match of an HTTP request."""
    scheme = match.scheme if isinstance(match, HttpRouteMatch) else None
    pseudo = [header_is(name, value) for name, value in ((":method", match.method), (":scheme", scheme)) if value]
    return {
        **_path(match.path, match.prefix),
        "headers": [*pseudo, *(header(one) for one in match.headers or ())],
        "query_parameters": [_query_parameter(one) for one in match.query_parameters or ()],
    }


def grpc(match: GrpcRouteMatch | GrpcGatewayRouteMatch) -> Wire:
    """The match of a gRPC call."""
    kind, path = grpc_path(match)
    return {kind: path, "grpc": {}, "headers": [header(one) for one in match.metadata or ()]}


def gateway(spec: GatewayRouteSpec) -> Wire:
    """The match of a gateway route, its hostname included."""
    match = gateway_route_match(spec)
    found = http(match) if isinstance(match, HttpGatewayRouteMatch) else grpc(match)
    if match.hostname is not None:
        found["headers"] = [*found["headers"], _hostname(match.hostname)]
    return found


def rewrite(spec: GatewayRouteSpec) -> Wire:
    """What a gateway route does to the path: by default, a matched prefix becomes `/`."""
    route = spec.http2_route or spec.http_route
    if route is None:
        return {}
    wanted = route.action.rewrite
    if wanted is not None and wanted.path is not None and wanted.path.exact is not None:
        # In a substitution a backslash starts a reference to a group.
        whole = wanted.path.exact.replace("\\", "\\\\")
        return {"regex_rewrite": {"pattern": {"regex": "^/.*$"}, "substitution": whole}}
    if route.match.path is not None:
        return {}
    prefix = wanted.prefix if wanted else None
    if prefix is not None and prefix.value is not None:
        return {"prefix_rewrite": prefix.value}
    if prefix is not None and prefix.default_prefix == "DISABLED":
        return {}
    return {"prefix_rewrite": "/"}


def header_is(name: str, value: str) -> Wire:
    """A header with exactly that value."""
    return {"name": name, "string_match": {"exact": value}}


def preflight(match: Wire) -> Wire | None:
    """The match of the question that a browser asks before a request of `match`; None where `match` takes it too.

    The question has the method OPTIONS, and none of the headers that the request will have: where `match` asks for
    some, nothing tells for which route the question is.
    """
    headers = match.get("headers", ())
    methods = [one["string_match"]["exact"] for one in headers if one["name"] == ":method"]
    told = {":method", ":scheme", ":authority", names.VIRTUAL_SERVICE_HEADER}
    if not methods or any(one["name"] not in told for one in headers):
        return None
    rest = [one for one in headers if one["name"] != ":method"]
    asked = [header_is(":method", "OPTIONS"), header_is("access-control-request-method", methods[0])]
    return match | {"headers": [*asked, {"name": "origin", "present_match": True}, *rest]}


def regexes(match: AnyMatch) -> list[str]:
    """The regular expressions of a match."""
    if match is None or isinstance(match, TcpRouteMatch):
        return []
    found: list[str | None] = []
    if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        found.append(match.path.regex if match.path else None)
        conditions: Iterable[HttpRouteHeader] = match.headers or ()
    else:
        conditions = match.metadata or ()
    found += [one.match.regex for one in conditions if one.match]
    return [one for one in found if one is not None]


def _path(path: HttpPathMatch | None, prefix: str | None) -> Wire:
    if path is not None and path.exact is not None:
        return {"path": path.exact}
    if path is not None and path.regex is not None:
        return {"safe_regex": {"regex": path.regex}}
    return {"prefix": "/" if prefix is None else prefix}


def header(condition: HttpRouteHeader) -> Wire:
    """A condition on one header."""
    found: Wire = {"name": condition.name}
    if condition.invert:
        found["invert_match"] = True
    match = condition.match
    if match is None:
        return found | {"present_match": True}
    if match.range is not None:
        low, high = _INT64
        start, end = (max(low, min(high, one)) for one in (match.range.start, match.range.end))
        return found | {"range_match": {"start": start, "end": end}}
    if match.regex is not None:
        return found | {"string_match": {"safe_regex": {"regex": match.regex}}}
    if match.exact is not None:
        return found | {"string_match": {"exact": match.exact}}
    return found | {
        "string_match": {"prefix": match.prefix} if match.prefix is not None else {"suffix": match.suffix}
    }


def _query_parameter(parameter: HttpQueryParameter) -> Wire:
    if parameter.match is None or parameter.match.exact is None:
        return {"name": parameter.name, "present_match": True}
    return {"name": parameter.name, "string_match": {"exact": parameter.match.exact}}


def _hostname(hostname: GatewayRouteHostnameMatch) -> Wire:
    """A Host with or without a port, in any case."""
    wanted = re.escape(hostname.exact if hostname.exact is not None else hostname.suffix or "")
    anything = "" if hostname.exact is not None else ".*"
    return {"name": ":authority", "string_match": {"safe_regex": {"regex": f"(?i){anything}{wanted}(:[0-9]+)?"}}}
