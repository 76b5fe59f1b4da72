"""The constrained scalars and enumerations of the 2019-01-25 service model.

Limits, patterns and enumerations stand here once; `tests/test_model_conformance.py` holds them against the
published model. Source: https://docs.aws.amazon.com/app-mesh/latest/APIReference/API_Types.html
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DurationUnit = Literal["s", "ms"]
PortProtocol = Literal["http", "tcp", "http2", "grpc"]
VirtualGatewayPortProtocol = Literal["http", "http2", "grpc"]
HttpScheme = Literal["http", "https"]
HttpMethod = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
IpPreference = Literal["IPv6_PREFERRED", "IPv4_PREFERRED", "IPv4_ONLY", "IPv6_ONLY"]
DnsResponseType = Literal["LOADBALANCER", "ENDPOINTS"]
EgressFilterType = Literal["ALLOW_ALL", "DROP_ALL"]
ListenerTlsMode = Literal["STRICT", "PERMISSIVE", "DISABLED"]
DefaultGatewayRouteRewrite = Literal["ENABLED", "DISABLED"]
GrpcRetryPolicyEvent = Literal["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"]
TcpRetryPolicyEvent = Literal["connection-error"]
StatusCode = Literal["ACTIVE", "INACTIVE", "DELETED"]

ResourceName = Annotated[str, Meta(min_length=1, max_length=255)]
AccountId = Annotated[str, Meta(min_length=12, max_length=12)]
PortNumber = Annotated[int, Meta(ge=1, le=65535)]
Priority = Annotated[int, Meta(ge=0, le=1000)]
PercentInt = Annotated[int, Meta(ge=0, le=100)]
Long = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""Where nothing else limits a number, the published type does: 64 bits, 32 for an integer."""
MaxRetries = Annotated[int, Meta(ge=0, le=2**63 - 1)]
MaxServerErrors = Annotated[int, Meta(ge=1, le=2**63 - 1)]
AtLeastOne = Annotated[int, Meta(ge=1, le=2**31 - 1)]
DurationValue = Annotated[int, Meta(ge=0, le=2**63 - 1)]
HealthCheckThreshold = Annotated[int, Meta(ge=2, le=10)]
HealthCheckIntervalMillis = Annotated[int, Meta(ge=5_000, le=300_000)]
HealthCheckTimeoutMillis = Annotated[int, Meta(ge=2_000, le=60_000)]
HeaderName = Annotated[str, Meta(min_length=1, max_length=50)]
HeaderMatch = Annotated[str, Meta(min_length=1, max_length=255)]
MethodName = Annotated[str, Meta(min_length=1, max_length=50)]
HttpRetryPolicyEvent = Annotated[str, Meta(min_length=1, max_length=25)]
HttpPath = Annotated[str, Meta(min_length=1, max_length=255)]
MatchedHostname = Annotated[str, Meta(min_length=1, max_length=253)]
FilePath = Annotated[str, Meta(min_length=1, max_length=255)]
TextFormat = Annotated[str, Meta(min_length=1, max_length=1000)]
JsonPart = Annotated[str, Meta(min_length=1, max_length=100)]
SubjectAlternativeName = Annotated[str, Meta(min_length=1, max_length=254)]
CloudMapName = Annotated[str, Meta(min_length=1, max_length=1024)]
CloudMapAttributeKey = Annotated[str, Meta(min_length=1, max_length=255, pattern="^[a-zA-Z0-9!-~]+$")]
CloudMapAttributeValue = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1024,
        pattern="^([a-zA-Z0-9!-~][  a-zA-Z0-9!-~]*){0,1}[a-zA-Z0-9!-~]{0,1}$",
    ),
]
TagKey = Annotated[str, Meta(min_length=1, max_length=128)]
TagValue = Annotated[str, Meta(min_length=0, max_length=256)]


class Shape(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """A structure of the service model: immutable, snake_case here, camelCase on the wire.

    An absent member is None; an empty list stays an empty tuple, because replies echo what was sent.
    """

    one_of: ClassVar[tuple[str, ...]] = ()
    """Members of which exactly one must be present."""
    one_of_message: ClassVar[str] = ""
    """The service's own text for that fault, where it is known."""
    any_of: ClassVar[tuple[str, ...]] = ()
    """Members of which at least one must be present."""
    forms: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Sets of members: those that are present must be exactly one of the sets."""

    def __post_init__(self) -> None:
        if self.one_of or self.any_of or self.forms:
            fault = choice_fault(type(self), lambda name: getattr(self, name) is not None)
            if fault:
                raise ValueError(fault)


def choice_fault(shape: type[Shape], present: Callable[[str], bool]) -> str:
    """What is wrong with the choice among the members of `shape`; "" when nothing.

    `present` tells of an attribute's name whether the member is there.
    """
    if shape.one_of:
        found = [name for name in shape.one_of if present(name)]
        if not found and shape.one_of_message:
            return shape.one_of_message
        if len(found) != 1:
            return f"Exactly one of {_wire_names(shape, shape.one_of)} must be set; {_found(shape, found)}"
    if shape.any_of and not any(map(present, shape.any_of)):
        return f"At least one of {_wire_names(shape, shape.any_of)} must be set; none is"
    if shape.forms:
        found = [name for name in dict.fromkeys(itertools.chain(*shape.forms)) if present(name)]
        if set(found) not in [set(form) for form in shape.forms]:
            forms = "; ".join(_wire_names(shape, form, " and ") for form in shape.forms)
            return f"Exactly one of these must be set: {forms}. {_found(shape, found)}"
    return ""


def _found(shape: type[Shape], found: list[str]) -> str:
    return f"found {_wire_names(shape, found)}" if found else "none is"


def _wire_names(shape: type[Shape], names: Iterable[str], glue: str = ", ") -> str:
    wire = {field.name: field.encode_name for field in msgspec.structs.fields(shape)}
    return glue.join(wire[name] for name in names)
