"""Several accounts in one server: whose mesh is meant, who sees it, and who may do what in it.

The one rule: whoever a mesh is not shared with learns nothing of it, not even that it exists.
Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/sharing.html

| in a shared mesh | its owner | a consumer |
|---|---|---|
| describe and list | everything | everything |
| create virtual nodes, services, routers, routes | yes | yes |
| create virtual gateways and gateway routes, and our extensions | yes | no |
| update | what its account created | what its account created |
| delete | everything | what its account created |
| read and change tags | what its account created | what its account created |
| update or delete the mesh, create one | its own meshes | its own meshes |

Shares end without touching anything that runs: the consumer no longer sees the mesh, nor what it created there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.errors import BadRequestException, ForbiddenException, NotFoundException
from meshwright.model.identity import EXTENSION_KINDS, Key, Kind, parse_key, qualified, split_mesh
from meshwright.operations.table import Verb

if TYPE_CHECKING:
    from meshwright.model.state import Resource
    from meshwright.operations.requests import Request, Stamp

_OWNERS_ONLY = frozenset({Kind.VIRTUAL_GATEWAY, Kind.GATEWAY_ROUTE, *EXTENSION_KINDS})
"""Kinds that only the mesh's owner creates."""


def key_of(request: Request, stamp: Stamp) -> Key:
    """The object that a request means; without `meshOwner` the mesh is one of the caller's own account.

    Raises:
        BadRequestException: an operation on tags names no ARN of an App Mesh resource.
        NotFoundException: the ARN is one of another region or partition.
    """
    kind = request.operation.kind
    if kind is None:
        return key_of_arn(request.resource_arn, stamp)
    name = request.mesh or request.name
    mesh = qualified(name, request.mesh_owner or stamp.account, stamp.home)
    return Key.of_mesh(mesh) if kind is Kind.MESH else Key(mesh, kind, request.name, request.parent)


def key_of_arn(arn: str, stamp: Stamp) -> Key:
    """The key that an ARN of this server's region and partition names.

    Raises:
        BadRequestException: it is not the ARN of an App Mesh resource.
        NotFoundException: it is one of another region or partition.
    """
    try:
        key = parse_key(arn, stamp.home) if arn.startswith("arn:") else None
    except ValueError:
        key = None
    if key is None or not key.kind.portable:
        raise BadRequestException(f"{arn!r} is not the ARN of an App Mesh resource.")
    _, partition, _, region, _, _ = arn.split(":", 5)
    if (partition, region) != (stamp.partition, stamp.region):
        raise unknown_arn(arn, stamp)
    return key


def unknown_arn(arn: str, stamp: Stamp) -> NotFoundException:
    """The error for an ARN that names nothing that the caller sees."""
    return NotFoundException(f"Resource {arn} is not present for account {stamp.account} in {stamp.region}")


def mesh_owner(key: Key, stamp: Stamp) -> str:
    """The account that owns the mesh of `key`."""
    return split_mesh(key.mesh)[1] or stamp.home


def arn_of(key: Key, stamp: Stamp, resource_owner: str = "") -> str:
    """The ARN of `key`, of the account that created it; by default as if the caller's account did."""
    account = resource_owner or stamp.account
    return key.arn(region=stamp.region, account=account, partition=stamp.partition, home=stamp.home)


def sees(key: Key, stamp: Stamp) -> bool:
    """Whether the mesh of `key` is the caller's own or shared with its account."""
    name, owner = split_mesh(key.mesh)
    owner = owner or stamp.home
    return owner == stamp.account or (owner, name, stamp.account) in stamp.shared


def seen(meshes: tuple[Resource, ...], stamp: Stamp) -> tuple[Resource, ...]:
    """Of `meshes`, in order of their keys, those that the caller sees, in order of their names and then owners."""
    if stamp.account == stamp.home and not stamp.shared:
        return tuple([one for one in meshes if "@" not in one.key.mesh])
    return tuple(sorted((one for one in meshes if sees(one.key, stamp)), key=by_name))


def by_name(resource: Resource) -> str:
    """What a list is ordered by: the name, and for meshes of one name their owner, the server's own account first."""
    return f"{resource.key.wire_name}\0{split_mesh(resource.key.mesh)[1]}"


def refuse_stranger(verb: Verb, key: Key, resource: Resource | None, stamp: Stamp) -> None:
    """Raise when the caller sees the mesh but may not do this in it; see the table above.

    Raises:
        ForbiddenException: naming the account that may.
    """
    owner = mesh_owner(key, stamp)
    ours = owner == stamp.account
    if verb is Verb.CREATE:
        if not ours and (key.kind in _OWNERS_ONLY or key.kind is Kind.MESH):
            raise ForbiddenException(
                f"{key.kind.type_name} with name {key.wire_name} cannot be created by account {stamp.account}: "
                f"Mesh {key.mesh_name} is owned by account {owner}"
            )
        return
    creator = resource.metadata.resource_owner if resource and resource.metadata else owner
    if creator == stamp.account or (ours and verb is Verb.DELETE):
        return
    done = {Verb.UPDATE: "updated", Verb.DELETE: "deleted"}.get(verb, "tagged, and its tags cannot be read,")
    raise ForbiddenException(
        f"{key.kind.type_name} with name {key.wire_name} cannot be {done} by account {stamp.account}: "
        f"it is owned by account {creator}"
    )
