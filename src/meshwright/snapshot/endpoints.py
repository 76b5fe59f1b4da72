"""Endpoints of nodes that are found in AWS Cloud Map or registered; those found by DNS Envoy resolves itself.

The one rule: an empty set is sent as an empty set, so that Envoy answers 503 instead of waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from meshwright.snapshot import names
from meshwright.snapshot.messages import message
from meshwright.snapshot.values import Wire, address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.routing import Target
    from meshwright.snapshot.resources import Endpoint


def assignment(target: Target, found: Iterable[Endpoint], preference: str | None, *, only_listener: bool) -> Any:
    """The endpoints of `target`'s listener by zone, narrowed to the address family that the preference demands.

    Unhealthy ones are left out unless all are unhealthy; then Envoy gets them as such, and tries them all the same.
    An instance has one port; a node with several listeners is reached on each listener's own.
    """
    usable = _usable(found, preference, target.port, only_listener=only_listener)
    zones: dict[str, list[Wire]] = {}
    for one in usable:
        zones.setdefault(one.zone, []).append(_endpoint(one))
    return message("envoy.config.endpoint.v3.ClusterLoadAssignment")(
        cluster_name=names.backend(target.node, target.protocol, target.port),
        endpoints=[_locality(zone, zones[zone]) for zone in sorted(zones)],
    )


def _usable(found: Iterable[Endpoint], preference: str | None, port: int, *, only_listener: bool) -> list[Endpoint]:
    """What Envoy is told of, each address and port once, sorted."""
    unique: dict[tuple[str, int], Endpoint] = {}
    for one in sorted(found):
        if (preference == "IPv4_ONLY" and ":" in one.address) or (
            preference == "IPv6_ONLY" and ":" not in one.address
        ):
            continue
        own = one.port if only_listener and one.port else port
        known = unique.get((one.address, own))
        healthy = one.healthy and (known is None or known.healthy)
        zone = one.zone or (known.zone if known else "")
        unique[one.address, own] = replace(one, port=own, healthy=healthy, zone=zone)
    usable = sorted(unique.values())
    return [one for one in usable if one.healthy] or usable


def _locality(zone: str, endpoints: list[Wire]) -> Wire:
    return {"lb_endpoints": endpoints, **({"locality": {"zone": zone}} if zone else {})}


def _endpoint(one: Endpoint) -> Wire:
    health = {} if one.healthy else {"health_status": "UNHEALTHY"}
    return {"endpoint": {"address": address(one.address, one.port)}, **health}
