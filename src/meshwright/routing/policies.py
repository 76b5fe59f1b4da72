"""What extensions about proxies come to for one of them: where it may call out to, what it reports, whom it prefers.

The one rule: of several objects of one kind the most specific holds whole; nothing is mixed from two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.model.extensions import EgressPolicySpec, TelemetrySpec, ZonePolicySpec
from meshwright.model.extensions.proxies import EgressAllowance
from meshwright.model.identity import Key, Kind
from meshwright.model.specs import MeshSpec, VirtualNodeSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.graph import Graph
    from meshwright.model.state import Resource

DEFAULT_HEALTHY = 70
"""Percentage of a zone's instances that must be healthy for all requests to stay in it; Envoy's own choice is 71."""


class Egress(msgspec.Struct, frozen=True, kw_only=True):
    """What a node may call besides its backends and AWS."""

    origin: Key
    """The object that says so: the node's own policy, or the mesh."""
    anything: bool
    """Everything that the application asks for."""
    allowed: tuple[EgressAllowance, ...] = ()
    """What passes nevertheless where not everything does."""


class Zones(msgspec.Struct, frozen=True, kw_only=True):
    """That callers prefer a node's instances in their own zone."""

    origin: Key
    healthy: int
    """Percentage, 1 to 100: with a smaller share of healthy instances, requests spill over to other zones."""


def egress(graph: Graph, node: Key) -> Egress:
    """What `node` may call: by its own policy, else by the mesh's egress filter."""
    for one in graph.extensions(Kind.EGRESS_POLICY, node):
        if isinstance(one.spec, EgressPolicySpec):
            return Egress(origin=one.key, anything=one.spec.type == "ALLOW_ALL", allowed=one.spec.allow or ())
    mesh = graph.state.get(Key.of_mesh(node.mesh))
    filter_ = mesh.spec.egress_filter if mesh and isinstance(mesh.spec, MeshSpec) else None
    return Egress(origin=Key.of_mesh(node.mesh), anything=filter_ is not None and filter_.type == "ALLOW_ALL")


def telemetry(graph: Graph, proxy: Key) -> tuple[Key, TelemetrySpec] | None:
    """What the proxies of a node or gateway report, and the object that says so: their own, else the mesh's."""
    if not graph.has_extensions:
        return None  # as in most meshes
    for one in _about(graph, Kind.TELEMETRY, (proxy, Key.of_mesh(proxy.mesh))):
        if isinstance(one.spec, TelemetrySpec):
            return one.key, one.spec
    return None


def zones(graph: Graph, node: Key, services: Iterable[Key]) -> Zones | None:
    """Whether a caller of `services` prefers the instances of `node` in its own zone.

    What is said of the node holds, else of a service, else of the mesh. A node is one cluster in its callers: a
    policy for one of the services by which a caller reaches it holds for all of them.
    """
    if not graph.has_extensions:
        return None  # as in most meshes, for every node that each proxy calls
    for one in _about(graph, Kind.ZONE_POLICY, (node, *sorted(services), Key.of_mesh(node.mesh))):
        if isinstance(one.spec, ZonePolicySpec):
            healthy = one.spec.min_healthy_percentage
            wanted = max(1, DEFAULT_HEALTHY if healthy is None else healthy)
            return Zones(origin=one.key, healthy=wanted) if one.spec.prefer_same_zone else None
    return None


def registration(graph: Graph, node: Key) -> Key | None:
    """The object by which callers find `node` as its proxies registered, whatever its discovery; None without one."""
    return next((one.key for one in graph.extensions(Kind.REGISTRATION, node)), None)


def found_by_dns(graph: Graph, node: Key) -> bool:
    """Whether callers look up the instances of `node` by themselves, at its hostname."""
    resource = graph.state.get(node)
    spec = resource.spec if resource is not None else None
    discovery = spec.service_discovery if isinstance(spec, VirtualNodeSpec) else None
    return discovery is not None and discovery.dns is not None and registration(graph, node) is None


def _about(graph: Graph, kind: Kind, keys: Iterable[Key]) -> Iterable[Resource]:
    return (one for key in keys for one in graph.extensions(kind, key))
