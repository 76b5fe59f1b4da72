"""The names of Envoy's resources, exactly as App Mesh gave them: dashboards and StatsD consumers parse them.

A mesh goes by its bare name in them, whoever owns it: an Envoy is of one mesh.

Source: Envoy configuration dumps in the public App Mesh examples (`howto-k8s-fargate`, `howto-ipv6`,
`howto-k8s-connection-pools` of https://github.com/aws/aws-app-mesh-examples).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshwright.model.identity import Key

EGRESS_CLUSTERS = "cds_egress_"
"""With what the names of clusters begin that lead to others."""
INGRESS_PORT = 15000
EGRESS_PORT = 15001
SDS_CLUSTER = "static_cluster_sds_unix_socket"
"""The bootstrap's cluster for the local SDS server."""


def listener(direction: str, address: str, port: int) -> str:
    """`lds_ingress_0.0.0.0_15000`; `direction` is ingress or egress."""
    return f"lds_{direction}_{address}_{port}"


def route_configuration(direction: str, protocol: str, port: int) -> str:
    """`rds_egress_http_8080`."""
    return f"rds_{direction}_{protocol}_{port}"


def application(node: Key, protocol: str, port: int) -> str:
    """The cluster of a node's own application."""
    return f"cds_ingress_{node.mesh_name}_{node.name}_{protocol}_{port}"


def backend(node: Key, protocol: str, port: int) -> str:
    """The cluster of a node as its clients see it; the node's own protocol and port."""
    return f"{EGRESS_CLUSTERS}{node.mesh_name}_{node.name}_{protocol}_{port}"


def self_redirect(gateway: Key, protocol: str, port: int, ingress: int | None) -> str:
    """The cluster by which a gateway's ingress reaches its egress; `ingress` where it has several listeners."""
    middle = "" if ingress is None else f"{ingress}_"
    return f"cds_ingress_{gateway.mesh_name}_{gateway.name}_self_redirect_{middle}{protocol}_{port}"


def amazonaws(node: Key) -> str:
    """The cluster for AWS's own endpoints, which the egress filter always lets through."""
    return f"{EGRESS_CLUSTERS}{node.mesh_name}_amazonaws"


def allow_all(node: Key) -> str:
    """The cluster for everything else when the egress filter allows all."""
    return f"{EGRESS_CLUSTERS}{node.mesh_name}_mesh-allow-all"


def named_hosts(node: Key) -> str:
    """The cluster for hosts outside the mesh that an egress policy names."""
    return f"{EGRESS_CLUSTERS}{node.mesh_name}_named-hosts"


def collector(proxy: Key, endpoint: str) -> str:
    """The cluster of a collector of telemetry at `HOST:PORT`."""
    return f"cds_telemetry_{proxy.mesh_name}_{endpoint}"
