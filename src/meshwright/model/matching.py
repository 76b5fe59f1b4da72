"""What a request is matched on: paths, headers, query parameters, hostnames.

One class stands for each group of published shapes with the same members: `HttpRouteHeader` serves HTTP headers
and gRPC metadata, of routes and of gateway routes alike.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from meshwright.model.scalars import HeaderMatch, HeaderName, HttpPath, Long, MatchedHostname, Shape


class MatchRange(Shape, frozen=True, kw_only=True):
    """A half-open range of integers: `start` is inside, `end` is not."""

    end: Long
    start: Long


class HeaderMatchMethod(Shape, frozen=True, kw_only=True):
    """How a header's or metadata's value is compared: exactly one member."""

    one_of: ClassVar[tuple[str, ...]] = ("exact", "prefix", "range", "regex", "suffix")

    exact: HeaderMatch | None = None
    prefix: HeaderMatch | None = None
    range: MatchRange | None = None
    regex: HeaderMatch | None = None
    suffix: HeaderMatch | None = None


class HttpRouteHeader(Shape, frozen=True, kw_only=True):
    """A header (or gRPC metadata) that must match; without `match` it must merely be present."""

    invert: bool | None = None
    match: HeaderMatchMethod | None = None
    name: HeaderName


class QueryParameterMatch(Shape, frozen=True, kw_only=True):
    """The value that a query parameter must have."""

    exact: str | None = None


class HttpQueryParameter(Shape, frozen=True, kw_only=True):
    """A query parameter that must match; without `match` it must merely be present."""

    match: QueryParameterMatch | None = None
    name: str


class HttpPathMatch(Shape, frozen=True, kw_only=True):
    """A whole path, or an RE2 expression that must match all of it."""

    one_of: ClassVar[tuple[str, ...]] = ("exact", "regex")

    exact: HttpPath | None = None
    regex: HttpPath | None = None


class GatewayRouteHostnameMatch(Shape, frozen=True, kw_only=True):
    """The Host that a request must have, whole or by its end."""

    one_of: ClassVar[tuple[str, ...]] = ("exact", "suffix")

    exact: MatchedHostname | None = None
    suffix: MatchedHostname | None = None


Headers = Annotated[tuple[HttpRouteHeader, ...], Meta(min_length=1, max_length=10)]
QueryParameters = Annotated[tuple[HttpQueryParameter, ...], Meta(min_length=1, max_length=10)]
