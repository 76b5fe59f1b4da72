"""Requests as examples of what a match takes, and which route of several takes one.

The one rule: an example says what its match asks for and, besides, what nearly every client says, and nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from meshwright.impact.spelling import spelled
from meshwright.model.gateway_routes import GrpcGatewayRouteMatch, HttpGatewayRouteMatch
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch
from meshwright.routing import beginning, grpc_path, http_path
from meshwright.routing.expressions import matches
from meshwright.simulate import Call, misses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from meshwright.model.matching import HeaderMatchMethod, HttpRouteHeader
    from meshwright.model.scalars import PortProtocol
    from meshwright.routing.matching import GatewayMatch, Match

    Asked = Match | GatewayMatch

T = TypeVar("T")
_USUAL = (("user-agent", "curl/8.9.1"), ("accept", "*/*"))
"""What nearly every client says."""
_FURTHER = "q7/z3"
"""What follows a prefix: nothing that anybody has a route for."""
_OTHER = "something-else"


def calls(match: Asked, host: str, port: int, protocol: PortProtocol) -> tuple[Call, ...]:
    """Some requests that `match` takes at a port; one connection of TCP, and none where nothing was found."""
    if protocol == "tcp":
        return (Call(protocol="tcp", host=host, port=port),)
    paths = tuple(dict.fromkeys(_paths(match)))
    headers = [*_USUAL, *_headers(match)]
    named = match.hostname if isinstance(match, HttpGatewayRouteMatch | GrpcGatewayRouteMatch) else None
    if named is not None:
        headers.insert(0, ("host", named.exact or f"any{named.suffix}"))
    grpc = isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch)
    call = Call(
        protocol="grpc" if grpc else "http2" if protocol == "grpc" else protocol,
        host=host,
        port=port,
        headers=tuple(headers),
    )
    return tuple(_methods(match, call, paths))


def plain(match: Asked) -> bool:
    """Whether a match asks for nothing that the sender may say or leave out: for a path and a method alone."""
    if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        return not match.headers and not match.query_parameters
    return not (isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch) and match.metadata)


def first(several: Iterable[T], match_of: Callable[[T], Asked], call: Call) -> T | None:
    """The first of several in match order that takes `call`; any takes a connection of TCP."""
    for one in several:
        match = match_of(one)
        if call.protocol == "tcp" or (_fits(match, call) and not misses(match, call, "")):
            return one
    return None


def told(call: Call) -> str:
    """A request as people name it: `GET /pay`."""
    return f"{call.verb} {call.path}"


def _fits(match: Asked, call: Call) -> bool:
    """Whether the path may be meant: most routes are told apart by it, and this takes a tenth of the time."""
    if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        kind, text = http_path(match)
    elif isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch):
        kind, text = grpc_path(match)
    else:
        return True
    path = call.path.partition("?")[0]
    if kind == "regex":
        return matches(text, path)
    return path.startswith(text) if kind == "prefix" else path == text


def _methods(match: Asked, call: Call, paths: tuple[str, ...]) -> Iterator[Call]:
    wanted = match.method if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch) else None
    for method in (wanted,) if wanted else ("GET",) if call.protocol == "grpc" else ("GET", "POST"):
        for path in paths:
            yield msgspec.structs.replace(call, path=path, method=method)


def _paths(match: Asked) -> Iterator[str]:
    if isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch):
        kind, text = grpc_path(match)
        yield from (text,) if kind == "exact" else (f"{text}Who",) if text != "/" else ("/q7.Z3/Who",)
        return
    kind, text = http_path(match) if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch) else ("prefix", "/")
    query = "&".join(_parameters(match))
    for one in _http_paths(kind, text):
        yield f"{one}?{query}" if query else one


def _http_paths(kind: str, text: str) -> Iterator[str]:
    if kind == "exact":
        yield text
    elif kind == "regex":
        found = spelled(text)
        if found is not None and found.startswith("/"):
            yield found
    elif (start := beginning(text)) is not None:
        yield start
        yield f"{start.removesuffix('/')}/{_FURTHER}"


def _parameters(match: Asked) -> Iterator[str]:
    for one in (match.query_parameters or ()) if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch) else ():
        value = one.match.exact if one.match is not None else None
        yield f"{one.name}={'1' if value is None else value}"


def _headers(match: Asked) -> Iterator[tuple[str, str]]:
    """What is said to meet the conditions; of several on one header, the last counts."""
    if isinstance(match, HttpRouteMatch) and match.scheme is not None:
        yield "x-forwarded-proto", match.scheme
    if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        conditions = match.headers or ()
    else:
        conditions = (match.metadata or ()) if isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch) else ()
    for one in conditions:
        value = _value(one)
        if value is not None and not one.name.startswith(":"):
            yield one.name, value


def _value(condition: HttpRouteHeader) -> str | None:
    if condition.match is None:
        return None if condition.invert else "1"
    return _OTHER if condition.invert else _text(condition.match)


def _text(match: HeaderMatchMethod) -> str | None:
    if match.range is not None:
        return str(match.range.start)
    if match.regex is not None:
        return spelled(match.regex)
    return match.exact or match.prefix or match.suffix
