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
    from meshwright.api.services import Services
    from meshwright.plan import Plan
    from meshwright.release import Build, Item, Release, RollbackRequest

LONGEST_REASON = 1000
"""Characters of a reason that are kept."""
LOOK_BACK = 1000
"""How many releases are searched for a build's or the last good one."""


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
    target = _target(services, mesh, stack, request, caller.build)
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
        tests=target.tests,
        reason=request.reason[:LONGEST_REASON],
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
    others = State(one for one in state if one.key.mesh == mesh and not one.in_release_of(stack))
    graph = resolve(others.put(*release.restored(content, stack)))
    ours = {one.key for one in content}
    lost = [
        f"{edge.source} refers to {edge.target}{f' ({edge.path})' if edge.path else ''}"
        for edge in graph.edges
        if edge.source in ours and not edge.found and edge.relation is not Relation.BACKEND
    ]
    if lost:
        raise RefusedError(
            f"{title} cannot be restored, because what it refers to is gone: {'; '.join(lost)}. "
            "Restore that first, in the stack that owned it. Nothing was changed."
        )


def _refuse_other(services: Services, mesh: str, stack: str, instead_of: int | None) -> None:
    """Raise where another release is the newest by now than the one that is to be taken back, or repaired."""
    newest = next(iter(services.store.releases(mesh, stack, 1)), None)
    if instead_of is not None and newest is not None and newest.number != instead_of:
        raise RefusedError(
            f"{stack}#{instead_of} is not rolled back: {newest.title} came after it, and is what runs. "
            "Nothing was changed."
        )


def _target(services: Services, mesh: str, stack: str, request: RollbackRequest, build: Build | None) -> Release:
    """The release to restore, whole, for a job of a verified `build`."""
    number = _number(services, mesh, stack, request, build)
    found = services.store.release(mesh, stack, number)
    if found is None:
        raise NotFoundException(f"Stack {stack!r} in mesh {mesh!r} has no release {number}.")
    return found


def _number(services: Services, mesh: str, stack: str, request: RollbackRequest, build: Build | None) -> int:
    if sum((request.to is not None, request.to_build is not None, request.last_good, request.repair)) != 1:
        raise BadRequestException("Name exactly one of to, to_build, last_good and repair.")
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
    releases = services.store.releases(mesh, stack, LOOK_BACK)
    running = release.digest_of(release.content_of(services.store.head().state, mesh, stack))
    good = release.last_good(releases, running)
    if good is None:
        raise RefusedError(
            f"No release of stack {stack!r} in mesh {mesh!r} is known to be good, other than what runs: "
            "none has propagated to its proxies and was not rolled back. Name one with --to; nothing was changed."
        )
    return good.number
