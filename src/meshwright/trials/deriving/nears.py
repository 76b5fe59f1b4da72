"""Calls on both sides of each condition of a match: just inside of it, and just outside.

The one rule: what is handed out differs from a call that the match takes in one part alone, and names the field of a
condition about it; on which side of it a call lies is not said here.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec

from meshwright.model.gateway_routes import GrpcGatewayRouteMatch, HttpGatewayRouteMatch
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch
from meshwright.routing import grpc_path, http_path
from meshwright.trials.deriving.choices import METHODS, sendable
from meshwright.trials.deriving.parts import HOST, METHOD, PATH, SCHEME, Part, conditions, part_of
from meshwright.trials.deriving.texts import (
    longer,
    outside_prefix,
    usable_host,
    usable_path,
    usable_query,
    usable_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.model.matching import GatewayRouteHostnameMatch, HttpQueryParameter, HttpRouteHeader
    from meshwright.simulate import Call
    from meshwright.trials.deriving.parts import Matched
    from meshwright.trials.deriving.texts import Texts

_OF_ONE, _OF_ALL = 11, 32
"""Near calls of one condition, and of all conditions of a match, at most."""


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """What one part of a call is to be."""

    path: str
    """The field of the condition."""
    part: Part
    values: tuple[str, ...]
    """As `parts.with_part` takes it."""
    told: str
    """How the call is then, in a few words."""


def nears(match: Matched, where: str, call: Call, texts: Texts) -> tuple[Near, ...]:
    """What `call`, which `match` takes, may be in one part; of every condition something, before there is more."""
    each: list[Iterator[Near]] = []
    if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        each += _of_http(match, where, texts, call)
        field = f"{where}.headers"
    elif isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch):
        each += _of_grpc(match, where, call)
        field = f"{where}.metadata"
    else:
        return ()
    each += [_of_header(one, f"{field}[{index}]", texts) for index, one in enumerate(conditions(match))]
    if isinstance(match, HttpGatewayRouteMatch | GrpcGatewayRouteMatch) and match.hostname is not None:
        each.append(_of_hostname(match.hostname, f"{where}.hostname"))
    bounded = (itertools.islice(one, _OF_ONE) for one in each)
    found = (near for rank in itertools.zip_longest(*bounded) for near in rank if near is not None)
    return tuple(itertools.islice(found, _OF_ALL))


def _of_http(
    match: HttpRouteMatch | HttpGatewayRouteMatch, where: str, texts: Texts, call: Call
) -> Iterator[Iterator[Near]]:
    kind, text = http_path(match)
    field = f"{where}.prefix" if kind == "prefix" else f"{where}.path.{kind}"
    paths = {"prefix": _beside_prefix, "exact": _beside_exact}[kind](text) if kind != "regex" else _about(text, texts)
    usable = (one for one in dict.fromkeys(paths) if one is not None and usable_path(one))
    yield (Near(path=field, part=PATH, values=(one,), told=f"path {one}") for one in usable)
    if match.method is not None and call.protocol != "grpc":
        methods = [one for one in METHODS if one != match.method][:1]
        yield (Near(path=f"{where}.method", part=METHOD, values=(one,), told=f"method {one}") for one in methods)
    if isinstance(match, HttpRouteMatch) and match.scheme is not None:
        scheme = "http" if match.scheme == "https" else "https"
        yield iter([Near(path=f"{where}.scheme", part=SCHEME, values=(scheme,), told=f"scheme {scheme}")])
    for index, parameter in enumerate(match.query_parameters or ()):
        yield _of_parameter(parameter, f"{where}.queryParameters[{index}]")


def _about(expression: str, texts: Texts) -> Iterator[str]:
    """Texts that tell a path's expression from others, of both sides in turn."""
    inside, outside = texts.about(expression, "path")
    yield from (one for pair in itertools.zip_longest(outside, inside) for one in pair if one is not None)


def _beside_prefix(prefix: str) -> Iterator[str | None]:
    # What begins with a slash alone begins as every path does: there is nothing beside.
    if prefix.strip("/"):
        yield from (outside_prefix(prefix), f"{prefix}x", prefix, f"{prefix.removesuffix('/')}/x")
        yield from (f"{prefix[:-1]}", f"/x{prefix}", prefix.swapcase())


