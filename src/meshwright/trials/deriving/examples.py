"""Calls that a match takes: the plainest, and one that differs in all that it has no condition for.

The one rule: where a condition is met by nothing that was found, its field is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.model.gateway_routes import GrpcGatewayRouteMatch, HttpGatewayRouteMatch
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch
from meshwright.routing import beginning, grpc_path, http_path, unmatchable
from meshwright.trials.deriving.choices import sendable
from meshwright.trials.deriving.parts import SCHEME, part_of, parts, with_part
from meshwright.trials.deriving.texts import Texts, usable_path, usable_query
from meshwright.trials.sendable import hindrance

if TYPE_CHECKING:
    from meshwright.model.matching import HeaderMatchMethod, HttpRouteHeader
    from meshwright.simulate import Call
    from meshwright.trials.deriving.parts import Matched

_AS_SENT = "no URL has such a {}: proxies compare it as it is sent, and {!r} would be sent percent-encoded"
_BLANKS = " \t"
_MORE = (("x-meshwright-more", "1"),)


UNMET = "no example was found that it takes"


class NoExampleError(Exception):
    """No call was found that a match takes."""

    def __init__(self, path: str, reason: str = UNMET) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        """Which condition is to blame."""
        self.reason = reason


class UnsendableError(NoExampleError):
    """What a match takes can be made by others, and not by whoever calls in a run."""


def example(match: Matched, where: str, call: Call, texts: Texts) -> Call:
    """`call` made to meet `match`, the field at `where`; its host and port are the caller's business.

    Raises:
        NoExampleError: none was found, or none that can be sent.
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
    if hindered := hindrance(call):
        raise UnsendableError(_field(match, where, hindered[0]), hindered[1])
    return call


def _field(match: Matched, where: str, part: str) -> str:
    """The condition that is about a part of a call, named as `unsendable` names it; the match itself for others."""
    kind, _, name = part.partition(".")
    wanted = part_of(name) if kind == "headers" else (kind, "")
    return next((path for path, one in parts(match, where).items() if one == wanted), where)


def further(match: Matched, call: Call) -> tuple[Call, ...]:
    """Other calls that `match` takes, as far as its conditions go, as `call` is one that it takes.

    The first differs in all that there is no condition for, each of the others in one of these things.
    """
    if call.protocol == "tcp":
        return ()
    more = call.with_headers(add=_MORE)
    found = [more]
    if (scheme := _other_scheme(match, call)) is not None:
        found.append(with_part(call, SCHEME, (scheme,)))
        more = with_part(more, SCHEME, (scheme,))
    if (path := _further_path(match, call)) is not None:
        found.append(msgspec.structs.replace(call, path=path))
    if call.protocol != "grpc":
        if not (isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch) and match.method):
            found.append(msgspec.structs.replace(call, method="POST"))
        way, mark, query = call.path.partition("?")
        asked = f"{query}&further=1" if mark else "further=1"
        found.append(msgspec.structs.replace(call, path=f"{way}?{asked}"))
        path = f"{path.partition('?')[0]}?{asked}" if path is not None else found[-1].path
    method = "POST" if any(one.method != call.method for one in found) else call.method
    whole = msgspec.structs.replace(more, path=path or call.path, method=method)
    return tuple(dict.fromkeys((whole, *found)))


def _other_scheme(match: Matched, call: Call) -> str | None:
    """Another scheme that a proxy may read, as HTTP/1.1 alone says it; None where it has to be what it is."""
    if not isinstance(match, HttpRouteMatch) or call.protocol != "http" or SCHEME in parts(match, "").values():
        return None
    return "http" if call.seen_scheme == "https" else "https"


def _further_path(match: Matched, call: Call) -> str | None:
    """A path that differs as `match` lets it; None where it has to be what it is."""
    if call.protocol == "grpc":
        if isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch) and match.service_name is not None:
            named = isinstance(match, GrpcRouteMatch) and match.method_name is not None
            return None if named else f"/{match.service_name}/Other"
        return "/lab.Other/Other"
    if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch) and http_path(match)[0] != "prefix":
        return None
    way, mark, query = call.path.partition("?")
    return f"{way.removesuffix('/')}/further/on{mark}{query}"


def _http(match: HttpRouteMatch | HttpGatewayRouteMatch, where: str, call: Call, texts: Texts) -> Call:
    kind, text = http_path(match)
    path = texts.path(text) if kind == "regex" else beginning(text) if kind == "prefix" else text
    if wrong := unmatchable(kind, text):
        at = f"{where}.prefix" if kind == "prefix" else f"{where}.path.exact"
        raise NoExampleError(at, f"no call has such a path when it is compared: {wrong[0]}")
    if path is None or not usable_path(path):
        at = f"{where}.path.{kind}" if kind != "prefix" else f"{where}.prefix"
        raise NoExampleError(at, UNMET if path is None else _AS_SENT.format("path", path))
    query = []
    for index, parameter in enumerate(match.query_parameters or ()):
        value = parameter.match.exact if parameter.match and parameter.match.exact is not None else "1"
        if not usable_query(parameter.name) or not usable_query(value):
            refused = parameter.name if not usable_query(parameter.name) else value
            raise NoExampleError(f"{where}.queryParameters[{index}]", _AS_SENT.format("query", refused))
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
        if condition.invert or condition.name.startswith(":"):  # without these there is no call
            return call
        return _set(call, condition.name, "1")
    others = texts.other_values(condition.match)
    value = (others[0] if others else None) if condition.invert else texts.value(condition.match)
    if value is None or not sendable(part_of(condition.name), value):
        raise NoExampleError(where, _unmet(condition.match))
    return _set(call, condition.name, value)


def _unmet(match: HeaderMatchMethod) -> str:
    """Why nothing meets it that can be sent."""
    text = match.exact or match.prefix or match.suffix
    if text is None:
        return UNMET
    if not text.isascii():
        return f"{text!r} is not ASCII, which paths, methods and Hosts always are"
    first, last = text[0] in _BLANKS and match.suffix is None, text[-1] in _BLANKS and match.prefix is None
    return (
        f"no value is like {text!r}: proxies compare values without the blanks around them"
        if first or last
        else UNMET
    )


def _set(call: Call, name: str, value: str) -> Call:
    if name.startswith(":"):
        return with_part(call, part_of(name), (value,))
    return call.with_headers(set_=((name, value),))
