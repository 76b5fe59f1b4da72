"""The bootstrap of one Envoy, as a JSON document: who it is, where its control plane is, how it resolves names.

Pure: the same settings always give the same document, and everything about traffic comes over xDS, never from here.
It names the files in which secrets lie, and holds none.
Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/bootstrap
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.proxy.connection import (
    XDS_CLUSTER,
    ads,
    control_plane,
    latencies,
    load_reports,
    over_ads,
    peer,
    reporting,
    secret,
)
from meshwright.proxy.farewell import farewell_listener
from meshwright.proxy.settings import Address, Environment, Extras, KeyFile, Settings, Tls, address, proxy_key
from meshwright.routing.expressions import PROGRAM_SIZE
from meshwright.snapshot.resources import FAULTS, Loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.proxy.settings import Document

__all__ = [
    "XDS_CLUSTER",
    "Address",
    "Environment",
    "Extras",
    "KeyFile",
    "Settings",
    "Tls",
    "address",
    "bootstrap",
    "proxy_key",
    "secret",
]

_TYPE = "type.googleapis.com/"
_CONNECTIONS = 50_000
"""Envoy's own advice for a proxy that faces others: without a limit, a flood of connections ends in no memory.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge
"""


def bootstrap(settings: Settings) -> Document:
    """The bootstrap as Envoy's `-c FILE.json` takes it."""
    extras = settings.extras
    document: Document = {
        "node": _node(settings),
        "admin": _admin(settings),
        "dynamic_resources": {
            "ads_config": ads(settings),
            "lds_config": over_ads(extras.fetch_timeout),
            "cds_config": over_ads(extras.fetch_timeout),
        },
        "static_resources": {"clusters": [control_plane(settings), *extras.clusters]},
        "layered_runtime": _runtime(extras.runtime),
        "overload_manager": _limits(),
        **extras.members,
    }
    listeners = list(extras.listeners)
    if settings.endpoint is not None:
        document["hds_config"] = reporting(settings)
        listeners += farewell_listener(settings.endpoint)
    if listeners:
        document["static_resources"]["listeners"] = listeners
    if extras.secrets:
        document["static_resources"]["secrets"] = list(extras.secrets)
    if settings.reports != "none":
        document["cluster_manager"] = {"load_stats_config": load_reports(settings)}
    sinks = [latencies(settings)] if settings.reports == "all" else []
    if sinks or extras.sinks:
        document["stats_sinks"] = [*sinks, *extras.sinks]
    if settings.resolver is not None:
        document["typed_dns_resolver_config"] = _resolver(settings.resolver)
    return document


def _node(settings: Settings) -> Document:
    node: Document = {
        "id": settings.proxy.path,
        "cluster": settings.cluster or settings.proxy.path,
        "metadata": _metadata(settings),
    }
    if settings.zone:
        node["locality"] = {"region": settings.region, "zone": settings.zone}
    return node


def _admin(settings: Settings) -> Document:
    where = settings.admin
    # Its mode is the owner's alone: the administration asks for no password.
    found = {"pipe": {"path": where.host, "mode": 0o600}} if not where.port else peer(where)
    admin: Document = {"address": found}
    if settings.extras.admin_log:
        kind = f"{_TYPE}envoy.extensions.access_loggers.file.v3.FileAccessLog"
        log = {"@type": kind, "path": settings.extras.admin_log}
        admin["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": log}]
    return admin


def _metadata(settings: Settings) -> Document:
    """What the control plane reads of a proxy: its instance, that it has the runtime layer, unusual addresses."""
    told: Document = {"runtime": True}
    if settings.instance:  # else a header tells it
        told["instance"] = settings.instance
    if isinstance(settings.placement, Loopback):
        told["placement"] = msgspec.to_builtins(settings.placement)
    if settings.endpoint is not None:
        told["endpoint"] = {"address": settings.endpoint.address, "port": settings.endpoint.port, "checked": True}
    return {"meshwright": told}


def _runtime(more: Mapping[str, int | bool]) -> Document:
    """App Mesh's proxies took regular expressions of up to 1,000 instructions, where Envoy alone stops at 100.

    What must end by itself, such as faults, comes in a layer over the stream, with a time to live. Envoy waits for it
    when it starts, but not for ever: without it there are no faults.
    """
    faults = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "5s"}
    return {
        "layers": [
            {"name": "meshwright", "static_layer": {"re2.max_program_size.error_level": PROGRAM_SIZE, **more}},
            {"name": FAULTS, "rtds_layer": {"name": FAULTS, "rtds_config": faults}},
            {"name": "admin", "admin_layer": {}},
        ]
    }


def _limits() -> Document:
    name = "envoy.resource_monitors.global_downstream_max_connections"
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    config = {"@type": _TYPE + kind, "max_active_downstream_connections": _CONNECTIONS}
    return {"resource_monitors": [{"name": name, "typed_config": config}]}


def _resolver(server: Address) -> Document:
    kind = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
    config: Mapping[str, Any] = {
        "@type": _TYPE + kind,
        "resolvers": [peer(server)],
        "dns_resolver_options": {"no_default_search_domain": True},
    }
    return {"name": "envoy.network.dns_resolver.cares", "typed_config": config}
