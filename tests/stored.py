"""Small values to put into a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.model import Key, Kind, Metadata, Resource
from meshwright.model.specs import DnsServiceDiscovery, ServiceDiscovery, TagRef, VirtualNodeSpec
from meshwright.release import Build, Change, Item, Release, Status
from meshwright.store.contract import Draft

if TYPE_CHECKING:
    from meshwright.store.contract import Revision, Store

OWNER = "000000000000"


def node(name: str, version: int = 1, mesh: str = "shop") -> Resource:
    """A virtual node whose spec, tags and metadata tell its version."""
    return Resource(
        key=Key(mesh, Kind.VIRTUAL_NODE, name),
        spec=VirtualNodeSpec(
            service_discovery=ServiceDiscovery(dns=DnsServiceDiscovery(hostname=f"{name}-{version}.shop.local")),
            backends=(),
        ),
        tags=(TagRef(key="version", value=str(version)),),
        stack="cart",
        metadata=Metadata(
            uid="uid",
            version=version,
            created_at=1,
            last_updated_at=version,
            mesh_owner=OWNER,
            resource_owner=OWNER,
        ),
    )


def release(number: int, revision: int, stack: str = "cart", mesh: str = "shop") -> Release:
    """A release that put one node."""
    key = Key(mesh, Kind.VIRTUAL_NODE, "n")
    return Release(
        mesh=mesh,
        stack=stack,
        number=number,
        revision=revision,
        parent=number - 1 or None,
        digest=f"{number:064x}",
        at=1000 + revision,
        principal="build",
        build=Build(ci="travis", commit="c0ffee", build_number=str(number)),
        tool_version="0.1.0",
        changes=(Change(action="update", key=key),),
        content=(Item(key=key, spec={"backends": [], "limits": [1, None, True, "ü"]}, tags={"a": ""}),),
        status=Status.APPLIED,
    )


def commit_one(store: Store, expected: int, **members: Any) -> Revision:
    """One revision after `expected`; `members` are of its draft."""
    return store.commit_all(expected, (Draft(**members),))[0]
