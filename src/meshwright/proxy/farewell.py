"""A proxy's last word to its control plane: that its endpoint is to go, before its listeners do.

The one rule: it is said through Envoy's own connection to the control plane, which proves who it is by whatever means
the streams do; so whoever stops an Envoy needs no credentials.
"""

from __future__ import annotations

import http.client
import struct
from typing import TYPE_CHECKING, Any

from meshwright.proxy.administration import LocalConnection
from meshwright.proxy.connection import XDS_CLUSTER
from meshwright.proxy.settings import Address
from meshwright.snapshot.messages import message, parsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.proxy.settings import Document, Registered

SECONDS = 2.0
"""How long a control plane may take to hear it; without one, the endpoint goes with its grace period."""

_NAME = "meshwright_farewell"
_TYPE = "type.googleapis.com/"
_METHOD = "/envoy.service.health.v3.HealthDiscoveryService/StreamHealthCheck"


def farewell_listener(endpoint: Registered) -> list[Document]:
    """The listener on the endpoint's Unix socket that leads to the control plane; none where there is no socket."""
    if not endpoint.farewell:
        return []
    route = {"match": {"path": _METHOD}, "route": {"cluster": XDS_CLUSTER, "timeout": f"{SECONDS:g}s"}}
    manager = {
        "@type": f"{_TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": _NAME,
        "route_config": {"virtual_hosts": [{"name": _NAME, "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    filter_ = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    # OUTBOUND: it stays open while inbound listeners are drained.
    return [
        {
            "name": _NAME,
            "address": {"pipe": {"path": endpoint.farewell, "mode": 0o600}},
            "traffic_direction": "OUTBOUND",
            "filter_chains": [{"filters": [filter_]}],
        }
    ]


def say_farewell(document: Mapping[str, Any]) -> bool:
    """Tell the control plane that the endpoint of the Envoy with this bootstrap goes; whether it heard.

    True as well where there is none to go. It waits for the answer, `SECONDS` at most.
    """
    listeners = document.get("static_resources", {}).get("listeners", ())
    path = next((one["address"]["pipe"]["path"] for one in listeners if one.get("name") == _NAME), None)
    if path is None:
        return True
    connection = LocalConnection(Address(path), SECONDS)
    headers = {"host": XDS_CLUSTER, "content-type": "application/grpc", "te": "trailers"}
    try:
        connection.request("POST", _METHOD, _words(document["node"]), headers)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return response.status == 200 and response.getheader("grpc-status", "0") == "0"


def _words(node: dict[str, Any]) -> bytes:
    """Who it is, and that its endpoint is draining: two messages as gRPC frames them."""
    kind = "envoy.service.health.v3.HealthCheckRequestOrEndpointHealthResponse"
    who = message(kind)(health_check_request={"node": parsed("envoy.config.core.v3.Node", node)})
    what = message(kind)(endpoint_health_response={"endpoints_health": [{"health_status": "DRAINING"}]})
    bodies = (who.SerializeToString(), what.SerializeToString())
    return b"".join(struct.pack(">BI", 0, len(body)) + body for body in bodies)
