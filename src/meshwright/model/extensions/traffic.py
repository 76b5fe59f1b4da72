"""Extensions that do something with traffic on its way: faults, mirrors, rate limits, retries.

The one rule: a fault ends. It has a time after which it does nothing, whatever becomes of its author, of the build
that made it, or of the control plane.
"""

from __future__ import annotations

import calendar
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from meshwright.model.extensions.scalars import (
    GrpcErrorStatus,
    HttpErrorStatus,
    HttpStatus,
    Percentage,
    Timestamp,
    Tokens,
)
from meshwright.model.extensions.targets import RouteTarget, TrafficTarget
from meshwright.model.listeners import Duration
from meshwright.model.matching import Headers
from meshwright.model.routes import GrpcRetryPolicy, HttpRetryPolicy
from meshwright.model.scalars import PortNumber, ResourceName, Shape

Callers = Annotated[tuple[ResourceName, ...], Meta(min_length=1, max_length=50)]


class FaultMatch(Shape, frozen=True, kw_only=True):
    """Which requests are concerned: those whose headers (or gRPC metadata) all match."""

    headers: Headers | None = None


class FaultDelay(Shape, frozen=True, kw_only=True):
    """Requests that wait, for `duration`, before they are sent on."""

    duration: Duration
    percentage: Percentage


class FaultAbort(Shape, frozen=True, kw_only=True):
    """Requests that are answered by the proxy itself, with exactly one kind of status."""

    one_of: ClassVar[tuple[str, ...]] = ("http_status", "grpc_status")

    http_status: HttpStatus | None = None
    grpc_status: GrpcErrorStatus | None = None
    percentage: Percentage


class FaultSpec(Shape, frozen=True, kw_only=True):
    """Delays and aborts for a share of the requests, until `expires_at`."""

    any_of: ClassVar[tuple[str, ...]] = ("delay", "abort")

    target: TrafficTarget
    callers: Callers | None = msgspec.field(name="from", default=None)
    """Virtual nodes and gateways whose requests are concerned; without it, everyone's."""
    match: FaultMatch | None = None
    delay: FaultDelay | None = None
    abort: FaultAbort | None = None
    expires_at: Timestamp

    @property
    def expiry(self) -> int:
        """When it ends, in milliseconds since the epoch, UTC."""
        text, _, fraction = self.expires_at.removesuffix("Z").partition(".")
        date, _, time = text.partition("T")
        parts = (*map(int, date.split("-")), *map(int, time.split(":")))
        return calendar.timegm((*parts, 0, 0, 0)) * 1000 + int(f"{fraction}000"[:3])


class MirrorDestination(Shape, frozen=True, kw_only=True):
    """The virtual node that gets the copies, and which port of it where it has several."""

    virtual_node_name: ResourceName
    port: PortNumber | None = None


class MirrorSpec(Shape, frozen=True, kw_only=True):
    """Copies of a share of the requests; the answers to the copies are thrown away."""

    target: RouteTarget
    to: MirrorDestination
    percentage: Percentage


class RateLimitSpec(Shape, frozen=True, kw_only=True):
    """A token bucket in each proxy: a request (a connection, for TCP) takes a token or is refused."""

    target: TrafficTarget
    max_tokens: Tokens
    tokens_per_fill: Tokens | None = None
    """1 unless given."""
    fill_interval: Duration
    """50 ms or more."""
    status_code: HttpErrorStatus | None = None
    """429 unless given."""


class RetryPolicySpec(Shape, frozen=True, kw_only=True):
    """Retries instead of the route's own, and whether they may move to another version of the service.

    With `across_versions` alone it adds to the policies that are there.
    """

    any_of: ClassVar[tuple[str, ...]] = ("http_retry_policy", "grpc_retry_policy", "across_versions")

    target: RouteTarget
    http_retry_policy: HttpRetryPolicy | None = None
    grpc_retry_policy: GrpcRetryPolicy | None = None
    across_versions: bool | None = None
    """False unless given: a retry stays within the version that the weights chose."""
