"""The whole of one or more meshes at one moment, as a value.

A `State` is never changed: `put` and `drop` answer with another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping  # noqa: TC003 - annotations are read at runtime
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from meshwright.model.extensions import (
    CorsSpec,
    EgressPolicySpec,
    FaultSpec,
    HeaderEditSpec,
    MirrorSpec,
    RateLimitSpec,
    RegistrationSpec,
    RetryPolicySpec,
    TelemetrySpec,
    ZonePolicySpec,
)
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Key, Kind
from meshwright.model.layered import Layered
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import (
    MeshSpec,
    TagRef,
    VirtualGatewaySpec,
    VirtualNodeSpec,
    VirtualRouterSpec,
    VirtualServiceSpec,
)

Extension: TypeAlias = (
    FaultSpec
    | MirrorSpec
    | HeaderEditSpec
    | CorsSpec
    | RateLimitSpec
    | EgressPolicySpec
    | RetryPolicySpec
    | TelemetrySpec
    | ZonePolicySpec
    | RegistrationSpec
)
"""The spec of an object of an extension kind."""

Spec: TypeAlias = (
    MeshSpec
    | VirtualNodeSpec
    | VirtualServiceSpec
    | VirtualRouterSpec
    | RouteSpec
    | VirtualGatewaySpec
    | GatewayRouteSpec
    | Extension
)

SPECS: Mapping[Kind, type[Spec]] = MappingProxyType(
    {
        Kind.MESH: MeshSpec,
        Kind.VIRTUAL_NODE: VirtualNodeSpec,
        Kind.VIRTUAL_SERVICE: VirtualServiceSpec,
        Kind.VIRTUAL_ROUTER: VirtualRouterSpec,
        Kind.ROUTE: RouteSpec,
        Kind.VIRTUAL_GATEWAY: VirtualGatewaySpec,
        Kind.GATEWAY_ROUTE: GatewayRouteSpec,
        Kind.FAULT: FaultSpec,
        Kind.MIRROR: MirrorSpec,
        Kind.HEADER_EDIT: HeaderEditSpec,
        Kind.CORS: CorsSpec,
        Kind.RATE_LIMIT: RateLimitSpec,
        Kind.EGRESS_POLICY: EgressPolicySpec,
        Kind.RETRY_POLICY: RetryPolicySpec,
        Kind.TELEMETRY: TelemetrySpec,
        Kind.ZONE_POLICY: ZonePolicySpec,
        Kind.REGISTRATION: RegistrationSpec,
    }
)
"""The spec's shape for each kind."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the server keeps about an object; times are milliseconds since the epoch, UTC."""

    uid: str
    version: int
    created_at: int
    last_updated_at: int
    mesh_owner: str
    resource_owner: str


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One object: what it is, what it should do, and who put it there."""

    key: Key
    spec: Spec
    tags: tuple[TagRef, ...] = ()
    stack: str = ""
    """The stack that the object belongs to; "" for none."""
    unreleased: bool = False
    """Whether its stack's owner made it apart from a release: releases leave it alone until one names it."""
    owned: tuple[Key, ...] = ()
    """Of an extension that has a stack: what it reaches that was its stack's own, or nobody's, when it was put."""
    metadata: Metadata | None = None
    """None for an object that was read from a file."""

    def in_release_of(self, stack: str) -> bool:
        """Whether a release of `stack` put it there, so that the next one without it deletes it."""
        return self.stack == stack and not self.unreleased


_Objects: TypeAlias = Layered[Key, Resource]
_Shelf: TypeAlias = tuple[Kind, str | None, str | None]

_SMALL = 32
"""Up to so many objects, a state is not worth arranging before it is asked for some of them."""