def _beside_exact(path: str) -> Iterator[str]:
    yield from (longer(path), f"{path.removesuffix('/')}/x", f"/x{path}", path[:-1], f"{path}/", path.swapcase())
    yield _undotted(path)


def _beside_text(text: str) -> Iterator[str]:
    yield from (longer(text), f"x{text}", text[:-1], text[1:], text.swapcase(), _undotted(text))


def _undotted(text: str) -> str:
    """`text` with another character for its first dot, as an expression takes it that means the dot and says any."""
    return text.replace(".", "x", 1)


def _of_parameter(parameter: HttpQueryParameter, where: str) -> Iterator[Near]:
    name, part = parameter.name, ("query", parameter.name)
    if not usable_query(name):
        return
    yield Near(path=where, part=part, values=(), told=f"without the parameter {name}")
    exact = parameter.match.exact if parameter.match is not None else None
    for one in ("1", "x") if exact is None else dict.fromkeys(_beside_text(exact)):
        if one != exact and usable_query(one):
            yield Near(path=where, part=part, values=(one,), told=f"parameter {name}={one}")


def _of_grpc(match: GrpcRouteMatch | GrpcGatewayRouteMatch, where: str, call: Call) -> Iterator[Iterator[Near]]:
    if match.service_name is None:
        return
    own, method = match.service_name, call.path.rpartition("/")[2]
    yield _of_names((f"/{one}/{method}" for one in _beside_text(own)), f"{where}.serviceName")
    if grpc_path(match)[0] == "exact":
        yield _of_names((f"/{own}/{one}" for one in _beside_text(method)), f"{where}.methodName")


def _of_names(paths: Iterable[str], where: str) -> Iterator[Near]:
    for one in paths:
        if usable_path(one) and not one.endswith("/"):
            yield Near(path=where, part=PATH, values=(one,), told=f"call {one}")


def _of_header(condition: HttpRouteHeader, where: str, texts: Texts) -> Iterator[Near]:
    part = part_of(condition.name)
    if part[0] == "header":
        yield Near(path=where, part=part, values=(), told=f"without the header {condition.name}")
    for one in dict.fromkeys(_values(condition, texts)):
        if (usable_value(one) and sendable(part, one)) or (not one and part[0] == "header"):
            told = f"header {condition.name}: {one}" if one else f"an empty header {condition.name}"
            yield Near(path=where, part=part, values=(one,), told=told)


def _values(condition: HttpRouteHeader, texts: Texts) -> Iterator[str]:
    match = condition.match
    if match is None:
        yield from ("", "1", "x")
    elif match.range is not None:
        first, end = match.range.start, match.range.end
        yield from map(str, (first - 1, end - 1, end, first))
    elif match.regex is not None:
        inside, outside = texts.about(match.regex, "value")
        yield from (one for pair in itertools.zip_longest(outside, inside) for one in pair if one is not None)
    elif match.exact is not None:
        yield from (longer(match.exact), match.exact, *_beside_text(match.exact))
    elif match.prefix is not None:
        begins = match.prefix
        yield from (*texts.other_values(match), f"{begins}x", begins, begins[:-1], f"x{begins}", begins.swapcase())
    elif match.suffix is not None:
        ends = match.suffix
        yield from (*texts.other_values(match), f"x{ends}", ends, ends[1:], ends.swapcase(), f"x{_undotted(ends)}")


def _of_hostname(hostname: GatewayRouteHostnameMatch, where: str) -> Iterator[Near]:
    """Hosts beside; a name in capitals is the same."""
    name = hostname.exact if hostname.exact is not None else hostname.suffix or ""
    hosts: tuple[str, ...]
    if hostname.exact is not None:
        hosts = (f"{name}.other", f"x{name}", name.upper(), f"x.{name}", name[1:], name[:-1])
    else:
        hosts = (f"{name.lstrip('.')}.other", f"other{name}", f"any{name[1:]}", f"any{name}.other", f"a.b{name}")
    for one in dict.fromkeys(hosts):
        if usable_host(one) and not one.endswith("."):
            yield Near(path=where, part=HOST, values=(one,), told=f"host {one}")
