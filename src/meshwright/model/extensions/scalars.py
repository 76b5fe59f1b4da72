"""The constrained scalars of extensions, beside those that they share with App Mesh.

The one rule: a limit or pattern of an extension's member stands here once; what needs more than one member to judge
is a constraint.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

Percentage = Annotated[float, Meta(ge=0, le=100)]
"""0 to 100; up to four decimals, which `constraints` holds: Envoy counts in millionths."""
Timestamp = Annotated[
    str,
    Meta(
        max_length=30,
        pattern=r"^[1-9]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?Z\Z",
        description="the time in UTC, with a Z behind it, such as 2030-12-01T08:30:00Z",
    ),
]
"""An RFC 3339 date and time in UTC, such as `2026-12-01T08:30:00Z`."""
FieldName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z",
        description="the name of a header, such as x-team; names that begin with a colon are not headers",
    ),
]
"""The name of a header field (RFC 9110); pseudo-headers begin with a colon and are none."""
FieldValue = Annotated[
    str,
    Meta(
        max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*\Z", description="text without line breaks or control characters"
    ),
]
"""The value of a header field: no control characters."""
OriginText = Annotated[str, Meta(min_length=1, max_length=255)]
CorsMethod = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"]
HttpErrorStatus = Annotated[int, Meta(ge=400, le=599)]
HttpStatus = Annotated[int, Meta(ge=200, le=599)]
GrpcErrorStatus = Annotated[int, Meta(ge=1, le=16)]
"""A gRPC status code other than OK."""
Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]
HostPattern = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=253,
        pattern=r"^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*)(\.[A-Za-z0-9_-]+)*\.?\Z",
        description="a DNS name without scheme, port or path, such as api.example.com or *.example.com",
    ),
]
"""A DNS name, or `*.` and a DNS name for everything below it."""
HostPort = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=261,
        pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}\Z",
        description="a host and a port without a scheme, such as otel.example.com:4317",
    ),
]
"""`HOST:PORT`; an IPv6 address stands in brackets."""
AttributeKey = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+\Z")]
AttributeText = Annotated[str, Meta(max_length=1024, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