class State:
    """All objects by key, iterated in the order of their keys.

    What is made from a state shares all but the changes with it, so that a write costs the same in a mesh of
    thousands as in an empty one.
    """

    __slots__ = ("_all", "_shelves")

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self._all: _Objects = Layered({one.key: one for one in resources})
        self._shelves: Layered[_Shelf, _Objects] | None = None
        """The same objects by kind, by kind and mesh, and by what they lie in; made when first asked for."""

    def __getitem__(self, key: Key) -> Resource:
        found = self._all.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        return isinstance(key, Key) and self._all.get(key) is not None

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._all.ordered())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State) or len(self) != len(other):
            return False
        return not any(self.get(key) != other.get(key) for key in self._all.differing(other._all))

    def __hash__(self) -> int:
        return hash(frozenset(one for _, one in self._all.items()))

    def __repr__(self) -> str:
        return f"State({len(self)} objects)"

    def get(self, key: Key) -> Resource | None:
        """The object, or None."""
        return self._all.get(key)

    def of(self, kind: Kind, mesh: str | None = None, parent: str | None = None) -> tuple[Resource, ...]:
        """The objects of one kind, narrowed to a mesh and to a router or gateway, in order of their keys."""
        if mesh is None and parent is not None:
            return tuple(one for one in self.of(kind) if one.key.parent == parent)
        found = self._shelf(kind, mesh, parent)
        return () if found is None else found.ordered()

    def count(self, kind: Kind, mesh: str | None = None, parent: str | None = None) -> int:
        """How many objects `of` would answer with."""
        if mesh is None and parent is not None:
            return len(self.of(kind, mesh, parent))
        found = self._shelf(kind, mesh, parent)
        return 0 if found is None else len(found)

    @property
    def meshes(self) -> tuple[str, ...]:
        """The names of every mesh that an object lies in, declared or not."""
        return tuple(sorted({key.mesh for key, _ in self._all.items()}))

    def put(self, *resources: Resource) -> State:
        """This state with `resources` added or replaced."""
        return self._changed({one.key: one for one in resources})

    def drop(self, *keys: Key) -> State:
        """This state without `keys`; those that are not there do not matter."""
        return self._changed({key: None for key in keys if key in self._all})

    def differing(self, other: State) -> tuple[Key, ...]:
        """The keys of what is in one of the two only, or differs; cheap where one was made from the other."""
        return tuple(sorted(key for key in self._all.differing(other._all) if self.get(key) != other.get(key)))

    def _changed(self, changes: dict[Key, Resource | None]) -> State:
        if not changes:
            return self
        state = State()
        state._all = self._all.changed(changes)
        # A large state has its shelves made before another one is made from it: both have them then, for one price.
        shelves = self._arranged() if len(self._all) > _SMALL else self._shelves
        state._shelves = None if shelves is None else shelves.changed(_rearranged(shelves, changes))
        return state

    def _arranged(self) -> Layered[_Shelf, _Objects]:
        if self._shelves is None:
            self._shelves = Layered(_rearranged(Layered(), dict(self._all.items())))
        return self._shelves

    def _shelf(self, kind: Kind, mesh: str | None, parent: str | None) -> _Objects | None:
        if parent == "" and kind.parent is None:
            # What lies in the mesh itself.
            parent = None
        return self._arranged().get((kind, mesh, parent))


def _rearranged(shelves: Layered[_Shelf, _Objects], changes: Mapping[Key, Resource | None]) -> dict[_Shelf, _Objects]:
    """The shelves that `changes` touch, as they become."""
    found: dict[_Shelf, dict[Key, Resource | None]] = {}
    for key, resource in changes.items():
        places: tuple[_Shelf, ...] = ((key.kind, None, None), (key.kind, key.mesh, None))
        if key.parent:
            places = (*places, (key.kind, key.mesh, key.parent))
        for place in places:
            found.setdefault(place, {})[key] = resource
    return {place: (shelves.get(place) or Layered()).changed(part) for place, part in found.items()}


def digest(value: object) -> str:
    """SHA-256, in hexadecimal, of `value`'s canonical JSON (wire names, sorted keys)."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
