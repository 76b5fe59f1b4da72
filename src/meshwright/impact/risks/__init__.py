"""The risks of a plan: each kind has a code, what it says, and a pure search.

The one rule: a risk is only what gets worse. What was so before the plan, and what gets stricter, is none.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from meshwright.impact.risks import egress, objects, resilience, shares, tls, traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from meshwright.impact.scene import Scene
    from meshwright.impact.values import Risk

__all__ = ["RISKS", "risks"]

RISKS: Mapping[str, str] = MappingProxyType(
    {
        "weight-moved": "A target's share of what a route takes moves by more than 20 percentage points.",
        "requests-diverted": "A new match takes a part of a route's requests to other nodes, or by what senders say.",
        "match-narrowed": "A route that is there still takes less, nothing takes the rest, and it may be called.",
        "called-route-removed": "A route goes away, nothing takes its place, and its service is still called.",
        "called-service-removed": "A virtual service, or what answers for it, goes away, and it is still called.",
        "destination-changed": "A virtual service, or a gateway route, leads to other nodes than before.",
        "discovery-changed": "A virtual node's instances are looked for elsewhere: all that comes to it goes there.",
        "router-emptied": "A virtual router stays, and loses the last of its routes.",
        "protected-deleted": "An object that is protected, by tag or by configuration, is deleted.",
        "protection-removed": "The tag that protects an object is taken from it.",
        "port-changed": "A node, router or gateway stops listening on a port.",
        "protocol-changed": "A node, router or gateway speaks another protocol on a port than before.",
        "tls-weakened": "A listener takes less encryption than before: STRICT, PERMISSIVE, DISABLED, none.",
        "tls-not-enforced": "A client may fall back to plaintext where it could not before.",
        "tls-validation-removed": "A client no longer judges the certificates of servers.",
        "tls-share-moved": "A share of requests moves from targets that listen with TLS to others that do less.",
        "tls-names-loosened": "More names pass in a peer's certificate than before, or any.",
        "mutual-tls-removed": "A listener no longer asks for client certificates, or a client no longer has one.",
        "egress-opened": "Applications may call hosts outside the mesh that they could not call before.",
        "timeout-removed": "A time limit goes away: App Mesh's own is left, or none.",
        "retries-removed": "Requests are no longer tried again.",
        "rate-limit-removed": "A rate limit goes away.",
        "health-check-removed": "A listener's active health check goes away.",
        "outlier-detection-removed": "A listener's outlier detection goes away.",
        "broad-fault": "A fault concerns the requests of everybody, or of more than before.",
    }
)
"""Every code and what it stands for."""

_SEARCHES: tuple[Callable[[Scene], Iterator[Risk]], ...] = (
    shares.moves,
    traffic.destinations,
    traffic.called_services,
    traffic.called_routes,
    traffic.emptied_routers,
    objects.protected,
    objects.ports,
    objects.protocols,
    objects.places,
    tls.listeners,
    tls.clients,
    egress.opened,
    resilience.timeouts,
    resilience.retries,
    resilience.rate_limits,
    resilience.checks,
    objects.faults,
)


def risks(scene: Scene) -> tuple[Risk, ...]:
    """Every risk of the plan, each once, in the order of its changes."""
    place = {one.key: number for number, one in enumerate(scene.plan.changes)}
    found = [one for search in _SEARCHES for one in search(scene)]
    return tuple(sorted(found, key=lambda one: place.get(one.key, len(place))))
