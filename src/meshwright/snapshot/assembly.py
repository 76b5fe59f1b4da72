"""The snapshot in the making: resources with their origins, and what had to be refused.

The one rule: a resource is added once, finished; nobody edits it afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import msgspec

from meshwright.model.identity import Key
from meshwright.model.specs import MeshSpec
from meshwright.snapshot.messages import serialized, type_url
from meshwright.snapshot.resources import ENDPOINT, Clue, EnvoyResource, Snapshot, Traits, Unserved, version_of
from meshwright.snapshot.values import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from meshwright.graph import Graph
    from meshwright.model.memo import Memo, Recent
    from meshwright.model.specs import EgressFilter, ServiceDiscovery
    from meshwright.snapshot.resources import Endpoints, Placement

P = ParamSpec("P")
T = TypeVar("T")


class Body(msgspec.Struct, frozen=True):
    """A finished message, serialised, for all proxies that hold it."""

    type_url: str
    name: str
    body: bytes
    version: str


class Held(msgspec.Struct, frozen=True):
    """A number that Envoy looks up while it serves."""

    origin: Key
    value: Wire
    until: int
    """When it is to be forgotten, in milliseconds since the epoch, UTC."""


class Part(msgspec.Struct, frozen=True):
    """What was added to a snapshot in one go."""

    resources: Mapping[str, Mapping[str, EnvoyResource]]
    """By type URL and name."""
    unserved: frozenset[Unserved]


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
        self._mesh = mesh_of(graph, proxy)
        self._resources: defaultdict[str, dict[str, EnvoyResource]] = defaultdict(dict)
        self._unserved: set[Unserved] = set()
        self._changes_at: int | None = None
        self._parts: dict[Hashable, tuple[tuple[object, ...], object]] = {}
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
        made = value if isinstance(value, Body) else self._finished(value)
        self._resources[made.type_url][made.name] = EnvoyResource(
            type_url=made.type_url,
            name=made.name,
            version=version_of(made.body, expires_at) if expires_at else made.version,
            body=made.body,
            origins=tuple(dict.fromkeys(origins)),
            clues=tuple(dict.fromkeys(clues)) if clues else (),
            expires_at=expires_at,
            leads_to=leads_to,
        )
        return made.name

    def _finished(self, value: Any) -> Body:
        """A message that was made for this proxy; others may hold the very same: routes, their listeners."""
        return self.graph.memo.once(ready, *_written(value))

    def again(
        self,
        name: Hashable,
        of: tuple[object, ...],
        add: Callable[Concatenate[Assembly, P], T],
        *arguments: P.args,
        **named: P.kwargs,
    ) -> T:
        """Let `add` add the part `name`, or what it added for the last snapshot of this proxy if it is `of` the same.

        It depends on nothing but these and what the proxy leads to without its backends. What time changes is added
        anew.
        """
        known = self._last.parts.get(name)
        if known is not None and known[0] == of:
            self._parts[name] = known
        else:
            apart = Assembly(self.graph, self.proxy, self.endpoints, self.placement, self.traits, self.now)
            answer = add(apart, *arguments, **named)
            known = of, (apart.part, answer)
            if apart._changes_at is None:
                self._parts[name] = known
            else:
                self.build_again(apart._changes_at)
                self.held |= apart.held
        part, answer = cast("tuple[Part, T]", known[1])
        for url, some in part.resources.items():
            self._resources[url].update(some)
        self._unserved.update(part.unserved)
        return answer

    @property
    def part(self) -> Part:
        """All that was added so far."""
        return Part(self._resources, frozenset(self._unserved))

    @cached_property
    def extended(self) -> bool:
        """Whether an extension is about the proxy itself."""
        return self.graph.is_extended(self.proxy)

    @cached_property
    def _last(self) -> Recent:
        return self.graph.recent(self.proxy, self.placement, self.traits)

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
        if self._parts:
            self._last.parts = self._parts
        resources = {url: dict(sorted(named.items())) for url, named in sorted(self._resources.items())}
        return Snapshot(
            proxy=self.proxy,
            resources=resources,
            unserved=tuple(sorted(self._unserved)),
            changes_at=self._changes_at,
        )

    @cached_property
    def mesh(self) -> Key:
        """The mesh of the proxy."""
        return Key.of_mesh(self.proxy.mesh)

    @property
    def egress_filter(self) -> EgressFilter | None:
        """The mesh's egress filter."""
        return self._mesh.egress_filter

    def preference(self, discovery: ServiceDiscovery | None = None) -> str | None:
        """The IP preference of a node, or else of the mesh; None without either."""
        return preference(self._mesh, discovery)


def mesh_of(graph: Graph, key: Key) -> MeshSpec:
    """The spec of the mesh that an object lies in; an empty one where there is no such mesh."""
    mesh = graph.state.get(Key.of_mesh(key.mesh))
    return mesh.spec if mesh and isinstance(mesh.spec, MeshSpec) else MeshSpec()


def preference(mesh: MeshSpec, discovery: ServiceDiscovery | None) -> str | None:
    """The IP preference of a node that is found so, or else of the mesh; None without either."""
    own = (discovery.dns or discovery.aws_cloud_map) if discovery else None
    if own is not None and own.ip_preference is not None:
        return own.ip_preference
    return mesh.service_discovery.ip_preference if mesh.service_discovery else None


def made(memo: Memo, function: Callable[P, Any], *arguments: P.args, **named: P.kwargs) -> Body:
    """The message that `function` answers, ready to be added; made and serialised once for all who share it."""
    return memo.once(_made, function, arguments, tuple(named.items()))


def ready(type_url: str, name: str, body: bytes) -> Body:
    """A message that is serialised already."""
    return Body(type_url, name, body, version_of(body))


def _made(function: Callable[..., Any], arguments: tuple[object, ...], named: tuple[tuple[str, object], ...]) -> Body:
    return ready(*_written(function(*arguments, **dict(named))))


def _written(value: Any) -> tuple[str, str, bytes]:
    """The type URL of a message, its name and its bytes."""
    url = type_url(value)
    return url, value.cluster_name if url == ENDPOINT else value.name, serialized(value)
