"""What a node's own Envoy is asked to check of its application, over Envoy's health discovery service.

The one rule: a listener's health check policy says it, as it does for the node's clients; without one there is
nothing to check, and a proxy that is connected is healthy.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/health/v3/hds.proto
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.model.specs import VirtualNodeSpec
from meshwright.routing import discovery_name
from meshwright.snapshot import clusters, names
from meshwright.snapshot.assembly import Assembly
from meshwright.snapshot.messages import message, serialized
from meshwright.snapshot.nodes import application_host
from meshwright.snapshot.resources import Traits
from meshwright.snapshot.values import Wire, address, duration

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.model.listeners import Listener
    from meshwright.snapshot.resources import Placement

_REPORT_MILLISECONDS = 1_000
"""Between two reports of what the checks found."""


def specifier(graph: Graph, node: Key, placement: Placement) -> bytes:
    """The `HealthCheckSpecifier` for the Envoy of `node`, serialised; without clusters where nothing is checked."""
    resource = graph.state.get(node)
    spec = resource.spec if resource else None
    checks: list[Any] = []
    if isinstance(spec, VirtualNodeSpec):
        host = application_host(Assembly(graph, node, {}, placement, Traits(), 0), spec)
        name = discovery_name(spec.service_discovery) or node.name
        checks = [_cluster(node, one, host, name) for one in spec.listeners or () if one.health_check]
    return serialized(
        message("envoy.service.health.v3.HealthCheckSpecifier")(
            cluster_health_checks=checks, interval=duration(_REPORT_MILLISECONDS)
        )
    )


def _cluster(node: Key, listener: Listener, host: str, name: str) -> Wire:
    port, protocol = listener.port_mapping.port, listener.port_mapping.protocol
    policy = listener.health_check
    checked = policy.port if policy and policy.port else port
    endpoint = {"address": address(host, checked)}
    checks = clusters.health_checks(policy, protocol, f"{name}:{port}") if policy else []
    return {
        "cluster_name": names.application(node, protocol, port),
        # What is only checked has no traffic, and Envoy would look at it once a minute.
        "health_checks": [{**one, "no_traffic_interval": one["interval"]} for one in checks],
        "locality_endpoints": [{"endpoints": [endpoint]}],
    }
