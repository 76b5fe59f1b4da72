"""Going on with a canary: a check when it is time, and then the next step, its end, or its return.

The one rule: the control plane judges by what proxies report to it and acts at once; a client says only that it is
there, or that it leaves. Whatever follows is a release on top of the very step that was judged.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright import release
from meshwright.api import applying, outcomes, submitted
from meshwright.api.answers import answer
from meshwright.api.asked import body_of, release_of
from meshwright.api.canary_calls import callers
from meshwright.api.canary_steps import Kept, following, keep, kept_of, refuse_other, way_of
from meshwright.api.connection_facts import connection_facts
from meshwright.api.drifted import drifted
from meshwright.api.inspecting import absent
from meshwright.api.propagating import observed, with_inherited
from meshwright.api.rolling_back import refuse_missing
from meshwright.errors import NotFoundException, RefusedError, RevisionConflictError
from meshwright.release import CanaryRequest, Status
from meshwright.release.canary import untold
from meshwright.release.drifting import overwritten
from meshwright.routing import found_by_dns
from meshwright.views.wire import to_wire

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from meshwright.api.canary_courses import Course
    from meshwright.api.services import Services
    from meshwright.model.state import State
    from meshwright.plan import Plan
    from meshwright.release import Build, Canary, Judged, Release
    from meshwright.release.canary import Verdict

ABSENT = 15.0
"""Seconds without an instance after which a target is lost: after a restart of ours, proxies are back sooner."""
_OFTEN = 4
"""How many times within a lease it is noted on disk that the client was heard of."""
_REPORTS = 2
"""Intervals of reports before which no deadline ends: the first report after a step began is of before it."""


async def post_canary(services: Services, request: Request) -> Response:
    """Go on with the canary that a release began, as far as it is time, or return it; 201 for a new release."""
    first, asked = release_of(services, request), await body_of(request, CanaryRequest)
    if first.canary is None or first.canary.first != first.number:
        raise NotFoundException(f"{first.title} did not begin a canary.")
    attempt = request.state.attempt
    caller = applying.Caller(request.state.principal, connection_facts(request.scope), attempt=attempt)
    before = _newest(services, first)
    async with services.canaries.turn(first.mesh, first.stack):
        told = await turn(services, first, caller, asked)
    after = _newest(services, first)
    changed = after.number != before.number
    # Only to look is to read; a release has a leaf of its own.
    attempt.recorded = True
    return answer(told, 201 if changed else 200)


async def turn(services: Services, first: Release, caller: applying.Caller, asked: CanaryRequest) -> dict[str, Any]:
    """One turn of the canary that began with `first`, as `caller`; what is told of it.

    A caller without an attempt is nobody who looks after it.

    Raises:
        AccessDeniedError: the caller may not release what comes next.
        RefusedError: it cannot be returned.
    """
    newest = _newest(services, first)
    course = None
    if _under_way(newest, first):
        if caller.attempt is not None:
            await _heard(services, first, caller)
        course = services.canaries.course(newest, services.now())
        verdict, told = await _looked(services, newest, course, asked)
        if verdict is not None:
            await _goes_on(
                services, first, newest, caller, asked, course.judged(newest, verdict, told, services.now())
            )
            newest, course = _newest(services, first), None
    else:
        services.canaries.end(first.mesh, first.stack)
    return await _told(services, first, newest, course)


def _under_way(newest: Release, first: Release) -> bool:
    return newest.is_step and newest.canary is not None and newest.canary.first == first.number


def _newest(services: Services, one: Release) -> Release:
    return next(iter(services.store.releases(one.mesh, one.stack, 1)), one)


async def _heard(services: Services, first: Release, caller: applying.Caller) -> None:
    """Note that somebody looks after the canary; on disk now and then, for whoever serves next."""
    place, now = (first.mesh, first.stack), services.now()
    canary = first.part
    services.canaries.heard[place] = now
    kept = await asyncio.to_thread(kept_of, services, *place)
    if kept is None or kept.heard_at + 1000 * canary.settings.lease / _OFTEN <= now:
        known = kept or Kept(principal=caller.principal, facts=dict(caller.facts), heard_at=now)
        await asyncio.to_thread(keep, services, *place, known.principal, known.facts)


async def _looked(
    services: Services, newest: Release, course: Course, asked: CanaryRequest
) -> tuple[Verdict | None, str]:
    """What the step comes to by now, and why; None for nothing yet."""
    canary, now = newest.part, services.now()
    if asked.leave:
        return "inconclusive", asked.leave
    running = release.digest_of(release.content_of(services.store.head().state, newest.mesh, newest.stack))
    if running != newest.digest:
        return "failed", await asyncio.to_thread(_overwritten, services, newest)
    if not course.began_at:
        refusal = await _arrived(services, newest, course)
        if refusal:
            return "failed", refusal
    if course.began_at and not canary.weight:
        course.waiting = "; ".join(absent(services, canary.rising).values())
        if not course.waiting:
            return "passed", "each new target has an instance that is there"
    elif canary.weight and (lost := _lost(services, course, canary, now)):
        return "failed", lost
    elif course.began_at and now >= course.checked_at + 1000 * canary.settings.interval:
        verdict, told = _checked(services, newest, course, now)
        if verdict is not None:
            return verdict, told
    return _overdue(services, course, canary, now)


def _overwritten(services: Services, newest: Release) -> str:
    """Who wrote what over a step, as a return takes it back; reads the database."""
    whole = services.store.release(newest.mesh, newest.stack, newest.number) or newest
    found = overwritten(drifted(services, whole, services.store.head().state))
    return f"somebody wrote over {newest.title}, so that what is seen is not the step: {found}"


def _checked(services: Services, newest: Release, course: Course, now: int) -> tuple[Verdict | None, str]:
    """What the step comes to with one more check."""
    canary = newest.part
    graph = services.control.graph
    found = services.canaries.check(course, newest, callers(graph, newest.mesh, canary), graph, now)
    if course.failed >= canary.settings.threshold:
        return "failed", f"{course.failed} failed check{'s' * (course.failed != 1)}; the last: {found.told}"
    if course.passed >= canary.settings.iterations:
        return "passed", found.told
    if found.outcome == "pending" and any(untold(one, canary.settings) for one in found.figures):
        return "inconclusive", found.told
    if found.outcome == "pending":
        course.waiting = _unknown(services, newest, canary) or found.told
    return None, ""


def _lost(services: Services, course: Course, canary: Canary, now: int) -> str:
    """Which new targets have had no instance for too long: calls to them fail, and no report counts these.

    Of a node that only DNS tells of, this is known where a proxy of it has been seen.
    """
    missing, graph = absent(services, canary.rising), services.control.graph
    course.present.update(node for node in canary.rising if node not in missing)
    sure = {node: why for node, why in missing.items() if node in course.present or not found_by_dns(graph, node)}
    course.missing = {node: course.missing.get(node, now) for node in sure}
    lost = [why for node, why in sure.items() if now >= course.missing[node] + 1000 * ABSENT]
    return f"for {ABSENT:g} s, {'; '.join(lost)}" if lost else ""


def _overdue(services: Services, course: Course, canary: Canary, now: int) -> tuple[Verdict | None, str]:
    """Inconclusive where nothing could be judged for too long."""
    patience = max(canary.settings.progress_deadline, _REPORTS * services.traffic.every)
    if now < course.since + 1000 * patience:
        return None, ""
    return "inconclusive", f"nothing could be judged for {patience:g} s: {course.waiting or 'no check was made'}"


async def _arrived(services: Services, newest: Release, course: Course) -> str:
    """Begin to count once the step has reached the proxies; why it never will, "" for nothing against it."""
    found = with_inherited(services, newest, services.control.propagation(newest.revision, newest.mesh))
    seen = await observed(services, newest, found)
    match found.state:
        case "rejected" if seen.status is Status.FAILED:
            return f"{found.rejected[0].id} rejected {newest.title}"
        case "rejected":
            # What another stack broke fails nobody else, but nothing can be seen meanwhile.
            course.waiting = f"{found.rejected[0].id} rejects what is not of {newest.title}"
        case "propagated":
            services.canaries.begin(course, services.now())
        case "no-proxies":
            course.waiting = "no proxy is connected"
        case _:
            course.waiting = f"{len(found.pending)} of {len(found.concerned)} proxies have not taken {newest.title}"
    return ""


def _unknown(services: Services, newest: Release, canary: Canary) -> str:
    """Why nothing at all is reported; "" where proxies do report."""
    those, now = callers(services.control.graph, newest.mesh, canary), services.now()
    if not those:
        return "nobody in the mesh calls by a route that is shifted"
    connected = {one.node for one in services.control.statuses()} & those
    if not connected:
        return "no proxy of those who call is connected"
    if not any(services.traffic.watched_since(one, now) is not None for one in connected):
        return "no proxy of those who call reports its load"
    return ""


async def _goes_on(
    services: Services, first: Release, newest: Release, caller: applying.Caller, asked: CanaryRequest, judged: Judged
) -> None:
    """Commit what follows from the verdict; a step that is refused is a step that failed."""
    canary = newest.part
    failed = services.canaries.course(newest, services.now()).failed
    waived = judged.verdict == "inconclusive" and canary.settings.inconclusive == "proceed" and not asked.leave
    if judged.verdict == "passed" or waived:
        try:
            await _step(services, first, newest, caller, asked.build, judged, failed)
        except RevisionConflictError:
            # Others were faster every time: once more with the next check.
            return
        except RefusedError as error:
            told = f"what comes after it was refused: {error}"
            judged = msgspec.structs.replace(judged, verdict="failed", told=told)
        else:
            services.canaries.end(first.mesh, first.stack)
            return
    if _newest(services, first).number == newest.number:
        await _return(services, first, newest, caller, asked.build, judged, failed)
    services.canaries.end(first.mesh, first.stack)


async def _step(
    services: Services,
    first: Release,
    newest: Release,
    caller: applying.Caller,
    build: Build | None,
    judged: Judged,
    failed: int,
) -> None:
    way = await asyncio.to_thread(way_of, services, first)
    canary, content = following(newest, way, judged, failed)
    rules = (first.approval.rules if first.approval else ()) + (
        first.broken_glass.rules if first.broken_glass else ()
    )

    def planned(state: State) -> Plan:
        refuse_other(services, newest)
        return submitted.from_content(content, first.mesh, first.stack)(state)

    intent = applying.Intent(
        mesh=first.mesh,
        stack=first.stack,
        caller=caller,
        build=build or first.build,
        tool_version=first.tool_version,
        definitions=first.definitions,
        promotes=first.promotes,
        adopted=first.adopted,
        tests=first.tests,
        sources=first.sources,
        canary=canary,
        passes=rules,
    )
    await applying.commit(services, intent, planned)


async def _return(
    services: Services,
    first: Release,
    newest: Release,
    caller: applying.Caller,
    build: Build | None,
    judged: Judged,
    failed: int,
) -> None:
    """Restore what was there before the canary, as a new release that says why.

    Raises:
        AccessDeniedError: the caller may not.
        RefusedError: it cannot be restored, or waits for somebody's approval.
    """
    canary = newest.part
    base = await asyncio.to_thread(services.store.release, first.mesh, first.stack, canary.returns_to)
    if base is None:
        raise NotFoundException(f"Stack {first.stack!r} has no release {canary.returns_to} to return to.")

    def planned(state: State) -> Plan:
        refuse_other(services, newest)
        refuse_missing(base.content, state, first.mesh, first.stack, base.title)
        return submitted.from_content(base.content, first.mesh, first.stack)(state)

    word = "failed" if judged.verdict == "failed" else "was inconclusive"
    intent = applying.Intent(
        mesh=first.mesh,
        stack=first.stack,
        caller=caller,
        kind="rollback",
        restores=base.number,
        definitions=base.definitions,
        tests=base.tests,
        reason=f"the canary {first.title} {word} at {canary.weight} %: {judged.told}"[:1000],
        build=build or first.build,
        tool_version=first.tool_version,
        canary=msgspec.structs.replace(canary, state="returned", weight=0, judged=judged, failed=failed),
    )
    outcome = await applying.commit(services, intent, planned)
    if outcome.pending is not None:
        raise RefusedError(
            f"{first.title} {word} and cannot be returned before {outcome.pending.title} is approved: {judged.told}"
        )


async def _told(services: Services, first: Release, newest: Release, course: Course | None) -> dict[str, Any]:
    """Where the canary stands, with its own releases, oldest first, and the checks of the step under way."""
    many = newest.number - first.number + 1
    known = await asyncio.to_thread(services.store.releases, first.mesh, first.stack, many)
    later = [one for one in reversed(known) if one.number >= first.number]
    own = [one for one in later if one.canary is not None and one.canary.first == first.number]
    last = own[-1].part
    after = next((one for one in later if one.number > own[-1].number), None)
    state = "superseded" if last.state == "step" and after is not None else last.state
    return {
        "canary": first.title,
        "state": state,
        "step": last.step,
        "steps": last.steps,
        "weight": last.weight,
        "release": outcomes.document(newest),
        "releases": [outcomes.document(one) for one in own],
        "checks": to_wire(course.checks) if course is not None else [],
        "waiting": course.waiting if course is not None else "",
        "superseded_by": after.title if state == "superseded" and after is not None else "",
    }
