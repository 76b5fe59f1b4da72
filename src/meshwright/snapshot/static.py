"""A snapshot as one static configuration: what an Envoy that asks nobody would hold.

The one rule: routes and endpoints stand where the stream would have put them; nothing else is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.snapshot import messages
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE

if TYPE_CHECKING:
    from meshwright.snapshot.resources import EnvoyResource, Snapshot


def as_dict(resource: EnvoyResource) -> dict[str, Any]:
    """A resource as JSON-like values, with the names of Envoy's own documentation."""
    name = resource.type_url.rpartition("/")[2]
    return messages.as_dict(messages.message(name).FromString(resource.body))


def static_resources(snapshot: Snapshot) -> dict[str, Any]:
    """The `static_resources` of a bootstrap that holds `snapshot`."""
    routes = {name: as_dict(one) for name, one in snapshot.of(ROUTE).items()}
    endpoints = {name: as_dict(one) for name, one in snapshot.of(ENDPOINT).items()}
    return {
        "clusters": [_static(as_dict(one), endpoints) for one in snapshot.of(CLUSTER).values()],
        "listeners": [_inlined(as_dict(one), routes) for one in snapshot.of(LISTENER).values()],
    }


def _static(cluster: dict[str, Any], endpoints: dict[str, Any]) -> dict[str, Any]:
    if cluster.get("type") != "EDS":
        return cluster
    kept = {name: value for name, value in cluster.items() if name not in {"eds_cluster_config", "type"}}
    return {**kept, "type": "STATIC", "load_assignment": endpoints[cluster["name"]]}


def _inlined(listener: dict[str, Any], routes: dict[str, Any]) -> dict[str, Any]:
    chains = [*listener.get("filter_chains", ()), listener.get("default_filter_chain", {})]
    for one in (member for chain in chains for member in chain.get("filters", ())):
        rds = one["typed_config"].pop("rds", None)
        if rds is not None:
            one["typed_config"]["route_config"] = routes[rds["route_config_name"]]
    return listener
