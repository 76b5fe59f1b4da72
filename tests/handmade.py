"""Envoy resources made by hand, so that the ADS server is tested apart from the translation."""

from __future__ import annotations

from typing import Any

from meshwright.model.identity import Key, Kind
from meshwright.snapshot.messages import message, packed, serialized
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, FAULTS, LISTENER, ROUTE, RUNTIME, EnvoyResource, Snapshot

NODE = Key("shop", Kind.VIRTUAL_NODE, "web")
_ADS = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": {"seconds": 0}}


def plain(type_url: str, name: str, version: str = "1") -> EnvoyResource:
    """A resource for tests that never reach an Envoy: its body is its name and version."""
    return EnvoyResource(type_url=type_url, name=name, version=version, body=f"{name} {version}".encode(), origins=())


def snapshot(*resources: EnvoyResource, node: Key = NODE) -> Snapshot:
    """The snapshot of exactly `resources`."""
    by_type: dict[str, dict[str, EnvoyResource]] = {}
    for one in resources:
        by_type.setdefault(one.type_url, {})[one.name] = one
    return Snapshot(proxy=node, resources=by_type)


def cluster(name: str, timeout: float = 1.0) -> EnvoyResource:
    """A cluster whose endpoints come over ADS."""
    made = message("envoy.config.cluster.v3.Cluster")(
        name=name, type="EDS", eds_cluster_config={"eds_config": _ADS}, connect_timeout={"nanos": int(timeout * 1e8)}
    )
    return EnvoyResource.of(CLUSTER, name, serialized(made), (Key("shop", Kind.VIRTUAL_NODE, name),))


def endpoints(name: str, port: int) -> EnvoyResource:
    """One endpoint on 127.0.0.1."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    made = message("envoy.config.endpoint.v3.ClusterLoadAssignment")(
        cluster_name=name, endpoints=[{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    )
    return EnvoyResource.of(ENDPOINT, name, serialized(made), (Key("shop", Kind.VIRTUAL_NODE, name),))


def faults(value: float | None = None, expires_at: int = 0) -> EnvoyResource:
    """The runtime layer with one value, under `meshwright.test`, or none."""
    made = message("envoy.service.runtime.v3.Runtime")(name=FAULTS)
    if value is not None:
        made.layer.update({"meshwright.test": value})
    return EnvoyResource.of(RUNTIME, FAULTS, serialized(made), (NODE,), expires_at=expires_at)


def listener(name: str, host: str, port: int, routes: str) -> EnvoyResource:
    """An HTTP listener whose routes come over ADS."""
    router: Any = packed(message("envoy.extensions.filters.http.router.v3.Router")())
    connections = message("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager")(
        stat_prefix=name, rds={"config_source": _ADS, "route_config_name": routes}
    )
    filter_ = connections.http_filters.add(name="envoy.filters.http.router")
    filter_.typed_config.CopyFrom(router)
    made = message("envoy.config.listener.v3.Listener")(
        name=name, address={"socket_address": {"address": host, "port_value": port}}
    )
    chain = made.filter_chains.add().filters.add(name="envoy.filters.network.http_connection_manager")
    chain.typed_config.CopyFrom(packed(connections))
    return EnvoyResource.of(LISTENER, name, serialized(made), (NODE,))


def route(name: str, cluster_name: str, *, regex: str | None = None) -> EnvoyResource:
    """Everything goes to `cluster_name`; `regex` adds a route before it, good or bad."""
    routes: list[dict[str, Any]] = [{"match": {"prefix": "/"}, "route": {"cluster": cluster_name}}]
    if regex is not None:
        routes.insert(0, {"match": {"safe_regex": {"regex": regex}}, "route": {"cluster": cluster_name}})
    made = message("envoy.config.route.v3.RouteConfiguration")(
        name=name, virtual_hosts=[{"name": "all", "domains": ["*"], "routes": routes}]
    )
    return EnvoyResource.of(ROUTE, name, serialized(made), (Key("shop", Kind.ROUTE, cluster_name, "web"),))
