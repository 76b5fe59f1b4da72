"""Extensions that say how proxies work: where they may call out to, what they report, whom they prefer.

The one rule: what is absent is as App Mesh has it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from meshwright.model.extensions.scalars import AttributeKey, AttributeText, HostPattern, HostPort, Percentage
from meshwright.model.extensions.targets import DestinationTarget, NodeTarget, ProxyTarget
from meshwright.model.scalars import EgressFilterType, PercentInt, PortNumber, Shape

EgressProtocol = Literal["tls", "http"]


class EgressAllowance(Shape, frozen=True, kw_only=True):
    """A host outside the mesh that may be called, by TLS server name or by HTTP Host."""

    host: HostPattern
    ports: Annotated[tuple[PortNumber, ...], Meta(min_length=1, max_length=20)]
    protocol: EgressProtocol


class EgressPolicySpec(Shape, frozen=True, kw_only=True):
    """One node's egress filter, instead of the mesh's."""

    target: NodeTarget
    type: EgressFilterType | None = None
    """DROP_ALL unless given."""
    allow: Annotated[tuple[EgressAllowance, ...], Meta(max_length=100)] | None = None
    """What passes although everything else is dropped."""


class TelemetryAttribute(Shape, frozen=True, kw_only=True):
    """A name and a value that go with every span or log record."""

    key: AttributeKey
    value: AttributeText


Attributes = Annotated[tuple[TelemetryAttribute, ...], Meta(min_length=1, max_length=50)]


class OpenTelemetryEndpoint(Shape, frozen=True, kw_only=True):
    """A collector of OpenTelemetry."""

    endpoint: HostPort
    protocol: Literal["grpc"] | None = None


class TracingExport(Shape, frozen=True, kw_only=True):
    """Spans of requests."""

    open_telemetry: OpenTelemetryEndpoint
    sampling_percentage: Percentage | None = None
    """100 unless given; of requests whose caller has not decided already."""
    service_name: AttributeText | None = None
    attributes: Attributes | None = None


class AccessLogExport(Shape, frozen=True, kw_only=True):
    """A log record for each request or connection."""

    open_telemetry: OpenTelemetryEndpoint
    attributes: Attributes | None = None


class TelemetrySpec(Shape, frozen=True, kw_only=True):
    """What proxies report, and to whom."""

    any_of: ClassVar[tuple[str, ...]] = ("tracing", "access_log")

    target: ProxyTarget | None = None
    """Every proxy of the mesh unless given."""
    tracing: TracingExport | None = None
    access_log: AccessLogExport | None = None


class ZonePolicySpec(Shape, frozen=True, kw_only=True):
    """Whether callers prefer the instances in their own zone."""

    target: DestinationTarget | None = None
    """Every destination of the mesh unless given."""
    prefer_same_zone: bool
    min_healthy_percentage: PercentInt | None = None
    """How many instances of the zone must be healthy for all requests to stay in it."""


class RegistrationSpec(Shape, frozen=True, kw_only=True):
    """Clients find the node's instances by what its proxies registered, instead of by its DNS name."""

    target: NodeTarget
