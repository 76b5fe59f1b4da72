"""Whether a release returns to the last good one, and what it is judged against then.

The one rule: what was never verified proves nothing. A way back is measured by what had been proven before, so that
no guardrail keeps running what has just failed; what was verified, and what was written past releases, counts.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from meshwright import release
from meshwright.plan import decoded
from meshwright.release import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshwright.api.applying import Intent
    from meshwright.model.identity import Key
    from meshwright.model.state import State
    from meshwright.release import Item, Release
    from meshwright.store.contract import Store

LOOK_BACK = 1000
"""Releases that may have come after the last good one."""
_INSPECTIONS = 1000
"""Verifications of one release that are looked through for one that found it good."""
_TAKEN_BACK = (Status.FAILED, Status.ROLLED_BACK)


class Return(NamedTuple):
    """A way back to a release that was good."""

    to: Release
    ground: State
    """The mesh as it would run had nothing been released since."""


def returning(store: Store, intent: Intent, state: State) -> Return | None:
    """The way back that a release is, made of `state`; None for any other release. Reads the database."""
    number = intent.restores
    if intent.kind != "rollback" or number is None:
        return None
    target = store.release(intent.mesh, intent.stack, number)
    known = store.releases(intent.mesh, intent.stack, LOOK_BACK)
    later = tuple(itertools.takewhile(lambda one: one.number > number, known))
    if target is None or not later or len(later) == LOOK_BACK or not _is_last_good(store, target, later):
        return None
    newest = store.release(intent.mesh, intent.stack, later[0].number)
    return None if newest is None else Return(target, _ground(state, newest, target))


def _is_last_good(store: Store, target: Release, later: Sequence[Release]) -> bool:
    """Whether `target` was good, and none of what came `later` ever was, but for what repeats it.

    Where `target` itself was never verified, what came later has to have failed: one that arrived is as good. Steps
    of a canary are good in no case, and what it began from is good enough to return to.
    """
    others = [one for one in later if one.digest != target.digest]
    if target.is_step or target.status in _TAKEN_BACK:
        return False
    if all(one.is_step for one in others):
        return True
    if target.status is Status.PROPAGATED:
        return all(one.is_step or (one.status in _TAKEN_BACK and not _was_verified(store, one)) for one in others)
    return target.status is Status.VERIFIED and not any(_was_verified(store, one) for one in others)


def _was_verified(store: Store, one: Release) -> bool:
    """Whether a release is verified, or was before it failed, was rolled back or arrived once more."""
    if one.status is Status.VERIFIED:
        return True
    found = store.inspections(one.mesh, one.stack, one.number, _INSPECTIONS)
    return any(inspection.judgement == "verified" for inspection in found)


def _ground(state: State, newest: Release, target: Release) -> State:
    """`state` with what the `newest` release left there as `target` had it; what was written since stays."""
    was, left = _by_key(target.content), _by_key(newest.content)
    runs = _by_key(release.content_of(state, target.mesh, target.stack))
    for key in was.keys() | left.keys():
        if runs.get(key) != left.get(key) or (key not in runs and key in state):
            continue
        one = was.get(key)
        state = state.drop(key) if one is None else state.put(decoded(key, one.spec, one.tags, target.stack))
    return state


def _by_key(content: Sequence[Item]) -> Mapping[Key, Item]:
    return {one.key: one for one in content}
