"""Clusters: the application itself, the backends, the gateway's way to its own egress, original destinations.

The one rule: health checks, outlier detection and discovery are the server's definitions, carried out by its clients;
connection pools are the server's, carried out by itself.
Sources: https://docs.aws.amazon.com/app-mesh/latest/userguide/virtual_nodes.html
and https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeAlias

from meshwright.model.listeners import VirtualNodeConnectionPool
from meshwright.routing import discovery_name
from meshwright.snapshot import names, tls
from meshwright.snapshot.messages import message, packed
from meshwright.snapshot.values import UNLIMITED, Wire, address, count, duration, extension, is_address, source, tags

if TYPE_CHECKING:
    from meshwright.model.identity import Key
    from meshwright.model.listeners import (
        HealthCheckPolicy,
        Listener,
        OutlierDetection,
        VirtualGatewayConnectionPool,
    )
    from meshwright.model.specs import ServiceDiscovery
    from meshwright.routing import ClientTls, Target
    from meshwright.snapshot.resources import Separate

    Pool: TypeAlias = VirtualNodeConnectionPool | VirtualGatewayConnectionPool | None

_CLUSTER = "envoy.config.cluster.v3.Cluster"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_BY_NAME = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
_MOST = 2**31 - 1
"""App Mesh's "no limit" of a circuit breaker."""
_APPLICATION_CONNECT = 250
_BACKEND_CONNECT = 1_000

_FAMILIES = {"IPv4_PREFERRED": "V4_PREFERRED", "IPv4_ONLY": "V4_ONLY", "IPv6_ONLY": "V6_ONLY"}
"""DNS families by IP preference; AUTO otherwise."""


def application(node: Key, listener: Listener, host: str) -> Any:
    """The cluster of the application behind `listener`, at `host`."""
    port, protocol = listener.port_mapping.port, listener.port_mapping.protocol
    return _static(names.application(node, protocol, port), host, port, protocol, listener.connection_pool)


def self_redirect(name: str, protocol: str, pool: VirtualGatewayConnectionPool | None, host: str, port: int) -> Any:
    """The cluster that leads from a gateway's ingress to its own egress."""
    return _static(name, host, port, protocol, pool)


def backend(
    target: Target,
    discovery: ServiceDiscovery,
    preference: str | None,
    encryption: ClientTls | None,
    separate: Separate | None,
    *,
    resolved: bool,
    typed: bool,
) -> Any:
    """The cluster of a node's listener, as a client sees it; `resolved` by Envoy or else told its endpoints.

    One that is `separate` asks for these at their own service. Names in certificates are `typed` where the Envoy
    knows such.
    """
    listener, protocol = target.listener, target.protocol
    name = names.backend(target.node, protocol, target.port)
    members: Wire = {
        "name": name,
        "connect_timeout": duration(_BACKEND_CONNECT),
        "circuit_breakers": _breakers(None),
        "metadata": tags(TargetVirtualNode=target.node.name),
        **_protocol(protocol),
        **_discovery(name, target.port, discovery if resolved else None, preference, separate),
    }
    if encryption is not None:
        members["transport_socket"] = tls.upstream(encryption, protocol, discovery_name(discovery), typed=typed)
    if listener.health_check is not None:
        authority = f"{discovery_name(discovery)}:{target.port}"
        members["health_checks"] = health_checks(listener.health_check, protocol, authority, target.port)
    if listener.outlier_detection is not None:
        members["outlier_detection"] = _outlier(listener.outlier_detection)
    return message(_CLUSTER)(**members)


def refusing(target: Target) -> Any:
    """A cluster without endpoints: every request gets 503, every connection is closed; nothing leaves the proxy."""
    name = names.backend(target.node, target.protocol, target.port)
    return message(_CLUSTER)(
        name=name,
        type="STATIC",
        connect_timeout=duration(_BACKEND_CONNECT),
        load_assignment={"cluster_name": name},
    )


