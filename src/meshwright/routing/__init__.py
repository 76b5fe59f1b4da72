"""What a definition means for a request: order of routes, targets, time limits, retries, TLS.

The one rule: every such decision is made here, once, and used by `snapshot` and `simulate` alike.
"""

from meshwright.routing.extending import Place, at_gateway_route, at_ingress, at_rule, holding
from meshwright.routing.ordering import (
    gateway_route_match,
    grpc_path,
    ordered_gateway_routes,
    ordered_routes,
    route_match,
)
from meshwright.routing.policies import DEFAULT_HEALTHY, Egress, Zones, egress, registration, telemetry, zones
from meshwright.routing.ports import ServicePort, service_ports
from meshwright.routing.security import ClientTls, client_tls, discovery_name, unservable
from meshwright.routing.services import LostTarget, Rule, Target, copied, rules
from meshwright.routing.timing import (
    DEFAULT_IDLE,
    DEFAULT_REQUEST,
    DEFAULT_RETRY,
    Retry,
    Timeouts,
    listener_timeouts,
    longest,
    retry,
    route_timeouts,
    shortest,
)

__all__ = [
    "DEFAULT_HEALTHY",
    "DEFAULT_IDLE",
    "DEFAULT_REQUEST",
    "DEFAULT_RETRY",
    "ClientTls",
    "Egress",
    "LostTarget",
    "Place",
    "Retry",
    "Rule",
    "ServicePort",
    "Target",
    "Timeouts",
    "Zones",
    "at_gateway_route",
    "at_ingress",
    "at_rule",
    "client_tls",
    "copied",
    "discovery_name",
    "egress",
    "gateway_route_match",
    "grpc_path",
    "holding",
    "listener_timeouts",
    "longest",
    "ordered_gateway_routes",
    "ordered_routes",
    "registration",
    "retry",
    "route_match",
    "route_timeouts",
    "rules",
    "service_ports",
    "shortest",
    "telemetry",
    "unservable",
    "zones",
]
