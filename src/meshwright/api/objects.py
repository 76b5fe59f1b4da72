"""How our own endpoints show objects, and to whom their tags.

The one rule: an object looks the same wherever it is shown; tags are seen by the account that created it alone.
Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/sharing.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshwright.model.identity import Key
    from meshwright.model.state import Resource, State
    from meshwright.release import Release
    from meshwright.trust.principals import Principal


def shown(one: Resource, principal: Principal) -> dict[str, Any]:
    """An object with its metadata and stack, as `principal` may see it."""
    mine = one.metadata is None or one.metadata.resource_owner == principal.account
    return {
        "object": one.key.path,
        "spec": one.spec,
        "tags": {tag.key: tag.value for tag in one.tags} if mine else {},
        "stack": one.stack,
        "unreleased": one.unreleased,
        "owned": [key.path for key in one.owned],
        "metadata": one.metadata,
    }


def foreign(state: State, one: Release, principal: Principal) -> Callable[[Key], bool]:
    """Whether an object of a release is another account's, whose tags are not the principal's to see.

    What is gone was of the account that released it.
    """
    released_by = "".join(one.principal.split(":")[4:5])

    def judge(key: Key) -> bool:
        resource = state.get(key)
        metadata = resource.metadata if resource is not None else None
        return (metadata.resource_owner if metadata is not None else released_by) != principal.account

    return judge
