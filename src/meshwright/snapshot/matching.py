"""Matches and rewrites of routes and gateway routes in Envoy's words.

The one rule: a condition that App Mesh has and Envoy writes differently is translated here and nowhere else.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from meshwright.model.gateway_routes import GrpcGatewayRouteMatch, HttpGatewayRouteMatch
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch, TcpRouteMatch
from meshwright.routing import (
    asked_about,
    gateway_route_match,
    grpc_path,
    hostname_expression,
    http_path,
    path_rewrite,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meshwright.model.gateway_routes import GatewayRouteSpec
    from meshwright.model.matching import GatewayRouteHostnameMatch, HttpQueryParameter, HttpRouteHeader
    from meshwright.snapshot.values import Wire

AnyMatch: TypeAlias = (
    HttpRouteMatch | GrpcRouteMatch | TcpRouteMatch | HttpGatewayRouteMatch | GrpcGatewayRouteMatch | None
)

_PATHS: Mapping[str, str] = MappingProxyType({"exact": "path", "prefix": "prefix"})
_INT64 = (-(2**63), 2**63 - 1)


def http(match: HttpRouteMatch | HttpGatewayRouteMatch) -> Wire:
    """The match of an HTTP request."""
    scheme = match.scheme if isinstance(match, HttpRouteMatch) else None
    pseudo = [header_is(name, value) for name, value in ((":method", match.method), (":scheme", scheme)) if value]
    return {
        **_path(match),
        "headers": [*pseudo, *(header(one) for one in match.headers or ())],
        "query_parameters": [_query_parameter(one) for one in match.query_parameters or ()],
    }


def grpc(match: GrpcRouteMatch | GrpcGatewayRouteMatch) -> Wire:
    """The match of a gRPC call."""
    kind, path = grpc_path(match)
    return {_PATHS[kind]: path, "grpc": {}, "headers": [header(one) for one in match.metadata or ()]}


def gateway(spec: GatewayRouteSpec) -> Wire:
    """The match of a gateway route, its hostname included."""
    match = gateway_route_match(spec)
    found = http(match) if isinstance(match, HttpGatewayRouteMatch) else grpc(match)
    if match.hostname is not None:
        found["headers"] = [*found["headers"], _hostname(match.hostname)]
    return found


def rewrite(spec: GatewayRouteSpec) -> Wire:
    """What a gateway route does to the path."""
    wanted = path_rewrite(spec)
    if wanted is None:
        return {}
    if wanted.of == "prefix":
        return {"prefix_rewrite": wanted.text}
    # In a substitution a backslash starts a reference to a group.
    whole = wanted.text.replace("\\", "\\\\")
    return {"regex_rewrite": {"pattern": {"regex": "^/.*$"}, "substitution": whole}}


def header_is(name: str, value: str) -> Wire:
    """A header with exactly that value."""
    return {"name": name, "string_match": {"exact": value}}


def preflight(match: AnyMatch, written: Wire) -> Wire | None:
    """The match of the question that a browser asks before a request of `match`, which is `written`.

    None where `match` takes the question too, or nothing tells that the question is about it.
    """
    method = asked_about(match)
    if method is None:
        return None
    rest = [one for one in written["headers"] if one["name"] != ":method"]
    asked = [header_is(":method", "OPTIONS"), header_is("access-control-request-method", method)]
    return written | {"headers": [*asked, {"name": "origin", "present_match": True}, *rest]}


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


def _path(match: HttpRouteMatch | HttpGatewayRouteMatch) -> Wire:
    kind, text = http_path(match)
    return {"safe_regex": {"regex": text}} if kind == "regex" else {_PATHS[kind]: text}


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
    expression = hostname_expression(hostname)
    return {"name": ":authority", "string_match": {"safe_regex": {"regex": expression}}}
