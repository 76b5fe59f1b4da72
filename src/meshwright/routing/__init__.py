"""What a definition means for a request: order of routes, targets, time limits, retries, TLS.

The one rule: every such decision is made here, once, and used by `snapshot` and `simulate` alike.
"""

from meshwright.routing.extending import Place, at_gateway_route, at_ingress, at_rule, holding
from meshwright.routing.gateways import (
    GatewayTarget,
    PathRewrite,
    gateway_target,
    keeps_host,
    path_rewrite,
    roomiest,
)
from meshwright.routing.matching import MARK, asked_about, grpc_path, hostname_expression, http_path
from meshwright.routing.ordering import gateway_route_match, ordered_gateway_routes, ordered_routes, route_match
from meshwright.routing.outbound import (
    AWS_HOSTS,
    AWS_PORT,
    Tunnel,
    domains,
    named_hosts,
    outside_domains,
    tunnels,
    untaken,
)
from meshwright.routing.policies import DEFAULT_HEALTHY, Egress, Zones, egress, registration, telemetry, zones
from meshwright.routing.ports import ServicePort, service_ports
from meshwright.routing.security import ClientTls, Encryption, client_tls, discovery_name, encryption, unservable
from meshwright.routing.services import LostTarget, Rule, Target, copied, declared_ways, rules
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
    "AWS_HOSTS",
    "AWS_PORT",
    "DEFAULT_HEALTHY",
    "DEFAULT_IDLE",
    "DEFAULT_REQUEST",
    "DEFAULT_RETRY",
    "MARK",
    "ClientTls",
    "Egress",
    "Encryption",
    "GatewayTarget",
    "LostTarget",
    "PathRewrite",
    "Place",
    "Retry",
    "Rule",
    "ServicePort",
    "Target",
    "Timeouts",
    "Tunnel",
    "Zones",
    "asked_about",
    "at_gateway_route",
    "at_ingress",
    "at_rule",
    "client_tls",
    "copied",
    "declared_ways",
    "discovery_name",
    "domains",
    "egress",
    "encryption",
    "gateway_route_match",
    "gateway_target",
    "grpc_path",
    "holding",
    "hostname_expression",
    "http_path",
    "keeps_host",
    "listener_timeouts",
    "longest",
    "named_hosts",
    "ordered_gateway_routes",
    "ordered_routes",
    "outside_domains",
    "path_rewrite",
    "registration",
    "retry",
    "roomiest",
    "route_match",
    "route_timeouts",
    "rules",
    "service_ports",
    "shortest",
    "telemetry",
    "tunnels",
    "unservable",
    "untaken",
    "zones",
]
