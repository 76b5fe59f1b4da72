"""Endpoints of nodes that AWS Cloud Map discovers; everything else is resolved by Envoy itself.

The one rule: an empty set is sent as an empty set, so that Envoy answers 503 instead of waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.snapshot import names
from meshwright.snapshot.messages import message
from meshwright.snapshot.values import Wire, address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.routing import Target
    from meshwright.snapshot.resources import Endpoint


def assignment(target: Target, found: Iterable[Endpoint], preference: str | None, *, only_listener: bool) -> Any:
    """The endpoints of `target`'s listener, sorted, narrowed to the address family that the preference demands.

    An instance has one port; a node with several listeners is reached on each listener's own.
    """
    endpoints = [
        _endpoint(one, one.port if only_listener else target.port)
        for one in sorted(found)
        if not (preference == "IPv4_ONLY" and ":" in one.address)
        and not (preference == "IPv6_ONLY" and ":" not in one.address)
    ]
    return message("envoy.config.endpoint.v3.ClusterLoadAssignment")(
        cluster_name=names.backend(target.node, target.protocol, target.port),
        endpoints=[{"lb_endpoints": endpoints}] if endpoints else [],
    )


def _endpoint(one: Endpoint, port: int) -> Wire:
    health = {} if one.healthy else {"health_status": "UNHEALTHY"}
    return {"endpoint": {"address": address(one.address, port)}, **health}
