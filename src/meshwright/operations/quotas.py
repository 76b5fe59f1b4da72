"""How many objects an account may have: App Mesh's documented defaults and our own, all configurable.

The one rule: a quota refuses what would exceed it, and never what is there already.
Source: https://docs.aws.amazon.com/general/latest/gr/appmesh.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.errors import LimitExceededException
from meshwright.model.identity import Key, Kind, split_mesh
from meshwright.model.specs import VirtualNodeSpec

if TYPE_CHECKING:
    from meshwright.model.state import Resource, State


class Quotas(msgspec.Struct, frozen=True, kw_only=True):
    """The largest numbers; a route's ten weighted targets are a limit of the model and not configurable."""

    meshes: int = 15
    virtual_nodes: int = 200
    """In a mesh, as the three that follow."""
    virtual_services: int = 200
    virtual_routers: int = 200
    virtual_gateways: int = 3
    routes: int = 50
    """In a virtual router."""
    gateway_routes: int = 10
    """In a virtual gateway."""
    backends: int = 50
    """Of a virtual node."""
    extensions: int = 200
    """Of each of our own kinds, in a mesh; App Mesh has none."""

    def most(self, kind: Kind) -> int:
        """How many objects of `kind` may lie together."""
        return {
            Kind.MESH: self.meshes,
            Kind.VIRTUAL_NODE: self.virtual_nodes,
            Kind.VIRTUAL_SERVICE: self.virtual_services,
            Kind.VIRTUAL_ROUTER: self.virtual_routers,
            Kind.VIRTUAL_GATEWAY: self.virtual_gateways,
            Kind.ROUTE: self.routes,
            Kind.GATEWAY_ROUTE: self.gateway_routes,
        }.get(kind, self.extensions)


DEFAULT_QUOTAS = Quotas()
"""What App Mesh gives an account that asked for nothing else."""
UNLIMITED = Quotas(**{one.name: 2**31 for one in msgspec.structs.fields(Quotas)})
"""For states that no account's quotas concern, such as definitions that are only compared."""


def refuse_excess(after: State, resource: Resource, quotas: Quotas, *, before: Resource | None) -> None:
    """Raise when `resource`, written into `after`, exceeds a quota more than `before`, what it was, did.

    Raises:
        LimitExceededException: naming the quota, its limit and the number asked for.
    """
    key = resource.key
    if before is None:
        most, where = quotas.most(key.kind), key.owner
        if _together(after, key, most) > most:
            inside = f"{where.kind.type_name} {where.wire_name}" if where else "the account"
            raise LimitExceededException(f"The limit of {most} {key.kind.plural} for {inside} is exceeded")
    backends = _backends(resource)
    if backends > max(quotas.backends, _backends(before)):
        raise LimitExceededException(
            f"The limit of {quotas.backends} Backends for VirtualNode {key.name} is exceeded: "
            f"it would have {backends}"
        )


def _backends(resource: Resource | None) -> int:
    spec = resource.spec if resource is not None else None
    return len(spec.backends or ()) if isinstance(spec, VirtualNodeSpec) else 0


def _together(after: State, key: Key, most: int) -> int:
    """How many objects of its kind lie where `key` does: in the account, the mesh, the router or the gateway.

    Exact where it is more than `most`; nothing is gone through before.
    """
    if key.kind is not Kind.MESH:
        return after.count(key.kind, key.mesh, key.parent)
    meshes = after.count(Kind.MESH)
    if meshes <= most:
        return meshes
    owner = split_mesh(key.mesh)[1]
    return sum(split_mesh(one.key.mesh)[1] == owner for one in after.of(Kind.MESH))