def original_destination(name: str, *, http: bool = False) -> Any:
    """A cluster that connects to where the application wanted to go; `http`, in the version of HTTP that it spoke."""
    return message(_CLUSTER)(
        name=name,
        type="ORIGINAL_DST",
        lb_policy="CLUSTER_PROVIDED",
        connect_timeout=duration(_BACKEND_CONNECT),
        circuit_breakers=_breakers(None),
        **(_as_spoken() if http else {}),
    )


def elsewhere(name: str, host: str, port: int) -> Any:
    """A cluster that stands for whatever lies outside, at one address, in the version of HTTP that is spoken."""
    return message(_CLUSTER)(
        name=name,
        type="STATIC",
        connect_timeout=duration(_BACKEND_CONNECT),
        load_assignment=_assignment(name, host, port),
        circuit_breakers=_breakers(None),
        **_as_spoken(),
    )


def _as_spoken() -> Wire:
    both: Wire = {"http_protocol_options": {}, "http2_protocol_options": {"allow_connect": True}}
    options = packed(message(_HTTP_OPTIONS)(use_downstream_protocol_config=both))
    return {"typed_extension_protocol_options": {_HTTP_OPTIONS: options}}


def by_name(name: str, preference: str | None) -> Any:
    """A cluster that connects to the host that a request or TLS greeting names, at an address that Envoy looks up."""
    both: Wire = {"http_protocol_options": {}, "http2_protocol_options": {"allow_connect": True}}
    # Envoy asks for both, although no TLS is spoken here: that of the application is passed through.
    checked: Wire = {"upstream_http_protocol_options": {"auto_sni": True, "auto_san_validation": True}}
    return message(_CLUSTER)(
        name=name,
        cluster_type=extension(
            "envoy.clusters.dynamic_forward_proxy", _BY_NAME, dns_cache_config=lookups(preference)
        ),
        lb_policy="CLUSTER_PROVIDED",
        connect_timeout=duration(_BACKEND_CONNECT),
        circuit_breakers=_breakers(None),
        typed_extension_protocol_options={
            _HTTP_OPTIONS: packed(message(_HTTP_OPTIONS)(**checked, use_downstream_protocol_config=both))
        },
    )


def collector(name: str, endpoint: str, preference: str | None) -> Any:
    """The cluster of a collector of telemetry at `HOST:PORT`, which speaks gRPC without TLS."""
    host, _, port = endpoint.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    found: Wire = {"type": "STATIC"}
    if not is_address(host):
        family = _FAMILIES.get(preference or "", "ALL")
        found = {"type": "STRICT_DNS", "dns_lookup_family": family}
        host = absolute(host)
    return message(_CLUSTER)(
        name=name,
        connect_timeout=duration(_BACKEND_CONNECT),
        load_assignment=_assignment(name, host, int(port)),
        **found,
        **_protocol("grpc"),
    )


def lookups(preference: str | None) -> Wire:
    """The cache of looked-up addresses that a cluster `by_name` shares with the filters in front of it.

    Envoy refuses two caches of one name with different settings, so the name says the setting. Without a preference
    both families are asked for and tried: outside the mesh, a name with IPv6 addresses may be called from IPv4 alone.
    """
    family = _FAMILIES.get(preference or "", "ALL")
    return {"name": f"meshwright_{family.lower()}", "dns_lookup_family": family}


def _static(name: str, host: str, port: int, protocol: str, pool: Pool) -> Any:
    return message(_CLUSTER)(
        name=name,
        type="STATIC",
        connect_timeout=duration(_APPLICATION_CONNECT),
        circuit_breakers=_breakers(pool),
        load_assignment=_assignment(name, host, port),
        **_protocol(protocol),
    )


def _assignment(name: str, host: str, port: int) -> Wire:
    endpoint = {"endpoint": {"address": address(host, port)}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}


def _protocol(protocol: str) -> Wire:
    """HTTP/2 where the listener speaks it; HTTP/1.1 is Envoy's own default."""
    if protocol not in {"http2", "grpc"}:
        return {}
    # Extended CONNECT is how HTTP/2 carries a WebSocket (RFC 8441).
    http2: Wire = {"allow_connect": True}
    options = message(_HTTP_OPTIONS)(explicit_http_config={"http2_protocol_options": http2})
    return {"typed_extension_protocol_options": {_HTTP_OPTIONS: packed(options)}}


