"""The snapshot in the making: resources with their origins, and what had to be refused.

The one rule: a resource is added once, finished; nobody edits it afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, ParamSpec

import msgspec

from meshwright.model.identity import Key
from meshwright.model.specs import MeshSpec
from meshwright.snapshot.messages import serialized, type_url
from meshwright.snapshot.resources import Clue, EnvoyResource, Snapshot, Traits, Unserved
from meshwright.snapshot.values import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from meshwright.graph import Graph
    from meshwright.model.specs import EgressFilter, ServiceDiscovery
    from meshwright.snapshot.resources import Endpoints, Placement

P = ParamSpec("P")


class Body(msgspec.Struct, frozen=True):
    """A finished message, serialised, for all proxies that hold it."""

    type_url: str
    name: str
    body: bytes


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

    def add(
        self,
        value: Any,
        origins: Iterable[Key],
        clues: Iterable[Clue] = (),
        expires_at: int = 0,
        leads_to: Key | None = None,
    ) -> str:
        """Add a finished message, or what `made` answered; its name. Envoy forgets it at `expires_at` if not 0.

        `leads_to` is whom a cluster calls: a virtual node, or the mesh for what lies outside.
        """
        made = value if isinstance(value, Body) else _body(value)
        # Other proxies may hold the very same, though it was made for each of them: routes, their listeners.
        body = self.graph.memo.once(bytes, made.body)
        shaped, told = tuple(dict.fromkeys(origins)), tuple(dict.fromkeys(clues))
        self._resources[made.type_url][made.name] = EnvoyResource.of(
            made.type_url, made.name, body, shaped, told, expires_at, leads_to
        )
        return made.name

    def made(self, function: Callable[P, Any], *arguments: P.args, **named: P.kwargs) -> Body:
        """The message that `function` answers, ready to be added; made and serialised once for all who share it."""
        return self.graph.memo.once(_made, function, arguments, tuple(named.items()))

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


def _made(function: Callable[..., Any], arguments: tuple[object, ...], named: tuple[tuple[str, object], ...]) -> Body:
    return _body(function(*arguments, **dict(named)))


def _body(value: Any) -> Body:
    name = str(value.cluster_name if hasattr(value, "cluster_name") else value.name)
    return Body(type_url(value), name, serialized(value))
