"""Rollback: which release to restore, and that it can be restored today.

The one rule: a rollback is a new release of this stack and no other, judged like any other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from meshwright import release
from meshwright.api import applying, outcomes, submitted
from meshwright.errors import BadRequestException, NotFoundException, RefusedError
from meshwright.graph import Relation, resolve
from meshwright.model.state import State
from meshwright.store.contract import Search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.api.services import Services
    from meshwright.graph import Edge
    from meshwright.plan import Plan
    from meshwright.release import Build, Item, Release, RollbackRequest

LONGEST_REASON = 1000
"""Characters of a reason that are kept."""
LOOK_BACK = 1000
"""How many releases are searched for a build's or the last good one."""
_MOST_TRIED = 20
"""Good releases of which it is seen whether they can be restored; a mesh that lost what they all need stays so."""


async def roll_back(
    services: Services, mesh: str, stack: str, request: RollbackRequest, caller: applying.Caller
) -> outcomes.Outcome:
    """Restore an older release's content as a new release; the store marks later ones as rolled back.

    Raises:
        AccessDeniedError: naming every object that the principal may not change so.
        BadRequestException: not exactly one target is named.
        NotFoundException: there is no such release.
        RefusedError: it cannot be restored today, or no release is known to be good.
    """
    before = await asyncio.to_thread(applying.repeated, services, mesh, stack, caller)
    if before is not None:
        # The last good release, or the newest of a build, may be another one by now.
        return before
    target, word = await asyncio.to_thread(_target, services, mesh, stack, request, caller.build)
    instead_of = target.number if request.repair else request.instead_of

    def planned(observed: State) -> Plan:
        _refuse_other(services, mesh, stack, instead_of)
        refuse_missing(target.content, observed, mesh, stack, target.title)
        return submitted.from_content(target.content, mesh, stack)(observed)

    intent = applying.Intent(
        mesh=mesh,
        stack=stack,
        caller=caller,
        kind="repair" if request.repair else "rollback",
        restores=target.number,
        definitions=target.definitions,
        adopted=target.adopted,
        tests=target.tests,
        reason=_joined(request.reason, word),
        build=request.build,
        tool_version=request.tool_version,
        break_glass=request.break_glass,
    )
    return await applying.commit(services, intent, planned)


def refuse_missing(content: tuple[Item, ...], state: State, mesh: str, stack: str, title: str) -> None:
    """Raise what an older release refers to and what is gone from the mesh since.

    Raises:
        RefusedError: naming every reference that leads nowhere.
    """
    lost = _missing(content, state, mesh, stack)
    if lost:
        raise RefusedError(
            f"{title} cannot be restored, because what it refers to is gone: {_listed(lost)}. {_remedy(lost)} "
            "'meshwright rollback --last-good' takes the newest good release that can be restored. "
            "Nothing was changed."
        )


def _missing(content: tuple[Item, ...], state: State, mesh: str, stack: str) -> list[Edge]:
    """The references of an older release that lead nowhere in `state`."""
    others = State(one for one in state if one.key.mesh == mesh and not one.in_release_of(stack))
    graph = resolve(others.put(*release.restored(content, stack)))
    ours = {one.key for one in content}
    return [
        edge
        for edge in graph.edges
        if edge.source in ours and not edge.found and edge.relation is not Relation.BACKEND
    ]


def _listed(lost: Sequence[Edge]) -> str:
    told = (f"{edge.source} refers to {edge.target}{f' ({edge.path})' if edge.path else ''}" for edge in lost)
    return "; ".join(told)


def _remedy(lost: Sequence[Edge]) -> str:
    return (
        f"Restore that first, in the stack that owned it: 'meshwright audit log --object {lost[0].target}' tells "
        "what became of it."
    )


def _joined(reason: str, word: str) -> str:
    """The reason that is kept: all that is said of releases that were passed over, the caller's as far as it fits."""
    if not word:
        return reason[:LONGEST_REASON]
    word = word[:LONGEST_REASON]
    return f"{reason[: LONGEST_REASON - len(word) - 2]}; {word}" if reason else word


