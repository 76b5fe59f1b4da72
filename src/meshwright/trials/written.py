"""A file of tests as people write it: its members, strict, with what each takes.

The one rule: only the form. What it means is a `Trial`, made by `documents.trial_files`; the JSON Schema for editors
is made from these very classes and tables, with the texts under their members, so that it takes what is read.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Mapping

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2048)]
Duration: TypeAlias = Annotated[
    str, Meta(pattern=r"^[0-9]{1,7}(\.[0-9]{1,3})?(ms|s|m)\Z", description="a duration such as 1500ms, 2s or 0.5s")
]
Percentage: TypeAlias = Annotated[
    str,
    Meta(pattern=r"^(100(\.0{1,6})?|[0-9]{1,2}(\.[0-9]{1,6})?)%\Z", description="a percentage such as 90%"),
]
Confidence: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^(?!0{1,2}(\.0{1,6})?%)[0-9]{1,2}(\.[0-9]{1,6})?%\Z",
        description="a percentage such as 99.9%, above 0% and below 100%",
    ),
]
Bandwidth: TypeAlias = Annotated[
    str, Meta(pattern=r"^[0-9]{1,9}(B|KB|MB)/s\Z", description="a rate such as 500B/s or 10KB/s")
]
Instances: TypeAlias = Annotated[
    str, Meta(pattern=r"^[1-9][0-9]{0,2} of [1-9][0-9]{0,2}\Z", description="instances such as '1 of 2'")
]
Status: TypeAlias = Annotated[int, Meta(ge=0, le=599, description="an HTTP status; 0 for no answer at all")]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000)]
GrpcStatus: TypeAlias = Literal[
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
]  # fmt: skip
"""In the order of their numbers, from 0. Source: https://grpc.io/docs/guides/status-codes/"""
GrpcError: TypeAlias = Literal[
    "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
]  # fmt: skip
"""All of them but `OK`."""
Statuses: TypeAlias = Annotated[tuple[Status, ...], Meta(min_length=1)]
GrpcStatuses: TypeAlias = Annotated[tuple[GrpcStatus, ...], Meta(min_length=1)]
Names: TypeAlias = Annotated[tuple[Text, ...], Meta(min_length=1)]

_PLACED = frozenset({"at", "instances"})
_CONFINED = _PLACED | {"when"}
FAULTS: Mapping[str, frozenset[str]] = MappingProxyType({
    "reset": _CONFINED, "refused": _PLACED, "blackhole": _CONFINED, "crash": _PLACED, "lost": _PLACED,
    "unhealthy": _PLACED, "expired_certificate": frozenset({"at"}), "control_plane": frozenset(),
    "latency": _CONFINED | {"jitter"}, "abort": _CONFINED, "bandwidth": _PLACED,
})  # fmt: skip
"""The members of `Given` of which a fault says exactly one, each with what it may say beside; and `at`, if it may."""
BESIDE = ("jitter", "when", "instances", "at")
"""What else a fault may say."""
UNASKED = frozenset({"of", "at_once", "confidence", "steady"})
"""The members of `Expect` that expect nothing by themselves."""
FAULTY = ("steady", "avoided")
"""Those that are about a time with a fault."""


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Strict: a member that is not understood is a fault."""


class Request(_Written, frozen=True, kw_only=True):
    """What is called."""

    url: Text
    """`http://payment.shop.local:8080/quote`, `http2://…`, `grpc://HOST:PORT/SERVICE/METHOD` or `tcp://HOST:PORT`."""
    method: Annotated[str, Meta(pattern=r"^[A-Z]{1,20}\Z", description="a method such as GET")] = "GET"
    headers: dict[Text, str] = {}
    """gRPC carries them as metadata."""
    onward: tuple[Text, ...] = ()
    """Virtual services that the stand-in workloads on its way call in turn, each those of its own backends."""


class Given(_Written, frozen=True, kw_only=True):
    """A fault that holds meanwhile: exactly one of the members from `latency` to `control_plane`, and where."""

    latency: Duration | None = None
    """Answers come so much later."""
    jitter: Duration | None = None
    """With `latency`: up to so much more or less of it."""
    abort: Annotated[int, Meta(ge=200, le=599)] | GrpcError | None = None
    """The application answers with this instead: an HTTP status, or by its name one of gRPC."""
    bandwidth: Bandwidth | None = None
    """Answers trickle at this rate."""
    reset: bool = False
    """The application breaks connections off instead of answering."""
    refused: bool = False
    """Nobody listens where the application should."""
    blackhole: bool = False
    """Connections are taken, and nothing is answered over any; without `when`, nor are health checks."""
    crash: bool = False
    """The instance is gone, with its proxy; it returns afterwards."""
    lost: bool = False
    """DNS or Cloud Map does not tell of the instance any more."""
    unhealthy: bool = False
    """The application fails its health checks; whatever else it is asked it answers."""
    expired_certificate: bool = False
    """The certificate that the node shows has expired."""
    control_plane: Literal["gone"] | None = None
    """The control plane is killed; it returns afterwards."""
    at: Text | None = None
    """The virtual node that it befalls; a crash and a certificate may be a virtual gateway's."""
    instances: Instances | None = None
    """`1 of 2`: one of two, which are run for it, and no more than these; all that run where it is not said."""
    when: dict[Text, str] = {}
    """Only requests with all of these headers are concerned."""


