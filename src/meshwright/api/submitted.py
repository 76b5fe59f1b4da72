"""What a client sends to be released, as plans: the whole content of a stack, or a plan that was made earlier.

The one rule: a plan is made anew on whatever state it meets, and one that was submitted must come out the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright import release
from meshwright.errors import StalePlanError
from meshwright.plan import diff, differences, stale
from meshwright.release import Item

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshwright.model.state import State
    from meshwright.plan import Plan
    from meshwright.store.contract import Store


def from_content(content: tuple[Item, ...], mesh: str, stack: str) -> Callable[[State], Plan]:
    """Plans that bring the whole stack to `content`.

    Raises:
        InvalidReleaseError: an item's spec does not fit its kind.
    """
    desired = release.checked(content)
    return lambda observed: diff(observed, desired, stack, mesh)


def from_plan(submitted: Plan, store: Store | None = None) -> Callable[[State], Plan]:
    """Plans that are exactly `submitted`, or stale; empty where it was applied already and is what runs.

    That is so where a job is started again; whose newest release it was is looked up in `store`, if that is given.

    Raises:
        InvalidReleaseError: a spec does not fit its kind.
    """
    put = release.checked(
        Item(key=one.key, spec=one.spec, tags=one.tags) for one in submitted.changes if one.action != "delete"
    )

    def planned(observed: State) -> Plan:
        moved = stale(submitted, observed)
        if moved and store is not None and _was_applied(submitted, put, observed, store):
            own = release.restored(release.content_of(observed, submitted.mesh, submitted.stack))
            return diff(observed, own, submitted.stack, submitted.mesh)
        if moved:
            listed = ", ".join(key.path for key in moved[:5])
            more = f" and {len(moved) - 5} more" if len(moved) > 5 else ""
            raise StalePlanError(
                f"The plan is stale: {listed}{more} changed since it was made. Nothing was changed; plan again."
            )
        # What the plan does is what the stack becomes; a plan that was edited by hand does not survive this.
        wanted = release.restored(release.content_of(observed, submitted.mesh, submitted.stack))
        kept = wanted.drop(*(one.key for one in submitted.changes if one.action == "delete"))
        again = diff(observed, kept.put(*put), submitted.stack, submitted.mesh)
        if again != submitted:
            raise StalePlanError("The plan is not one that this server makes of its changes; plan again.")
        return again

    return planned


def _was_applied(submitted: Plan, put: State, observed: State, store: Store) -> bool:
    """Whether the newest release is what runs, and that is what a plan comes to."""
    content = release.content_of(observed, submitted.mesh, submitted.stack)
    newest = next(iter(store.releases(submitted.mesh, submitted.stack, 1)), None)
    if newest is None or newest.digest != release.digest_of(content):
        return False
    own = {one.key for one in content}
    gone = (one.key for one in submitted.changes if one.action == "delete")
    return own.isdisjoint(gone) and all(one.key in own and not differences(observed[one.key], one) for one in put)
