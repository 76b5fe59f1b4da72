"""What a node's own Envoy is asked to check, over Envoy's health discovery service: itself, and its application.

The one rule: the application is checked as a listener's policy says, as the node's clients do it; without a policy it
is taken for well as long as its Envoy listens.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/health/v3/hds.proto
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.model.specs import VirtualNodeSpec
from meshwright.routing import discovery_name
from meshwright.snapshot import clusters, names
from meshwright.snapshot.assembly import Assembly
from meshwright.snapshot.messages import message
from meshwright.snapshot.nodes import application_host
from meshwright.snapshot.resources import Loopback, Traits
from meshwright.snapshot.values import Wire, address, count, duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.model.listeners import Listener
    from meshwright.snapshot.resources import Placement

_REPORT_MILLISECONDS = 1_000
"""Between two reports of what the checks found."""
_OPEN_MILLISECONDS, _OPENED_MILLISECONDS = 500, 10_000
"""Between two looks whether Envoy's own listeners are open, until they are and afterwards."""
OWN = "meshwright_ingress"
"""What Envoy's own listeners are called in reports."""


def specifier(graph: Graph, node: Key, placement: Placement) -> Any:
    """The `HealthCheckSpecifier` for the Envoy of `node`; its `cluster_health_checks` may be none."""
    resource = graph.state.get(node)
    spec = resource.spec if resource else None
    checks: list[Wire] = []
    if isinstance(spec, VirtualNodeSpec):
        host = application_host(Assembly(graph, node, {}, placement, Traits(), 0), spec)
        name = discovery_name(spec.service_discovery) or node.name
        checks += _own(spec.listeners or (), placement)
        checks += (_application(node, one, host, name) for one in spec.listeners or () if one.health_check)
    return message("envoy.service.health.v3.HealthCheckSpecifier")(
        cluster_health_checks=[one for one in checks if one["health_checks"]],
        interval=duration(_REPORT_MILLISECONDS),
    )


def _own(listeners: Sequence[Listener], placement: Placement) -> list[Wire]:
    """Whether Envoy's own listeners are open: it acks what it took a moment before they are.

    One that passes TCP through is left alone: each look would be a connection to the application.
    """
    if isinstance(placement, Loopback):
        http = [one.port_mapping for one in listeners if one.port_mapping.protocol != "tcp"]
        places = [address(placement.ingress, one.port) for one in http]
    else:
        # Nobody is redirected there from here, so the connection leads nowhere.
        places = [address("127.0.0.1", names.INGRESS_PORT)] if listeners else []
    check = {
        "healthy_threshold": count(1),
        "unhealthy_threshold": count(1),
        "timeout": duration(_OPEN_MILLISECONDS),
        "interval": duration(_OPEN_MILLISECONDS),
        "no_traffic_interval": duration(_OPEN_MILLISECONDS),
        "no_traffic_healthy_interval": duration(_OPENED_MILLISECONDS),
        "tcp_health_check": {},
    }
    return [_checked(OWN, [check], places)] if places else []


def _application(node: Key, listener: Listener, host: str, name: str) -> Wire:
    """The application behind a listener, by the listener's policy."""
    port, protocol = listener.port_mapping.port, listener.port_mapping.protocol
    policy = listener.health_check
    checked = policy.port if policy and policy.port else port
    checks = clusters.health_checks(policy, protocol, f"{name}:{port}") if policy else []
    # What is only checked has no traffic, and Envoy would look at it once a minute.
    often = [{**one, "no_traffic_interval": one["interval"]} for one in checks]
    return _checked(names.application(node, protocol, port), often, [address(host, checked)])


def _checked(name: str, checks: list[Wire], places: list[Wire]) -> Wire:
    endpoints = [{"address": one} for one in places]
    return {"cluster_name": name, "health_checks": checks, "locality_endpoints": [{"endpoints": endpoints}]}
