"""Listeners of virtual nodes, routers and gateways: ports, health, pools, timeouts, outlier detection."""

from __future__ import annotations

from typing import ClassVar

from meshwright.model.scalars import (
    AtLeastOne,
    DurationUnit,
    DurationValue,
    HealthCheckIntervalMillis,
    HealthCheckThreshold,
    HealthCheckTimeoutMillis,
    MaxServerErrors,
    PercentInt,
    PortNumber,
    PortProtocol,
    Shape,
    VirtualGatewayPortProtocol,
)
from meshwright.model.tls import ListenerTls


class Duration(Shape, frozen=True, kw_only=True):
    """A length of time; both members are needed to mean anything (`constraints` says so)."""

    unit: DurationUnit | None = None
    value: DurationValue | None = None

    @property
    def milliseconds(self) -> int:
        """The length in milliseconds; 0 stands for "no limit" in App Mesh."""
        return (self.value or 0) * (1 if self.unit == "ms" else 1000)


class HttpTimeout(Shape, frozen=True, kw_only=True):
    """Time limits of HTTP, HTTP/2 and gRPC: without traffic (`idle`), and for a whole request."""

    idle: Duration | None = None
    per_request: Duration | None = None


class TcpTimeout(Shape, frozen=True, kw_only=True):
    """The time limit of a TCP connection without traffic."""

    idle: Duration | None = None


class ListenerTimeout(Shape, frozen=True, kw_only=True):
    """The timeouts of a virtual node's listener, under the listener's protocol."""

    one_of: ClassVar[tuple[str, ...]] = ("grpc", "http", "http2", "tcp")

    grpc: HttpTimeout | None = None
    http: HttpTimeout | None = None
    http2: HttpTimeout | None = None
    tcp: TcpTimeout | None = None


class PortMapping(Shape, frozen=True, kw_only=True):
    """A port and what is spoken on it."""

    port: PortNumber
    protocol: PortProtocol


class VirtualGatewayPortMapping(Shape, frozen=True, kw_only=True):
    """A gateway's port and what is spoken on it; never plain TCP."""

    port: PortNumber
    protocol: VirtualGatewayPortProtocol


class HealthCheckPolicy(Shape, frozen=True, kw_only=True):
    """Active health checks of a virtual node, run by every client's Envoy."""

    healthy_threshold: HealthCheckThreshold
    interval_millis: HealthCheckIntervalMillis
    path: str | None = None
    port: PortNumber | None = None
    protocol: PortProtocol
    timeout_millis: HealthCheckTimeoutMillis
    unhealthy_threshold: HealthCheckThreshold


class VirtualGatewayHealthCheckPolicy(Shape, frozen=True, kw_only=True):
    """Active health checks of a virtual gateway."""

    healthy_threshold: HealthCheckThreshold
    interval_millis: HealthCheckIntervalMillis
    path: str | None = None
    port: PortNumber | None = None
    protocol: VirtualGatewayPortProtocol
    timeout_millis: HealthCheckTimeoutMillis
    unhealthy_threshold: HealthCheckThreshold


class HttpConnectionPool(Shape, frozen=True, kw_only=True):
    """Limits of an HTTP/1.1 listener."""

    max_connections: AtLeastOne
    max_pending_requests: AtLeastOne | None = None


class RequestPool(Shape, frozen=True, kw_only=True):
    """Limits of an HTTP/2 or gRPC listener."""

    max_requests: AtLeastOne


class TcpConnectionPool(Shape, frozen=True, kw_only=True):
    """Limits of a TCP listener."""

    max_connections: AtLeastOne


class VirtualNodeConnectionPool(Shape, frozen=True, kw_only=True):
    """A virtual node's connection pool, under the listener's protocol."""

    one_of: ClassVar[tuple[str, ...]] = ("grpc", "http", "http2", "tcp")

    grpc: RequestPool | None = None
    http: HttpConnectionPool | None = None
    http2: RequestPool | None = None
    tcp: TcpConnectionPool | None = None


class VirtualGatewayConnectionPool(Shape, frozen=True, kw_only=True):
    """A virtual gateway's connection pool, under the listener's protocol."""

    one_of: ClassVar[tuple[str, ...]] = ("grpc", "http", "http2")

    grpc: RequestPool | None = None
    http: HttpConnectionPool | None = None
    http2: RequestPool | None = None


class OutlierDetection(Shape, frozen=True, kw_only=True):
    """Passive health checks, applied by every client's Envoy."""

    base_ejection_duration: Duration
    interval: Duration
    max_ejection_percent: PercentInt
    max_server_errors: MaxServerErrors


class Listener(Shape, frozen=True, kw_only=True):
    """A virtual node's listener."""

    connection_pool: VirtualNodeConnectionPool | None = None
    health_check: HealthCheckPolicy | None = None
    outlier_detection: OutlierDetection | None = None
    port_mapping: PortMapping
    timeout: ListenerTimeout | None = None
    tls: ListenerTls | None = None


class VirtualRouterListener(Shape, frozen=True, kw_only=True):
    """A virtual router's listener: the port that clients call."""

    port_mapping: PortMapping


class VirtualGatewayListener(Shape, frozen=True, kw_only=True):
    """A virtual gateway's listener."""

    connection_pool: VirtualGatewayConnectionPool | None = None
    health_check: VirtualGatewayHealthCheckPolicy | None = None
    port_mapping: VirtualGatewayPortMapping
    tls: ListenerTls | None = None
