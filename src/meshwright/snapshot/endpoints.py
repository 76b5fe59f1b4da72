"""Endpoints of nodes that are found in AWS Cloud Map or registered; those found by DNS Envoy resolves itself.

The one rule: an empty set is sent as an empty set, so that Envoy answers 503 instead of waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from meshwright.snapshot import names
from meshwright.snapshot.messages import message
from meshwright.snapshot.values import Wire, address, count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.routing import Target
    from meshwright.snapshot.resources import Endpoint

_WHOLE = 100


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """That a caller prefers the instances in its own zone."""

    zone: str
    healthy: int
    """Percentage of them that must be healthy for all requests to go there, 1 to 100."""

    @property
    def policy(self) -> Wire:
        """Envoy keeps all requests while the healthy share times this factor, 140 % unless told, is 100 % or more.

        Source: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority
        """
        return {"overprovisioning_factor": count(-(-_WHOLE * _WHOLE // self.healthy))}


def assignment(
    target: Target,
    found: Iterable[Endpoint],
    preference: str | None,
    *,
    only_listener: bool,
    near: Near | None = None,
) -> Any:
    """The endpoints of `target`'s listener by zone, narrowed to the address family that the preference demands.

    Unhealthy ones are left out unless all are unhealthy; then Envoy gets them as such, and tries them all the same.
    Those that are starting are left out in any case: to be refused takes a call as long as to find nobody, and while
    all are ill it would be sent there although others answer.
    A caller that prefers those `near` gets all, to know which share of them is healthy; the others are its second
    choice. An instance has one port; a node with several listeners is reached on each listener's own.
    """
    known = [one for one in _known(found, preference, target.port, only_listener=only_listener) if not one.starting]
    usable = known if near else ([one for one in known if one.healthy] or known)
    zones: dict[str, list[Wire]] = {}
    for one in usable:
        zones.setdefault(one.zone, []).append(_endpoint(one))
    first = near.zone if near and near.zone in zones else None
    return message("envoy.config.endpoint.v3.ClusterLoadAssignment")(
        cluster_name=names.backend(target.node, target.protocol, target.port),
        endpoints=[_locality(zone, zones[zone], second=first not in {None, zone}) for zone in sorted(zones)],
        **({"policy": near.policy} if near else {}),
    )


def _known(found: Iterable[Endpoint], preference: str | None, port: int, *, only_listener: bool) -> list[Endpoint]:
    """Each address and port once, sorted."""
    unique: dict[tuple[str, int], Endpoint] = {}
    for one in sorted(found):
        if (preference == "IPv4_ONLY" and ":" in one.address) or (
            preference == "IPv6_ONLY" and ":" not in one.address
        ):
            continue
        own = one.port if only_listener and one.port else port
        known = unique.get((one.address, own))
        unique[one.address, own] = replace(
            one,
            port=own,
            healthy=one.healthy and (known is None or known.healthy),
            starting=one.starting or (known is not None and known.starting),
            zone=one.zone or (known.zone if known else ""),
        )
    return sorted(unique.values())


def _locality(zone: str, endpoints: list[Wire], *, second: bool) -> Wire:
    return {"lb_endpoints": endpoints, "priority": int(second), **({"locality": {"zone": zone}} if zone else {})}


def _endpoint(one: Endpoint) -> Wire:
    health = {} if one.healthy else {"health_status": "UNHEALTHY"}
    return {"endpoint": {"address": address(one.address, one.port)}, **health}
