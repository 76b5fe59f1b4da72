"""The snapshot in the making: resources with their origins, and what had to be refused.

The one rule: a resource is added once, finished; nobody edits it afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.model.identity import Key
from meshwright.model.specs import MeshSpec
from meshwright.snapshot.messages import serialized, type_url
from meshwright.snapshot.resources import Clue, EnvoyResource, Snapshot, Traits, Unserved
from meshwright.snapshot.values import Wire

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.graph import Graph
    from meshwright.model.specs import EgressFilter, ServiceDiscovery
    from meshwright.snapshot.resources import Endpoints, Placement


class Held(msgspec.Struct, frozen=True):
    """A number that Envoy looks up while it serves."""

    origin: Key
    value: Wire
    until: int
    """When it is to be forgotten, in milliseconds since the epoch, UTC."""


class Assembly:
    """What one snapshot is built from, and what is there so far."""

    def __init__(
        self, graph: Graph, proxy: Key, endpoints: Endpoints, placement: Placement, traits: Traits, now: int
    ) -> None:
        self.graph = graph
        self.proxy = proxy
        self.endpoints = endpoints
        self.placement = placement
        self.traits = traits
        self.now = now
        mesh = graph.state.get(Key.of_mesh(proxy.mesh))
        self._mesh = mesh.spec if mesh and isinstance(mesh.spec, MeshSpec) else MeshSpec()
        self._resources: defaultdict[str, dict[str, EnvoyResource]] = defaultdict(dict)
        self._unserved: set[Unserved] = set()
        self._changes_at: int | None = None
        self.held: dict[str, Held] = {}
        """The numbers of the runtime layer."""

    def add(self, value: Any, origins: Iterable[Key], clues: Iterable[Clue] = (), expires_at: int = 0) -> str:
        """Add a finished message, which Envoy forgets at `expires_at` unless it is 0; its name."""
        name = str(value.cluster_name if hasattr(value, "cluster_name") else value.name)
        url = type_url(value)
        found = tuple(dict.fromkeys(origins))
        self._resources[url][name] = EnvoyResource.of(
            url, name, serialized(value), found, tuple(dict.fromkeys(clues)), expires_at
        )
        return name

    def refuse(self, subject: Key, path: str, reason: str) -> None:
        """Record what is not served, and why."""
        self._unserved.add(Unserved(subject=subject, path=path, reason=reason))

    def build_again(self, at: int) -> None:
        """Record that time alone changes the snapshot, at `at` milliseconds since the epoch."""
        self._changes_at = at if self._changes_at is None else min(at, self._changes_at)

    def hold(self, origin: Key, name: str, value: Wire, until: int) -> None:
        """Have Envoy look up `value` under `name`, until then, in milliseconds since the epoch."""
        self.held[name] = Held(origin, value, until)

    def snapshot(self) -> Snapshot:
        """The finished snapshot, in order of names."""
        resources = {url: dict(sorted(named.items())) for url, named in sorted(self._resources.items())}
        return Snapshot(
            proxy=self.proxy,
            resources=resources,
            unserved=tuple(sorted(self._unserved)),
            changes_at=self._changes_at,
        )

    @property
    def mesh(self) -> Key:
        """The mesh of the proxy."""
        return Key.of_mesh(self.proxy.mesh)

    @property
    def egress_filter(self) -> EgressFilter | None:
        """The mesh's egress filter."""
        return self._mesh.egress_filter

    def preference(self, discovery: ServiceDiscovery | None = None) -> str | None:
        """The IP preference of a node, or else of the mesh; None without either."""
        own = (discovery.dns or discovery.aws_cloud_map) if discovery else None
        if own is not None and own.ip_preference is not None:
            return own.ip_preference
        return self._mesh.service_discovery.ip_preference if self._mesh.service_discovery else None
