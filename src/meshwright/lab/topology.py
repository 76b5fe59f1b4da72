"""What a lab must run for a state: which workloads, on which ports, calling whom, found under which names.

Pure: a list of roles from a graph; addresses and processes come later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.errors import UsageError
from meshwright.model.identity import Key, Kind
from meshwright.model.scalars import PortProtocol
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec, VirtualRouterSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.graph import Graph


class Port(msgspec.Struct, frozen=True, order=True):
    """A port and what is spoken on it: `http`, `http2`, `grpc` or `tcp`."""

    number: int
    protocol: PortProtocol


class Backend(msgspec.Struct, frozen=True, order=True):
    """A virtual service as callers see it: the name they ask for, on the port of its provider's first listener."""

    service: str
    port: Port


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual node or gateway that the lab runs."""

    key: Key
    instances: int
    ports: tuple[Port, ...]
    hostname: str
    """The name in DNS; "" for gateways and for nodes that are not found by DNS."""
    backends: tuple[Backend, ...]
    """Whom its workload calls for each request, in document order; a gateway has no workload."""


def roles(graph: Graph, instances: Mapping[str, int]) -> tuple[Role, ...]:
    """The roles of every node and gateway of `graph`, by key; `instances` counts by node name, 1 where it is silent.

    Raises:
        UsageError: `instances` names no node, or asks for less than one.
    """
    nodes = graph.state.of(Kind.VIRTUAL_NODE)
    gateways = graph.state.of(Kind.VIRTUAL_GATEWAY)
    names = {one.key.name for one in (*nodes, *gateways)}
    for name, count in instances.items():
        if name not in names or count < 1:
            raise UsageError(f"cannot run {count} instances of {name!r}; known here: {', '.join(sorted(names))}")
    found = []
    for one in (*gateways, *nodes):
        count = instances.get(one.key.name, 1)
        ports = _ports(graph, one.key)
        called = tuple(_backend(graph, key) for key in graph.entry_services(one.key))
        backends = tuple(backend for backend in called if backend is not None)
        if one.key.kind is Kind.VIRTUAL_GATEWAY:
            backends = ()
        found.append(
            Role(key=one.key, instances=count, ports=ports, hostname=_hostname(graph, one.key), backends=backends)
        )
    return tuple(found)


def _backend(graph: Graph, service: Key) -> Backend | None:
    """How to call `service`; None where nothing answers for it, which a definition may say."""
    provider = graph.provider(service)
    ports = () if provider is None else _ports(graph, provider)
    return Backend(service.name, ports[0]) if ports else None


def _ports(graph: Graph, key: Key) -> tuple[Port, ...]:
    spec = graph.state[key].spec
    if not isinstance(spec, VirtualNodeSpec | VirtualRouterSpec | VirtualGatewaySpec):
        raise TypeError(f"{key} has no listeners")
    mappings = [listener.port_mapping for listener in spec.listeners or ()]
    return tuple(Port(mapping.port, mapping.protocol) for mapping in mappings)


def _hostname(graph: Graph, key: Key) -> str:
    spec = graph.state[key].spec
    if not isinstance(spec, VirtualNodeSpec) or spec.service_discovery is None:
        return ""
    found = spec.service_discovery.dns
    return "" if found is None else found.hostname
