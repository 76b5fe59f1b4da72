"""Extensions that change what HTTP requests and responses say: header edits, cross-origin resource sharing.

The one rule: what App Mesh and Envoy route by (the method, the path, the Host) is nobody's to edit here.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from meshwright.model.extensions.scalars import CorsMethod, FieldName, FieldValue, OriginText
from meshwright.model.extensions.targets import TrafficTarget
from meshwright.model.listeners import Duration
from meshwright.model.scalars import Shape


class HeaderValue(Shape, frozen=True, kw_only=True):
    """One header field."""

    name: FieldName
    value: FieldValue


HeaderValues = Annotated[tuple[HeaderValue, ...], Meta(min_length=1, max_length=50)]
FieldNames = Annotated[tuple[FieldName, ...], Meta(min_length=1, max_length=50)]


class HeaderEdits(Shape, frozen=True, kw_only=True):
    """Removed first, then set, then added."""

    any_of: ClassVar[tuple[str, ...]] = ("set", "add", "remove")

    set: HeaderValues | None = None
    """Instead of what was there."""
    add: HeaderValues | None = None
    """Besides what was there."""
    remove: FieldNames | None = None


class HeaderEditSpec(Shape, frozen=True, kw_only=True):
    """Edits of requests on their way to, and of responses on their way back from, the target."""

    any_of: ClassVar[tuple[str, ...]] = ("request", "response")

    target: TrafficTarget
    request: HeaderEdits | None = None
    response: HeaderEdits | None = None


class OriginMatch(Shape, frozen=True, kw_only=True):
    """How an origin (`https://shop.example`) is compared; a regular expression must match all of it."""

    one_of: ClassVar[tuple[str, ...]] = ("exact", "prefix", "suffix", "regex")

    exact: OriginText | None = None
    prefix: OriginText | None = None
    suffix: OriginText | None = None
    regex: OriginText | None = None


class CorsSpec(Shape, frozen=True, kw_only=True):
    """Which other origins a browser may let call the target."""

    target: TrafficTarget
    allow_origins: Annotated[tuple[OriginMatch, ...], Meta(min_length=1, max_length=50)]
    allow_methods: Annotated[tuple[CorsMethod, ...], Meta(min_length=1, max_length=10)] | None = None
    allow_headers: FieldNames | None = None
    expose_headers: FieldNames | None = None
    max_age: Duration | None = None
    allow_credentials: bool | None = None
