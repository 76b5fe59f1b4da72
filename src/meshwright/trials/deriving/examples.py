"""Calls that a match takes, and calls just outside of it.

The one rule: each near miss differs from the example in one condition, and names its field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.model.gateway_routes import GrpcGatewayRouteMatch, HttpGatewayRouteMatch
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch
from meshwright.routing import grpc_path, http_path
from meshwright.simulate import Call
from meshwright.trials.deriving.choices import METHODS
from meshwright.trials.deriving.texts import Texts, outside_prefix, usable_path, usable_query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.model.matching import HttpQueryParameter, HttpRouteHeader
    from meshwright.trials.deriving.parts import Matched

_MORE = (("x-meshwright-more", "1"),)


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """A call that meets all conditions of a match but one."""

    path: str
    """The field of the condition."""
    call: Call
    told: str
    """How it differs, in a few words."""


class NoExampleError(Exception):
    """No call was found that a match takes; the text says which condition is to blame."""


def example(match: Matched, where: str, call: Call, texts: Texts) -> Call:
    """`call` made to meet `match`, the field at `where`; its host and port are the caller's business.

    Raises:
        NoExampleError: none was found.
    """
    if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        call = _http(match, where, call, texts)
        conditions, name = match.headers or (), f"{where}.headers"
    elif isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch):
        kind, path = grpc_path(match)
        whole = path if kind == "exact" else f"{path}Who" if path != "/" else "/lab.Workload/Who"
        call = msgspec.structs.replace(call, path=whole)
        conditions, name = match.metadata or (), f"{where}.metadata"
    else:
        return call
    for index, condition in enumerate(conditions):
        call = _with_header(condition, f"{name}[{index}]", call, texts)
    if isinstance(match, HttpGatewayRouteMatch | GrpcGatewayRouteMatch) and match.hostname is not None:
        host = match.hostname.exact or f"any{match.hostname.suffix}"
        call = call.to(host)
    return call


def further(match: Matched, call: Call) -> Call:
    """Another call that `match` takes, as far from `call`, which it takes, as its conditions let it be."""
    if call.protocol == "tcp":
        return call
    path = call.path
    if call.protocol == "grpc":
        if isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch) and match.service_name is not None:
            named = isinstance(match, GrpcRouteMatch) and match.method_name is not None
            path = path if named else f"/{match.service_name}/Other"
        else:
            path = "/lab.Other/Other"
        return msgspec.structs.replace(call.with_headers(add=_MORE), path=path)
    way, mark, query = path.partition("?")
    if match is None or (
        isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch) and http_path(match)[0] == "prefix"
    ):
        way = f"{way.removesuffix('/')}/further/on"
    method = call.method
    if match is None or (isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch) and match.method is None):
        method = "POST"
    more = f"{query}&further=1" if mark else "further=1"
    return msgspec.structs.replace(call.with_headers(add=_MORE), path=f"{way}?{more}", method=method)


def near_misses(match: Matched, where: str, call: Call, texts: Texts) -> Iterator[Near]:
    """Calls just outside of `match`, made from `call`, which it takes."""
    if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        yield from _beside_http(match, where, call, texts)
        conditions, name = match.headers or (), f"{where}.headers"
    elif isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch):
        yield from _beside_grpc(match, where, call)
        conditions, name = match.metadata or (), f"{where}.metadata"
    else:
        return
    for index, condition in enumerate(conditions):
        yield from _beside_header(condition, f"{name}[{index}]", call, texts)
    if isinstance(match, HttpGatewayRouteMatch | GrpcGatewayRouteMatch) and match.hostname is not None:
        wanted = match.hostname.exact or match.hostname.suffix or ""
        yield Near(path=f"{where}.hostname", call=call.to(f"{wanted}.other"), told=f"host {wanted}.other")


def _http(match: HttpRouteMatch | HttpGatewayRouteMatch, where: str, call: Call, texts: Texts) -> Call:
    kind, text = http_path(match)
    path = texts.path(text) if kind == "regex" else text
    if path is None or not usable_path(path):
        raise NoExampleError(f"{where}.path.{kind}" if kind != "prefix" else f"{where}.prefix")
    query = []
    for index, parameter in enumerate(match.query_parameters or ()):
        value = parameter.match.exact if parameter.match and parameter.match.exact is not None else "1"
        if not usable_query(parameter.name) or not usable_query(value):
            raise NoExampleError(f"{where}.queryParameters[{index}]")
        query.append(f"{parameter.name}={value}")
    scheme = match.scheme if isinstance(match, HttpRouteMatch) else None
    told = (("x-forwarded-proto", scheme),) if scheme and scheme != call.scheme else ()
    return msgspec.structs.replace(
        call,
        path=path + (f"?{'&'.join(query)}" if query else ""),
        method=match.method or call.method,
        headers=(*call.headers, *told),
    )


def _with_header(condition: HttpRouteHeader, where: str, call: Call, texts: Texts) -> Call:
    if condition.match is None:
        return call if condition.invert else _set(call, condition.name, "1")
    others = texts.other_values(condition.match)
    value = (others[0] if others else None) if condition.invert else texts.value(condition.match)
    if value is None:
        raise NoExampleError(where)
    return _set(call, condition.name, value)


def _beside_http(
    match: HttpRouteMatch | HttpGatewayRouteMatch, where: str, call: Call, texts: Texts
) -> Iterator[Near]:
    kind, text = http_path(match)
    path, _, query = call.path.partition("?")
    if kind == "prefix":
        other = outside_prefix(text)
    elif kind == "exact":
        other = f"{path}x"
    else:
        other = texts.outside(text, path, usable_path)
    if other is not None:
        field = f"{where}.prefix" if kind == "prefix" else f"{where}.path.{kind}"
        whole = other + (f"?{query}" if query else "")
        yield Near(path=field, call=msgspec.structs.replace(call, path=whole), told=f"path {other}")
    if match.method is not None:
        method = next(one for one in METHODS if one != match.method)
        yield Near(path=f"{where}.method", call=msgspec.structs.replace(call, method=method), told=f"method {method}")
    if isinstance(match, HttpRouteMatch) and match.scheme is not None:
        scheme = "http" if match.scheme == "https" else "https"
        yield Near(path=f"{where}.scheme", call=_set(call, "x-forwarded-proto", scheme), told=f"scheme {scheme}")
    for index, parameter in enumerate(match.query_parameters or ()):
        yield from _beside_parameter(parameter, f"{where}.queryParameters[{index}]", call)


def _beside_parameter(parameter: HttpQueryParameter, where: str, call: Call) -> Iterator[Near]:
    path, _, query = call.path.partition("?")
    others = [one for one in query.split("&") if one.partition("=")[0] != parameter.name]
    without = path + (f"?{'&'.join(others)}" if others else "")
    yield Near(
        path=where, call=msgspec.structs.replace(call, path=without), told=f"without the parameter {parameter.name}"
    )
    if parameter.match is not None and parameter.match.exact is not None:
        changed = "&".join([*others, f"{parameter.name}={parameter.match.exact}x"])
        yield Near(
            path=where,
            call=msgspec.structs.replace(call, path=f"{path}?{changed}"),
            told=f"parameter {parameter.name}={parameter.match.exact}x",
        )


def _beside_grpc(match: GrpcRouteMatch | GrpcGatewayRouteMatch, where: str, call: Call) -> Iterator[Near]:
    if match.service_name is None:
        return
    method = call.path.rpartition("/")[2]
    other = f"/{match.service_name}x/{method}"
    yield Near(path=f"{where}.serviceName", call=msgspec.structs.replace(call, path=other), told=f"call {other}")
    if isinstance(match, GrpcRouteMatch) and match.method_name is not None:
        other = f"/{match.service_name}/{match.method_name}x"
        yield Near(path=f"{where}.methodName", call=msgspec.structs.replace(call, path=other), told=f"call {other}")


def _beside_header(condition: HttpRouteHeader, where: str, call: Call, texts: Texts) -> Iterator[Near]:
    name = condition.name
    if condition.match is None:
        if condition.invert:
            yield Near(path=where, call=_set(call, name, "1"), told=f"with a header {name}")
        else:
            yield Near(path=where, call=call.with_headers(drop=(name,)), told=f"without the header {name}")
        return
    yield Near(path=where, call=call.with_headers(drop=(name,)), told=f"without the header {name}")
    inside = texts.value(condition.match)
    values = ((inside,) if inside else ()) if condition.invert else texts.other_values(condition.match)
    for value in values:
        yield Near(path=where, call=_set(call, name, value), told=f"header {name}: {value}")


def _set(call: Call, name: str, value: str) -> Call:
    return call.with_headers(set_=((name, value),))
