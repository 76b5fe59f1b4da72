"""The whole of one or more meshes at one moment, as a value.

A `State` is never changed: `put` and `drop` answer with another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping  # noqa: TC003 - annotations are read at runtime
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import (
    MeshSpec,
    TagRef,
    VirtualGatewaySpec,
    VirtualNodeSpec,
    VirtualRouterSpec,
    VirtualServiceSpec,
)

Spec: TypeAlias = (
    MeshSpec
    | VirtualNodeSpec
    | VirtualServiceSpec
    | VirtualRouterSpec
    | RouteSpec
    | VirtualGatewaySpec
    | GatewayRouteSpec
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
    }
)
"""The spec's shape for each kind; an extension kind adds a row."""


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
    """The stack whose releases own the object; "" for none."""
    metadata: Metadata | None = None
    """None for an object that was read from a file."""


class State:
    """All objects by key, iterated in the order of their keys."""

    __slots__ = ("_resources",)

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self._resources = {one.key: one for one in resources}

    def __getitem__(self, key: Key) -> Resource:
        return self._resources[key]

    def __contains__(self, key: object) -> bool:
        return key in self._resources

    def __len__(self) -> int:
        return len(self._resources)

    def __iter__(self) -> Iterator[Resource]:
        return iter([self._resources[key] for key in sorted(self._resources)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self._resources == other._resources

    def __hash__(self) -> int:
        return hash(frozenset(self._resources.values()))

    def __repr__(self) -> str:
        return f"State({len(self)} objects)"

    def get(self, key: Key) -> Resource | None:
        """The object, or None."""
        return self._resources.get(key)

    def of(self, kind: Kind, mesh: str | None = None, parent: str | None = None) -> tuple[Resource, ...]:
        """The objects of one kind, narrowed to a mesh and to a router or gateway, in order of their keys."""
        found = (
            key
            for key in self._resources
            if key.kind is kind and (mesh is None or key.mesh == mesh) and (parent is None or key.parent == parent)
        )
        return tuple(self._resources[key] for key in sorted(found))

    @property
    def meshes(self) -> tuple[str, ...]:
        """The names of every mesh that an object lies in, declared or not."""
        return tuple(sorted({key.mesh for key in self._resources}))

    def put(self, *resources: Resource) -> State:
        """This state with `resources` added or replaced."""
        return self._with({**self._resources, **{one.key: one for one in resources}})

    def drop(self, *keys: Key) -> State:
        """This state without `keys`; those that are not there do not matter."""
        gone = set(keys)
        return self._with({key: one for key, one in self._resources.items() if key not in gone})

    @staticmethod
    def _with(resources: dict[Key, Resource]) -> State:
        state = State()
        state._resources = resources
        return state


def digest(value: object) -> str:
    """SHA-256, in hexadecimal, of `value`'s canonical JSON (wire names, sorted keys)."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