class Span(_Written, frozen=True, kw_only=True):
    """From `at_least` to `at_most`, both inside."""

    at_least: Count = 0
    at_most: Count | None = None


class Times(_Written, frozen=True, kw_only=True):
    """From `at_least` to `at_most`, both inside."""

    at_least: Duration | None = None
    at_most: Duration | None = None


class Reported(_Written, frozen=True, kw_only=True):
    """Spans of one proxy that are alike."""

    at: Text
    """The virtual node or gateway whose proxy told them."""
    kind: Literal["server", "client"] | None = None
    """Of a call that came to it, or of one that it sent on."""
    attributes: dict[Text, str | None] = {}
    """What they say, such as `meshwright.route`; null for an attribute that must not be there."""
    times: Count | Span | None = None
    """How many there are; at least one where it is not said."""


class Expect(_Written, frozen=True, kw_only=True):
    """What must come of it; what is not said is not asked, but that the call ends without an error."""

    status: Status | Statuses | None = None
    """The HTTP status, or one of several. Where neither this is said nor `grpc_status` nor `given_up`, no answer, one
    of 400 or more, or another gRPC status than OK fails."""
    grpc_status: GrpcStatus | GrpcStatuses | None = None
    served_by: Text | Names | None = None
    """The virtual node that answers, or one of several."""
    not_served_by: Text | Names | None = None
    shares: dict[Text, Percentage] = {}
    """What part of all calls each virtual node answers, within the interval of `confidence`."""
    confidence: Confidence | None = None
    """The chance that honest shares pass; 99.9% where it is not said."""
    path: tuple[Text, ...] = ()
    """The virtual nodes and gateways that the call passes, its caller first."""
    attempts: Count | Span | None = None
    """How often the call arrives at instances, as they count."""
    given_up: Times | None = None
    """How long after its arrival each attempt is given up by the caller's proxy, as the workload sees it."""
    within: Duration | None = None
    """How soon the answer comes."""
    headers: dict[Text, str | None] = {}
    """Headers of the answer; null for one that must not be there."""
    arrived: dict[Text, str | None] = {}
    """Headers of the request where it arrives; `:path`, `:method` and `:authority` too."""
    tls: Literal["none", "server", "mutual"] | None = None
    """How the call is encrypted between the two proxies."""
    peer: Text | None = None
    """The name in the client's certificate."""
    errors: Count | None = None
    """How many of the calls may fail to meet the rest of it."""
    spans: tuple[Text | Reported, ...] = ()
    """Virtual nodes and gateways whose proxies told a span of the call, by name; or which spans, by what they say."""
    avoided: bool = False
    """Whether no call arrives where the faults befall instances while they hold, and some do before and after."""
    of: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    """How many calls are made; 1, or 1000 with `shares`, where it is not said."""
    at_once: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    """How many calls are under way at the same time; where it is not said, a few, and no more than the connection
    pools on their way take."""
    steady: bool = False
    """Whether calls are made before, during and after the fault, and while it begins and ends, all held to this."""


class Test(_Written, frozen=True, kw_only=True):
    """One test."""

    name: Text
    from_: Text = msgspec.field(name="from")
    """The virtual node whose application calls, or the virtual gateway that is called from outside."""
    request: Request
    given: tuple[Given, ...] = ()
    expect: Expect


class File(_Written, frozen=True, kw_only=True):
    """A file of tests that says more than tests; one that does not is the list alone."""

    tests: tuple[Test, ...] = ()
    instances: dict[Text, Annotated[int, Meta(ge=1, le=100)]] = {}
    """How many instances of a virtual node or gateway run, by name; 1 where it is not said."""


def said(part: Given | Expect, name: str) -> bool:
    """Whether a member was said: null, false and what is empty say nothing."""
    value = getattr(part, name)
    return value is not None and value is not False and value not in ((), {})
