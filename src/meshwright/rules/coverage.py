"""Whether one match takes every request that another one takes.

The one rule: `True` is a proof. Where the answer is not certain it is `False`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from meshwright.model.gateway_routes import GatewayRouteSpec, GrpcGatewayRouteMatch, HttpGatewayRouteMatch
from meshwright.model.matching import HttpQueryParameter, HttpRouteHeader
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch, RouteSpec
from meshwright.routing import gateway_route_match, grpc_path, http_path, route_match
from meshwright.routing.expressions import matches

if TYPE_CHECKING:
    from meshwright.model.matching import GatewayRouteHostnameMatch, HeaderMatchMethod

_LITERAL = re.compile(r"(?:[A-Za-z0-9/_~%@!,;:='\" -]|\\[.+*?()\[\]{}|^$/-])*")
"""The part of an expression that stands for itself, escapes included."""


class Paths(msgspec.Struct, frozen=True):
    """A set of paths: one, all with a prefix, or those that an expression matches."""

    kind: str
    """`exact`, `prefix` or `regex`."""
    text: str

    def cover(self, other: Paths) -> bool:
        """Whether every path of `other` is one of these."""
        if self.kind == "prefix":
            return self.text in {"", "/"} or other.beginning.startswith(self.text)
        if self.kind == "exact" or other.kind != "exact":
            return self == other
        return matches(self.text, other.text)

    @property
    def beginning(self) -> str:
        """What all of these paths certainly begin with."""
        if self.kind != "regex":
            return self.text
        if "|" in self.text:
            return ""
        literal = _LITERAL.match(self.text)
        found = literal.group() if literal else ""
        # A quantifier concerns the last character: `/ab?` begins with `/a`.
        if self.text[len(found) :].startswith(("?", "*", "{", "+")):
            found = re.sub(r"\\?.\Z", "", found)
        return _unescaped(found)


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What a route or gateway route of any protocol asks of a request."""

    tcp: bool = False
    grpc: bool = False
    """Only gRPC calls: the content type says so."""
    paths: Paths = Paths("prefix", "/")
    method: str | None = None
    scheme: str | None = None
    hostname: str | None = None
    """`=NAME` whole, `*NAME` by its end."""
    headers: tuple[HttpRouteHeader, ...] = ()
    query: tuple[HttpQueryParameter, ...] = ()

    def covers(self, other: Condition) -> bool:
        """Whether every request that fits `other` fits this too; ports are the caller's business."""
        if self.tcp or other.tcp:
            return self.tcp and other.tcp
        return (
            (other.grpc or not self.grpc)
            and self.method in {None, other.method}
            and self.scheme in {None, other.scheme}
            and _hosts_cover(self.hostname, other.hostname)
            and self.paths.cover(other.paths)
            and all(any(_implies(given, wanted) for given in other.headers) for wanted in self.headers)
            and all(any(_same_query(given, wanted) for given in other.query) for wanted in self.query)
        )


def condition(spec: RouteSpec | GatewayRouteSpec) -> Condition:
    """What `spec` matches, whatever its protocol."""
    match = route_match(spec) if isinstance(spec, RouteSpec) else gateway_route_match(spec)
    match match:
        case HttpRouteMatch() | HttpGatewayRouteMatch():
            return Condition(
                paths=_paths(match),
                method=match.method,
                scheme=match.scheme if isinstance(match, HttpRouteMatch) else None,
                hostname=_hostname(match.hostname) if isinstance(match, HttpGatewayRouteMatch) else None,
                headers=match.headers or (),
                query=match.query_parameters or (),
            )
        case GrpcRouteMatch() | GrpcGatewayRouteMatch():
            return Condition(
                grpc=True,
                paths=Paths(*grpc_path(match)),
                hostname=_hostname(match.hostname) if isinstance(match, GrpcGatewayRouteMatch) else None,
                headers=match.metadata or (),
            )
        case _:
            return Condition(tcp=True)


def _paths(match: HttpRouteMatch | HttpGatewayRouteMatch) -> Paths:
    kind, text = http_path(match)
    return _simplest(text) if kind == "regex" else Paths(kind, text)


def _simplest(expression: str) -> Paths:
    """An expression as the plain path or prefix that it amounts to, where it does."""
    stem = expression.removesuffix(".*")
    if _LITERAL.fullmatch(stem) and not stem.endswith("\\"):
        return Paths("exact" if stem == expression else "prefix", _unescaped(stem))
    return Paths("regex", expression)


def _hostname(hostname: GatewayRouteHostnameMatch | None) -> str | None:
    """A gateway route's hostname in one text."""
    if hostname is None:
        return None
    return f"={hostname.exact}".lower() if hostname.exact is not None else f"*{hostname.suffix}".lower()


def _hosts_cover(wide: str | None, narrow: str | None) -> bool:
    """Whether every Host that fits `narrow` fits `wide`."""
    if wide is None or wide == narrow:
        return True
    return narrow is not None and wide.startswith("*") and narrow[1:].endswith(wide[1:])


def _implies(given: HttpRouteHeader, wanted: HttpRouteHeader) -> bool:
    """Whether a request whose header fits `given` certainly fits `wanted`."""
    if given.name.lower() != wanted.name.lower():
        return False
    if given.match == wanted.match and bool(given.invert) == bool(wanted.invert):
        return True
    if given.invert or wanted.invert:
        return False
    if wanted.match is None:
        return True
    return given.match is not None and _narrower(given.match, wanted.match)


def _narrower(given: HeaderMatchMethod, wanted: HeaderMatchMethod) -> bool:
    """Whether every value that `given` takes is one that `wanted` takes."""
    if wanted.prefix is not None:
        return (given.exact or given.prefix or "").startswith(wanted.prefix)
    if wanted.suffix is not None:
        return (given.exact or given.suffix or "").endswith(wanted.suffix)
    if wanted.regex is not None:
        return wanted.regex == ".*" or (given.exact is not None and matches(wanted.regex, given.exact))
    if wanted.range is not None:
        limits = wanted.range
        if given.range is not None:
            return limits.start <= given.range.start and given.range.end <= limits.end
        exact = given.exact or ""
        return re.fullmatch(r"-?[0-9]{1,18}", exact) is not None and limits.start <= int(exact) < limits.end
    return False


def _same_query(given: HttpQueryParameter, wanted: HttpQueryParameter) -> bool:
    if given.name != wanted.name:
        return False
    value = wanted.match.exact if wanted.match is not None else None
    return value is None or (given.match is not None and given.match.exact == value)


def _unescaped(literal: str) -> str:
    return re.sub(r"\\(.)", r"\1", literal)