def _refuse_other(services: Services, mesh: str, stack: str, instead_of: int | None) -> None:
    """Raise where another release is the newest by now than the one that is to be taken back, or repaired."""
    newest = next(iter(services.store.releases(mesh, stack, 1)), None)
    if instead_of is not None and newest is not None and newest.number != instead_of:
        raise RefusedError(
            f"{stack}#{instead_of} is not rolled back: {newest.title} came after it, and is what runs. "
            "Nothing was changed."
        )


def _target(
    services: Services, mesh: str, stack: str, request: RollbackRequest, build: Build | None
) -> tuple[Release, str]:
    """The release to restore, whole, for a job of a verified `build`; and why it is not a newer good one, if so."""
    if sum((request.to is not None, request.to_build is not None, request.last_good, request.repair)) != 1:
        raise BadRequestException("Name exactly one of to, to_build, last_good and repair.")
    number = _number(services, mesh, stack, request, build)
    if number is None:
        return _last_good(services, mesh, stack)
    found = services.store.release(mesh, stack, number)
    if found is None:
        raise NotFoundException(f"Stack {stack!r} in mesh {mesh!r} has no release {number}.")
    return found, ""


def _last_good(services: Services, mesh: str, stack: str) -> tuple[Release, str]:
    """The newest good release whose references lead somewhere; what is wrong with newer ones.

    What runs is held to be bad: one that was good before the last good one is better than that, and than to stand
    still until somebody names it.
    """
    state = services.store.head().state
    running = release.digest_of(release.content_of(state, mesh, stack))
    gone: dict[str, tuple[Release, list[Edge]]] = {}
    for listed in release.known_good(services.store.releases(mesh, stack, LOOK_BACK), running):
        if listed.digest in gone:
            continue
        found = services.store.release(mesh, stack, listed.number)
        if found is None:
            continue
        lost = _missing(found.content, state, mesh, stack)
        if not lost:
            passed = (f"{one.title} cannot be restored: {_first(edges)}" for one, edges in gone.values())
            return found, "; ".join(passed)
        gone[listed.digest] = found, lost
        if len(gone) >= _MOST_TRIED:
            break
    if not gone:
        raise RefusedError(
            f"No release of stack {stack!r} in mesh {mesh!r} is known to be good, other than what runs: "
            "none has propagated to its proxies and was not rolled back. Name one, as 'meshwright history' lists "
            "them: 'meshwright rollback --to N'. Nothing was changed."
        )
    newest, lost = next(iter(gone.values()))
    others = f"; nor can {', '.join(one.title for one, _ in list(gone.values())[1:])}, for the like" * (len(gone) > 1)
    raise RefusedError(
        f"{newest.title} cannot be restored, because what it refers to is gone: {_listed(lost)}{others}. "
        f"{_remedy(lost)} Or name one that is not known to be good, as 'meshwright history' lists them: "
        "'meshwright rollback --to N'. Nothing was changed."
    )


def _first(lost: Sequence[Edge]) -> str:
    """One of the references, as all may be many."""
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return f"{lost[0].source} refers to {lost[0].target}, which is gone{more}"


def _number(services: Services, mesh: str, stack: str, request: RollbackRequest, build: Build | None) -> int | None:
    """The number that is asked for; None for the last good one's, which is to be found."""
    if request.to is not None:
        return request.to
    newest = next(iter(services.store.releases(mesh, stack, 1)), None)
    if newest is None:
        raise NotFoundException(f"Stack {stack!r} in mesh {mesh!r} has no release.")
    if request.repair:
        return newest.number
    if request.to_build is not None:
        for one in services.store.releases(mesh, stack, LOOK_BACK, Search(build=request.to_build)):
            if one.kind == "apply" and not one.is_step:
                return one.number
        raise NotFoundException(f"No release of stack {stack!r} in mesh {mesh!r} is from build {request.to_build!r}.")
    if newest.kind == "rollback" and newest.restores is not None and release.same_build(build, newest.verified):
        # A job that was started again, or another of the same build: it is not to go back one more.
        return newest.restores
    return None