def _breakers(pool: Pool) -> Any:
    return _limited(pool) if pool else _unlimited()


@functools.cache
def _unlimited() -> Any:
    """What nearly every cluster says; a message that takes it in copies it."""
    return message("envoy.config.cluster.v3.CircuitBreakers")(**_limited(None))


def _limited(pool: Pool) -> Wire:
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), _MOST)
    if pool is not None and pool.http is not None:
        limits["max_connections"] = pool.http.max_connections
        limits["max_pending_requests"] = pool.http.max_pending_requests or _MOST
    elif pool is not None and (streams := pool.http2 or pool.grpc):
        limits["max_requests"] = streams.max_requests
    elif isinstance(pool, VirtualNodeConnectionPool) and pool.tcp is not None:
        limits["max_connections"] = pool.tcp.max_connections
    return {"thresholds": [{name: count(limit) for name, limit in limits.items()}]}


def _discovery(
    name: str, port: int, discovery: ServiceDiscovery | None, preference: str | None, separate: Separate | None
) -> Wire:
    if discovery is None or discovery.dns is None:
        return {
            "type": "EDS",
            "eds_cluster_config": {"eds_config": source(separate)},
            # Without this an instance that Cloud Map has dropped is kept for as long as it passes health checks.
            "ignore_health_on_host_removal": True,
        }
    return {
        "type": "STRICT_DNS" if discovery.dns.response_type == "ENDPOINTS" else "LOGICAL_DNS",
        "dns_lookup_family": _FAMILIES.get(preference or "", "AUTO"),
        # As above, for an instance that has left DNS.
        "ignore_health_on_host_removal": discovery.dns.response_type == "ENDPOINTS",
        "load_assignment": _assignment(name, absolute(discovery.dns.hostname), port),
    }


def absolute(hostname: str) -> str:
    """`hostname` with the dot that keeps resolvers from trying search domains; not for addresses and bare words."""
    if is_address(hostname) or "." not in hostname or hostname.endswith("."):
        return hostname
    return f"{hostname}."


def health_checks(check: HealthCheckPolicy, protocol: str, authority: str, port: int | None = None) -> list[Wire]:
    """The checks of a listener of `protocol`, asked for as `authority`; `port` is that of its endpoints, if not its.

    A check by gRPC of what does not speak HTTP/2 is none.
    """
    members: Wire = {
        "healthy_threshold": count(check.healthy_threshold),
        "unhealthy_threshold": count(check.unhealthy_threshold),
        "interval": duration(check.interval_millis),
        "timeout": duration(check.timeout_millis),
    }
    if port is not None and check.port not in {None, port}:
        members["alt_port"] = count(check.port or port)
    match check.protocol:
        case "tcp":
            members["tcp_health_check"] = {}
        case "grpc":
            if protocol not in {"http2", "grpc"}:
                return []
            members["grpc_health_check"] = {}
        case spoken:
            codec = {"codec_client_type": "HTTP2"} if spoken == "http2" else {}
            path = {"host": authority, "path": check.path or "/"}
            # Without this Envoy gives an instance up at the first answer other than 200, whatever the threshold.
            members["http_health_check"] = codec | path | {"retriable_statuses": [{"start": 100, "end": 600}]}
    return [members]


def _outlier(detection: OutlierDetection) -> Wire:
    return {
        "interval": duration(max(detection.interval.milliseconds, 1)),
        "base_ejection_time": duration(max(detection.base_ejection_duration.milliseconds, 1)),
        "max_ejection_percent": count(detection.max_ejection_percent),
        # App Mesh promises one whatever the share, as Envoy once did by itself; older ones ignore the word.
        "always_eject_one_host": {"value": True},
        # An ejection lasts its time; newer Envoys end it when the instance passes a health check.
        "successful_active_health_check_uneject_host": {"value": False},
        "consecutive_5xx": count(min(detection.max_server_errors, UNLIMITED)),
        # App Mesh ejects on consecutive errors only; Envoy would also compare success rates.
        "enforcing_success_rate": count(0),
    }
