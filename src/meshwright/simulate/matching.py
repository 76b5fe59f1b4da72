"""Whether a call meets the conditions of a match, and which of them it does not.

The one rule: what is compared is what a proxy compares, and every condition that fails is told, not the first alone.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from meshwright.model.gateway_routes import GrpcGatewayRouteMatch, HttpGatewayRouteMatch
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch
from meshwright.routing import asked_about, grpc_path, hostname_expression, http_path
from meshwright.routing.expressions import matches
from meshwright.routing.paths import split
from meshwright.simulate.verdicts import Miss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.model.matching import HeaderMatchMethod, HttpQueryParameter, HttpRouteHeader
    from meshwright.routing.matching import GatewayMatch, Match, PathKind
    from meshwright.simulate.calls import Call

_INTEGER = re.compile(r"[+-]?[0-9]+")
_INT64 = range(-(2**63), 2**63)


def misses(match: Match | GatewayMatch, call: Call, where: str) -> tuple[Miss, ...]:
    """The conditions of `match`, the field at `where`, that an HTTP request or gRPC call does not meet.

    Its port is the caller's business, and so is whether a TCP route is meant.
    """
    found: list[Miss] = []
    if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        found += _http(match, call, where)
    elif isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch):
        found += _grpc(match, call, where)
    hostname = match.hostname if isinstance(match, HttpGatewayRouteMatch | GrpcGatewayRouteMatch) else None
    if hostname is not None and not matches(hostname_expression(hostname), call.authority):
        exact = hostname.exact
        wanted = repr(exact) if exact is not None else f"ends in {hostname.suffix!r}"
        found.append(Miss(f"{where}.hostname", wanted, repr(call.authority)))
    return tuple(found)


def is_preflight(call: Call) -> bool:
    """Whether a browser asks with it whether a page may make a request."""
    asked = call.values("access-control-request-method")
    return call.verb == "OPTIONS" and bool(call.values("origin")) and bool(asked and asked[0])


def asks_for(match: Match | GatewayMatch, call: Call, where: str) -> bool:
    """Whether `call` is a browser's question about requests of `match`, although its method is another one."""
    method = asked_about(match)
    if method is None or not is_preflight(call) or call.values("access-control-request-method") != (method,):
        return False
    return all(one.path == f"{where}.method" for one in misses(match, call, where))


def fits(condition: HttpRouteHeader, call: Call) -> bool:
    """Whether a header, or metadata, is as wanted: any one of its values, or inverted none of them.

    A header that is not there meets no comparison, inverted or not; inverted presence is absence.
    """
    values = call.values(condition.name)
    inverted = bool(condition.invert)
    if condition.match is None:
        return bool(values) is not inverted
    return bool(values) and any(_value_fits(condition.match, one) for one in values) is not inverted


def _http(match: HttpRouteMatch | HttpGatewayRouteMatch, call: Call, where: str) -> Iterator[Miss]:
    kind, text = http_path(match)
    path, query = split(call.path)
    if not _path_fits(kind, text, path):
        yield Miss(
            f"{where}.prefix" if kind == "prefix" else f"{where}.path.{kind}", _in_words(kind, text), repr(path)
        )
    if match.method is not None and match.method != call.verb:
        yield Miss(f"{where}.method", match.method, call.verb)
    if isinstance(match, HttpRouteMatch) and match.scheme is not None and match.scheme != call.seen_scheme:
        yield Miss(f"{where}.scheme", match.scheme, call.seen_scheme)
    yield from _headers(match.headers or (), call, f"{where}.headers")
    parameters = _parameters(query)
    for index, parameter in enumerate(match.query_parameters or ()):
        value = parameters.get(parameter.name)
        exact = parameter.match.exact if parameter.match else None
        if value is None or exact not in {None, value}:
            had = "none" if value is None else repr(value)
            yield Miss(f"{where}.queryParameters[{index}]", _parameter_in_words(parameter), had)


def _grpc(match: GrpcRouteMatch | GrpcGatewayRouteMatch, call: Call, where: str) -> Iterator[Miss]:
    kinds = call.values("content-type")
    if not any(re.match(r"application/grpc(\+|\Z)", one) for one in kinds):
        yield Miss(where, "a gRPC call: content-type application/grpc", _told(kinds))
    kind, text = grpc_path(match)
    path, _ = split(call.path)
    if not _path_fits(kind, text, path):
        service = f"/{match.service_name}/"
        member = "methodName" if kind == "exact" and path.startswith(service) else "serviceName"
        wanted = repr(getattr(match, "method_name", None)) if member == "methodName" else repr(match.service_name)
        yield Miss(f"{where}.{member}", wanted, repr(path))
    yield from _headers(match.metadata or (), call, f"{where}.metadata")


def _headers(conditions: tuple[HttpRouteHeader, ...], call: Call, where: str) -> Iterator[Miss]:
    for index, condition in enumerate(conditions):
        if not fits(condition, call):
            yield Miss(f"{where}[{index}]", _header_in_words(condition), _told(call.values(condition.name)))


def _path_fits(kind: PathKind, text: str, path: str) -> bool:
    if kind == "regex":
        return matches(text, path)
    return path == text if kind == "exact" else path.startswith(text)


def _value_fits(match: HeaderMatchMethod, value: str) -> bool:
    if match.exact is not None:
        return value == match.exact
    if match.prefix is not None:
        return value.startswith(match.prefix)
    if match.suffix is not None:
        return value.endswith(match.suffix)
    if match.regex is not None:
        return matches(match.regex, value)
    if match.range is None or not _INTEGER.fullmatch(value):
        return False
    number = int(value)
    return number in _INT64 and match.range.start <= number < match.range.end


def _parameters(query: str) -> dict[str, str]:
    """The first value of each parameter, as it is written: nothing is decoded."""
    found: dict[str, str] = {}
    for one in query.removeprefix("?").split("&"):
        name, _, value = one.partition("=")
        found.setdefault(name, value)
    return found


def _in_words(kind: PathKind, text: str) -> str:
    words = {"exact": f"{text!r}", "prefix": f"begins with {text!r}", "regex": f"matches {text!r}"}
    return words[kind]


def _parameter_in_words(parameter: HttpQueryParameter) -> str:
    exact = parameter.match.exact if parameter.match else None
    return f"{parameter.name} is there" if exact is None else f"{parameter.name} is {exact!r}"


def _header_in_words(condition: HttpRouteHeader) -> str:
    inverted = bool(condition.invert)
    match = condition.match
    if match is None:
        return f"{condition.name} is {'not ' * inverted}there"
    if match.range is not None:
        what = f"from {match.range.start} to below {match.range.end}"
    elif match.exact is not None:
        what = repr(match.exact)
    elif match.prefix is not None:
        what = f"what begins with {match.prefix!r}"
    elif match.suffix is not None:
        what = f"what ends in {match.suffix!r}"
    else:
        what = f"what matches {match.regex!r}"
    return f"{condition.name} is {'there and not ' * inverted}{what}"


def _told(values: tuple[str, ...]) -> str:
    return " and ".join(map(repr, values)) if values else "none"
