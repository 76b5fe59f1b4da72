"""A call taken apart: its path, method, scheme, Host, each parameter and each header, which conditions are about.

The one rule: a condition is about one part, so that what one part is decides nothing about the others.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from meshwright.model.gateway_routes import GrpcGatewayRouteMatch, HttpGatewayRouteMatch
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch, TcpRouteMatch
from meshwright.routing import http_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from meshwright.model.matching import HttpRouteHeader
    from meshwright.simulate import Call

Matched: TypeAlias = (
    HttpRouteMatch | GrpcRouteMatch | TcpRouteMatch | HttpGatewayRouteMatch | GrpcGatewayRouteMatch | None
)
"""What a route or gateway route matches on; None matches everything."""
Part: TypeAlias = tuple[str, str]
"""`path`, `method`, `scheme` or `host` and ""; `query` or `header` and its name, a header's in lower case."""

PATH, METHOD, SCHEME, HOST = (("path", ""), ("method", ""), ("scheme", ""), ("host", ""))
_FORWARDED = "x-forwarded-proto"
_OF_HEADERS: Mapping[str, Part] = MappingProxyType(
    {":path": PATH, ":method": METHOD, ":scheme": SCHEME, _FORWARDED: SCHEME, ":authority": HOST, "host": HOST}
)


def conditions(match: Matched) -> tuple[HttpRouteHeader, ...]:
    """What a match asks of headers or metadata."""
    if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        return match.headers or ()
    return (match.metadata or ()) if isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch) else ()


def part_of(header: str) -> Part:
    """The part that a condition on a header is about."""
    name = header.lower()
    return _OF_HEADERS.get(name, ("header", name))


def parts(match: Matched, where: str) -> Mapping[str, Part]:
    """The part that each condition of a match is about, by its field; `where` is the match's."""
    return dict(_parts(match, where))


def _parts(match: Matched, where: str) -> Iterator[tuple[str, Part]]:
    if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        kind, _ = http_path(match)
        yield f"{where}.prefix" if kind == "prefix" else f"{where}.path.{kind}", PATH
        if match.method is not None:
            yield f"{where}.method", METHOD
        if isinstance(match, HttpRouteMatch) and match.scheme is not None:
            yield f"{where}.scheme", SCHEME
        for index, parameter in enumerate(match.query_parameters or ()):
            yield f"{where}.queryParameters[{index}]", ("query", parameter.name)
        yield from _about_headers(match, f"{where}.headers")
    elif isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch):
        yield f"{where}.serviceName", PATH
        yield f"{where}.methodName", PATH
        yield from _about_headers(match, f"{where}.metadata")
    if isinstance(match, HttpGatewayRouteMatch | GrpcGatewayRouteMatch) and match.hostname is not None:
        yield f"{where}.hostname", HOST


def _about_headers(match: Matched, where: str) -> Iterator[tuple[str, Part]]:
    for index, condition in enumerate(conditions(match)):
        yield f"{where}[{index}]", part_of(condition.name)


def with_part(call: Call, part: Part, values: tuple[str, ...]) -> Call:
    """`call` with that part so: a header may have several values, or none; of the others the first counts.

    A path may bring a query of its own, which stands before what of one there was.
    """
    kind, name = part
    path, _, query = call.path.partition("?")
    if kind == "path":
        proper, _, own = values[0].partition("?")
        asked = own.split("&")
        return msgspec.structs.replace(
            call, path=_joined(proper, [*asked, *(one for one in query.split("&") if one not in asked)])
        )
    if kind == "query":
        others = [one for one in query.split("&") if one.partition("=")[0] != name]
        return msgspec.structs.replace(call, path=_joined(path, [*others, *(f"{name}={one}" for one in values)]))
    if kind == "method":
        return msgspec.structs.replace(call, method=values[0])
    if kind == "host":
        return call.to(values[0])
    header = _FORWARDED if kind == "scheme" else name
    return call.with_headers(drop=(header,), add=tuple((header, one) for one in values))


def _joined(path: str, query: Iterable[str]) -> str:
    asked = "&".join(filter(None, query))
    return f"{path}?{asked}" if asked else path
