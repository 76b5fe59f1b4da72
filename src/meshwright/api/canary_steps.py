"""The releases of a canary: its first step, those that follow, and what ends it, each a release like any other.

The one rule: a step is committed only on top of the step before it. What anybody released in between stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from meshwright import release
from meshwright.errors import BadRequestException, RefusedError
from meshwright.plan import diff
from meshwright.release import Canary, CanarySettings
from meshwright.release.canary import ascending as rises
from meshwright.release.records import Change
from meshwright.release.shifting import course, refuse_sudden, shifts
from meshwright.trust.principals import Principal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meshwright.api.applying import Intent
    from meshwright.api.services import Services
    from meshwright.model.state import State
    from meshwright.plan import Plan
    from meshwright.release import Judged, Release
    from meshwright.release.shifting import Step

KEPT = "canaries"
"""Under which name the store remembers who began the canaries, and when their clients were heard of last."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Who looks after a stack's canary, as whom it is returned when nobody is heard of any more."""

    principal: Principal
    facts: dict[str, str] = {}
    """What the connection told of them: condition keys."""
    heard_at: int
    """Milliseconds since the epoch, UTC."""


class Way(NamedTuple):
    """A canary's steps, all of them, and what it goes from and to."""

    first: Release
    """Its first step's release, whole."""
    steps: tuple[Step, ...]


def ascending(found: CanarySettings | None) -> CanarySettings | None:
    """`found`, whose steps shift ever more.

    Raises:
        BadRequestException: they do not.
    """
    if found is not None and not rises(found.weights):
        raise BadRequestException(f"weights takes ever higher percents, found {list(found.weights)}.")
    return found


def first_step(
    intent: Intent,
    settings: CanarySettings,
    state: State,
    newest: Release | None,
    whole: Release,
    plan: Plan,
    performed: Callable[[Plan, State], State],
) -> tuple[Release, State, Plan]:
    """The release of the first step towards the release `whole` and its `plan`, what it leads to, and its own plan.

    Every step is `performed`, so that one that could not be made refuses the first.

    Raises:
        RefusedError: there is nothing to return to, nothing to shift, or something that cannot be shifted.
    """
    before = release.content_of(state, intent.mesh, intent.stack)
    base = _base(intent, newest, before)
    moved = shifts(before, whole.content)
    refuse_sudden(plan, state, moved)
    steps = course(before, whole.content, moved, settings.weights)
    first_plan, after = _tried(intent, state, [*(one.content for one in steps), whole.content], performed)
    content = release.content_of(after, intent.mesh, intent.stack)
    canary = Canary(
        first=whole.number,
        returns_to=base,
        state="step",
        step=1,
        steps=tuple(one.weight for one in steps),
        weight=steps[0].weight,
        settings=settings,
        target=whole.digest,
        shifts=moved,
    )
    new = msgspec.structs.replace(
        whole,
        content=content,
        digest=release.digest_of(content),
        changes=tuple(Change(action=one.action, key=one.key) for one in first_plan.changes),
        canary=canary,
        target=whole.content,
    )
    return new, after, first_plan


def _base(intent: Intent, newest: Release | None, before: tuple[release.Item, ...]) -> int:
    """The number of the release that a canary returns to: what runs, or what an unfinished canary began from.

    Raises:
        RefusedError: there is none, or the stack does not run as its newest release left it.
    """
    if newest is None:
        raise RefusedError(
            f"Stack {intent.stack!r} in mesh {intent.mesh!r} has no release that a canary could return to. Apply the "
            "first one without --canary. Nothing was changed."
        )
    if newest.digest != release.digest_of(before):
        raise RefusedError(
            f"Stack {intent.stack!r} does not run as {newest.title} left it, so that a canary could not return "
            "to that. 'meshwright drift' shows where; repair it, or release without --canary. Nothing was changed."
        )
    return newest.part.returns_to if newest.is_step else newest.number


def _tried(
    intent: Intent,
    state: State,
    contents: Sequence[tuple[release.Item, ...]],
    performed: Callable[[Plan, State], State],
) -> tuple[Plan, State]:
    """The plan of the first of the `contents`, and what it leads to, where all of them can be made in turn.

    Raises:
        RefusedError: one of them cannot.
    """
    made: list[tuple[Plan, State]] = []
    for content in contents:
        plan = diff(state, release.restored(content), intent.stack, intent.mesh)
        state = performed(plan, state)
        made.append((plan, state))
    return made[0]


def superseding(intent: Intent, newest: Release | None) -> tuple[str, ...]:
    """What to say of a release that comes in the midst of a canary that it is no part of."""
    if newest is None or not newest.is_step or intent.canary is not None:
        return ()
    canary = newest.part
    return (f"it takes the place of the canary {newest.stack}#{canary.first}, which stood at {canary.weight} %",)


def way_of(services: Services, first: Release) -> Way:
    """The steps of the canary that began with `first`; reads the database.

    Raises:
        RefusedError: what it began from, or leads to, is not kept as it was.
    """
    canary, parent = first.canary, first.parent
    before = services.store.release(first.mesh, first.stack, parent) if parent is not None else None
    if canary is None or before is None or release.digest_of(first.target) != canary.target:
        raise RefusedError(f"{first.title} does not hold what its canary leads to.")
    weights = [one for one in canary.steps if one]
    return Way(first, course(before.content, first.target, canary.shifts, weights))


def following(newest: Release, way: Way, judged: Judged, failed: int) -> tuple[Canary, tuple[release.Item, ...]]:
    """What comes after the step `newest`, with its content: the next step, or what is wanted itself."""
    canary = newest.part
    known = msgspec.structs.replace(canary, judged=judged, failed=failed)
    if canary.step == len(way.steps):
        return msgspec.structs.replace(known, state="finished", weight=100), way.first.target
    step = way.steps[canary.step]
    return msgspec.structs.replace(known, step=canary.step + 1, weight=step.weight), step.content


def refuse_other(services: Services, newest: Release) -> None:
    """Raise where `newest` is not its stack's newest release any more; reads the database.

    Raises:
        RefusedError: naming the one that is.
    """
    found = next(iter(services.store.releases(newest.mesh, newest.stack, 1)), None)
    if found is None or found.number != newest.number:
        raise RefusedError(
            f"{found.title if found else 'nothing'} came after {newest.title}, and is what runs. Nothing was changed."
        )


def keep_author(services: Services, intent: Intent) -> None:
    """Remember as whom the canary of a stack is returned, and that they were heard of now; writes to the database."""
    keep(services, intent.mesh, intent.stack, intent.caller.principal, dict(intent.caller.facts))


def keep(services: Services, mesh: str, stack: str, principal: Principal, facts: dict[str, str]) -> None:
    """As `keep_author`."""
    kept = Kept(principal=principal, facts=facts, heard_at=services.now())
    services.store.remember(KEPT, {f"{mesh}/{stack}": msgspec.json.encode(kept).decode()})


def kept_of(services: Services, mesh: str, stack: str) -> Kept | None:
    """Who looks after the stack's canary; None where that is not known. Reads the database."""
    found = services.store.remembered(KEPT).get(f"{mesh}/{stack}")
    return msgspec.json.decode(found, type=Kept) if found is not None else None
