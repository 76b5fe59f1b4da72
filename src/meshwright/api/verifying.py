"""Verification: from what the control plane sees and a client brings to a judgement, its evidence, and a status.

The one rule: the control plane judges by its own sight of proxies and endpoints at that moment. A client adds what
only it can see, and can take nothing away.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from meshwright import release
from meshwright.api import outcomes
from meshwright.api.answers import answer
from meshwright.api.asked import body_of, release_of
from meshwright.api.inspecting import inspected, unknown
from meshwright.api.observed_routes import together
from meshwright.api.propagating import observed, with_inherited
from meshwright.errors import BadRequestException, RefusedError
from meshwright.release import Inspection, Status, VerifyRequest
from meshwright.release.inspection import bounded, ended, judged
from meshwright.telemetry.happening import event
from meshwright.views.wire import to_wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from meshwright.api.attempts import Attempt
    from meshwright.api.services import Services
    from meshwright.release import Check, Release

PATIENCE = 30.0
"""Seconds that one judgement waits at most for what is still to come."""
_LOOK = 0.5
"""Seconds between two looks meanwhile: each asks thousands of proxies, where there are so many."""
_MOST_CHECKS = 10
_CLIENTS = frozenset({"routes", "telemetry"})


async def _seen(
    services: Services, one: Release, expected: Mapping[str, int], *, anew: bool
) -> tuple[Release, tuple[Check, ...]]:
    """The control plane's own checks of a release now, and the release with what they mean for its propagation.

    Whether it is what runs is looked at only `anew`.

    Raises:
        RefusedError: it is not what runs.
        BadRequestException: `expected` names what is no virtual node of it.
    """
    strangers = unknown(one, expected)
    if strangers:
        raise BadRequestException(
            f"{one.title} holds no virtual node {strangers[0]!r}, of which instances are expected."
        )
    if anew:
        await asyncio.to_thread(_refuse_other, services, one)
    found = with_inherited(services, one, services.control.propagation(one.revision, one.mesh))
    one = await observed(services, one, found)
    return one, inspected(services, one, found, expected)


async def post_verification(services: Services, request: Request) -> Response:
    """Judge by evidence whether a release is good, keep that, and move its status; 201, or 200 for only a look."""
    one, asked = release_of(services, request), await body_of(request, VerifyRequest)
    attempt = request.state.attempt
    one, checks, kept = await verify(services, one, asked, attempt)
    # Only to look is to read.
    attempt.recorded = True
    document = {"release": outcomes.document(one), "checks": to_wire(checks), "inspection": to_wire(kept)}
    return answer(document, 200 if kept is None else 201)


async def get_verifications(services: Services, request: Request) -> Response:
    """The verifications of a release with their evidence, newest first; the newest 100."""
    one = release_of(services, request)
    found = services.store.inspections(one.mesh, one.stack, one.number)
    return answer({"release": one.title, "status": one.status, "inspections": to_wire(found)})


async def verify(
    services: Services, one: Release, asked: VerifyRequest, attempt: Attempt
) -> tuple[Release, tuple[Check, ...], Inspection | None]:
    """Judge a release, keep the evidence, and move its status; or only look.

    Raises:
        RefusedError: it is not what runs, or may not become what it was judged to be.
        BadRequestException: the request says what no client can.
    """
    _refuse_claims(asked)
    one, own = await _settled(services, one, asked)
    if asked.look:
        return one, together(own, asked.checks), None
    checks = bounded(map(ended, together(own, asked.checks)))
    inspection = Inspection(
        at=services.now(),
        principal=attempt.principal.arn,
        judgement=judged(checks, unprobed_allowed=asked.unprobed_allowed),
        unprobed_allowed=asked.unprobed_allowed,
        checks=checks,
        build=asked.build,
        tool_version=asked.tool_version,
    )
    # In a thread: another process's write may hold the database for seconds.
    place = one.mesh, one.stack, one.number
    await asyncio.to_thread(services.store.note_inspection, *place, inspection, attempt.trail)
    services.metrics.verified(inspection.judgement)
    services.told(event(inspection.judgement, one, inspection.at, principal=inspection.principal))
    return msgspec.structs.replace(one, status=inspection.status or one.status), checks, inspection


async def _settled(services: Services, one: Release, asked: VerifyRequest) -> tuple[Release, tuple[Check, ...]]:
    """The control plane's own checks, once nothing of them is still to come or the request's patience is over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + min(asked.patience, PATIENCE)
    began_at, looked = services.now(), -1
    while True:
        # What runs is read from disk and digested: only once more where something was written meanwhile.
        newest = services.store.head().revision
        one, own = await _seen(services, one, asked.expected, anew=newest != looked)
        looked = newest
        # Calls that nobody makes are not waited for where it is all the same whether they are seen.
        without = "routes" if asked.unprobed_allowed else ""
        waiting = any(check.outcome == "pending" and check.name != without for check in together(own, asked.checks))
        if loop.time() >= end or not waiting:
            return one, tuple(msgspec.structs.replace(check, began_at=began_at) for check in own)
        await asyncio.sleep(_LOOK)


def _refuse_claims(asked: VerifyRequest) -> None:
    """Raise for what a client cannot know better than the control plane."""
    if len(asked.checks) > _MOST_CHECKS:
        raise BadRequestException(f"A verification takes {_MOST_CHECKS} checks at most, found {len(asked.checks)}.")
    for one in asked.checks:
        if one.by != "client" or one.name not in _CLIENTS:
            raise BadRequestException(
                f"A client cannot say what came of {one.name!r} by {one.by!r}; it brings its own checks of "
                f"{' and '.join(sorted(_CLIENTS))}."
            )
    if not 0 <= asked.patience <= PATIENCE:
        raise BadRequestException(f"patience takes a number from 0 to {PATIENCE:g}, found {asked.patience:g}.")


def _refuse_other(services: Services, one: Release) -> None:
    """Raise where the release is not what runs: what would be seen were another one's."""
    newest = next(iter(services.store.releases(one.mesh, one.stack, 1)), None)
    if newest is not None and newest.number != one.number:
        raise RefusedError(
            f"{one.title} cannot be verified: {newest.title} came after it, and is what runs. Verify that one."
        )
    if one.is_step:
        raise RefusedError(f"{one.title} cannot be verified: it is a step of a canary, on the way to something else.")
    running = release.digest_of(release.content_of(services.store.head().state, one.mesh, one.stack))
    if running != one.digest:
        raise RefusedError(
            f"{one.title} cannot be verified: its stack does not run as the release left it. "
            "'meshwright drift' shows where; repair that, or release anew."
        )
    if one.status is Status.ROLLED_BACK:
        raise RefusedError(f"{one.title} cannot be verified: it was rolled back.")
