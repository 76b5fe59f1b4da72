"""What a caller sees through our own endpoints of the meshes of several accounts.

The one rule: the server's own account runs it and sees all of it, as far as its policies go; any other account sees
its own meshes and those that are shared with it, as through the App Mesh API, and nothing says that there are more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.errors import ForbiddenException, NotFoundException
from meshwright.model.identity import Key, split_mesh
from meshwright.operations import sees

if TYPE_CHECKING:
    from meshwright.api.services import Services
    from meshwright.model.state import Resource
    from meshwright.trust.principals import Principal


def seen(services: Services, principal: Principal, mesh: str) -> bool:
    """Whether `mesh`, as `Key.mesh` has it, is the caller's to see."""
    if principal.account == services.account:
        return True
    return sees(Key.of_mesh(mesh), services.stamp(principal.account))


def refuse_unseen(services: Services, principal: Principal, mesh: str) -> None:
    """Raise when `mesh` is not the caller's to see, as if it were not there.

    Raises:
        NotFoundException: in the words of the App Mesh API.
    """
    if not seen(services, principal, mesh):
        name, owner = split_mesh(mesh)
        raise NotFoundException(f"Mesh with name {name} is not present for account {owner or services.account}")


def refuse_strangers(services: Services, principal: Principal) -> None:
    """Raise when the caller is of another account than the server's.

    Raises:
        ForbiddenException: what it asks for is about all meshes.
    """
    if principal.account != services.account:
        raise ForbiddenException(
            f"A revision may be of any account's mesh; account {principal.account} can ask for the propagation of a "
            "release of a mesh that it sees."
        )


def tags_of(resource: Resource, principal: Principal) -> dict[str, str]:
    """The tags of an object, for the account that created it; nobody else's to see.

    Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/sharing.html
    """
    if resource.metadata is not None and resource.metadata.resource_owner != principal.account:
        return {}
    return {tag.key: tag.value for tag in resource.tags}
