"""Releases that wait, and grants past the guardrails: listed, approved, withdrawn, given; plans judged beforehand.

The one rule: nobody lets his own release through. Who somebody is follows from what was proved first, and not from
the name of a session.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from meshwright.api import applying, outcomes, submitted
from meshwright.api.answers import answer
from meshwright.api.asked import body_of, in_path, stack_of
from meshwright.api.connection_facts import connection_facts
from meshwright.api.guarding import Approved, judged, overall, refuse_blank, tests_of
from meshwright.api.judging import lately_called
from meshwright.api.searching import conditions, number
from meshwright.api.waiting import approval_event
from meshwright.errors import AccessDeniedError, BadRequestException, NotFoundException, RefusedError, did_you_mean
from meshwright.release import ApplyRequest
from meshwright.store.approvals import Decision, Grant
from meshwright.telemetry.happening import beside
from meshwright.trust.settings import ADMINISTRATOR
from meshwright.views.wire import to_wire

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from meshwright.api.services import Services
    from meshwright.release import Release
    from meshwright.store.approvals import Pending, Use
    from meshwright.telemetry.happening import Event
    from meshwright.trust.principals import Principal

LONGEST_GRANT = 24 * 60
"""Minutes."""
_GRANTEE = re.compile(r"(user|role)/[A-Za-z0-9+=,.@_-]{1,64}")


class DecisionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Approve or withdraw a pending release."""

    reason: Annotated[str, Meta(max_length=1000)] = ""


class GrantRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let somebody pass the guardrails of a stack with one release."""

    grantee: str
    """`user/NAME` or `role/NAME`."""
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    minutes: Annotated[int, Meta(ge=1, le=LONGEST_GRANT)] = 60


async def get_pending(services: Services, request: Request) -> Response:
    """The releases of a stack that wait for approval, or did, newest first; `next` to ask on `before`."""
    mesh, stack = stack_of(request)
    signed, limit = conditions(request.query_params, {"before"}, "pending releases")
    before = number("before", signed["before"]) if "before" in signed else None
    found = await asyncio.to_thread(services.store.pending, mesh, stack, limit + 1, before)
    now, page = services.now(), found[:limit]
    more = page[-1][0].number if len(found) > limit else None
    listed = [outcomes.waiting_document(one, over, _state(one, over, now)) for one, over in page]
    return answer({"mesh": mesh, "stack": stack, "pending": listed, "next": more})


async def post_approval(services: Services, request: Request) -> Response:
    """Apply a pending release exactly as it was planned, or refuse it as stale; by somebody else than its author.

    Whoever has approved it already is answered as the first time.
    """
    mesh, stack = stack_of(request)
    wanted, who = in_path(request, "number"), request.state.principal
    asked = await body_of(request, DecisionRequest)
    made = await asyncio.to_thread(_approved_before, services, mesh, stack, wanted, who)
    if made is None:
        try:
            return outcomes.outcome_answer(await _approved(services, request, asked.reason, wanted))
        except RefusedError:
            # The same may have been asked twice at once: whoever was later is told what the other one was.
            made = await asyncio.to_thread(_approved_before, services, mesh, stack, wanted, who)
            if made is None:
                raise
    return outcomes.outcome_answer(outcomes.Outcome(changed=True, release=made))


async def _approved(services: Services, request: Request, reason: str, wanted: int) -> outcomes.Outcome:
    """What comes of a pending release that the caller approves."""
    mesh, stack = stack_of(request)
    who = request.state.principal
    one = await asyncio.to_thread(_open, services, mesh, stack, wanted)
    _refuse_own(one, who)
    await asyncio.to_thread(_refuse_revoked, services, one)
    intent = applying.Intent(
        mesh=mesh,
        stack=stack,
        caller=applying.Caller(one.principal, one.facts, attempt=request.state.attempt),
        kind=one.kind,
        restores=one.restores,
        reason=one.reason,
        build=one.build,
        tool_version=one.tool_version,
        definitions=one.definitions,
        promotes=one.promotes,
        adopted=one.adopted,
        tests=one.tests,
        sources=one.sources,
        approved=Approved(one, who, reason),
        begins=one.canary,
    )

    def planned(observed: Any) -> Any:
        # Once more, on what is on disk when the commit is decided: somebody else may have been faster.
        _open(services, mesh, stack, wanted)
        return submitted.from_plan(one.plan)(observed)

    return await applying.commit(services, intent, planned)


async def post_withdrawal(services: Services, request: Request) -> Response:
    """Let a pending release wait no longer; its author may as well."""
    mesh, stack = stack_of(request)
    asked, who = await body_of(request, DecisionRequest), request.state.principal
    one = await asyncio.to_thread(_open, services, mesh, stack, in_path(request, "number"))
    decision = Decision(
        mesh=mesh,
        stack=stack,
        number=one.number,
        verdict="withdrawn",
        principal=who.arn,
        identity=who.identity,
        at=services.now(),
        reason=asked.reason,
    )
    attempt = request.state.attempt
    await asyncio.to_thread(services.store.withdraw, decision, attempt.trail)
    attempt.recorded = True
    services.told(approval_event("withdrawn", one, who.arn, decision.at))
    return answer(outcomes.waiting_document(one, decision, "withdrawn"))


async def post_judgement(services: Services, request: Request) -> Response:
    """What the guardrails would say of a plan that is applied now; nothing is changed."""
    mesh, stack = stack_of(request)
    asked = await body_of(request, ApplyRequest)
    if asked.plan is None or (asked.plan.mesh, asked.plan.stack) != (mesh, stack):
        raise BadRequestException(f"Send the plan for stack {stack!r} in mesh {mesh!r}.")
    caller = applying.Caller(request.state.principal, connection_facts(request.scope))
    intent = applying.Intent(mesh=mesh, stack=stack, caller=caller, sources=asked.sources, tests=tests_of(asked))
    calls, state = lately_called(services, mesh), services.store.head().state
    plan = await asyncio.to_thread(submitted.from_plan(asked.plan), state)
    found = (await asyncio.to_thread(judged, services, intent, plan, state, calls)).objections
    environment = services.authority().settled.environment
    return answer({"environment": environment, "verdict": overall(found), "objections": to_wire(found)})


async def get_grants(services: Services, request: Request) -> Response:
    """The grants past the guardrails of a stack, newest first, and what they were used for."""
    mesh, stack = stack_of(request)
    found = await asyncio.to_thread(services.store.grants, mesh, stack)
    listed = [_grant(one, use, services.now()) for one, use in found]
    return answer({"mesh": mesh, "stack": stack, "grants": listed})


async def post_grant(services: Services, request: Request) -> Response:
    """Let somebody pass the guardrails of a stack with one release, within so many minutes."""
    mesh, stack = stack_of(request)
    asked, who, now = await body_of(request, GrantRequest), request.state.principal, services.now()
    refuse_blank("reason", asked.reason)
    if not _GRANTEE.fullmatch(asked.grantee):
        raise BadRequestException(f"{asked.grantee[:80]!r} is nobody; write user/NAME or role/NAME.")
    settled = services.authority().settled
    known = [f"user/{name}" for name in (ADMINISTRATOR, *settled.users)] + [f"role/{name}" for name in settled.roles]
    if asked.grantee not in known:
        hint = did_you_mean(asked.grantee, known, "Declare it in trust.yaml, or correct the name.", sentence=True)
        raise BadRequestException(f"There is no {asked.grantee!r} in this environment. {hint}")
    own = asked.grantee == f"{who.kind}/{who.name}"
    if own and not services.authority().is_administrator(who):
        raise RefusedError(
            f"{asked.grantee} cannot let itself pass; user/{ADMINISTRATOR} alone may, and it is written down. "
            "Nothing was granted."
        )
    grant = Grant(
        mesh=mesh,
        stack=stack,
        grantee=asked.grantee,
        reason=asked.reason,
        principal=who.arn,
        identity=who.identity,
        at=now,
        expires_at=now + asked.minutes * 60_000,
    )
    attempt = request.state.attempt
    kept = await asyncio.to_thread(services.store.add_grant, grant, attempt.trail)
    attempt.recorded = True
    services.told(_given(kept))
    return answer(_grant(kept, None, now), 201)


async def get_guardrails(services: Services, request: Request) -> Response:
    """The rules on plans that hold here, by name."""
    settled = services.authority().settled
    return answer(
        {
            "mesh": request.path_params["mesh"],
            "environment": settled.environment,
            "releases_only": settled.releases_only,
            "verified_builds": settled.verified_builds,
            "approval_seconds": settled.approval_seconds,
            "guardrails": to_wire(dict(settled.guardrails)),
        }
    )


def _state(one: Pending, over: Decision | None, now: int) -> str:
    if over is not None:
        return over.verdict
    return "expired" if one.expires_at <= now else "open"


def _given(one: Grant) -> Event:
    return beside(
        "grant",
        "given",
        one.at,
        mesh=one.mesh,
        stack=one.stack,
        title=f"grant {one.number}",
        principal=one.principal,
        said={"grant": one.number, "grantee": one.grantee, "grant.minutes": (one.expires_at - one.at) // 60_000},
    )


def _grant(one: Grant, use: Use | None, now: int) -> dict[str, Any]:
    state = "used" if use is not None else "expired" if one.expires_at <= now else "open"
    return {**to_wire(one), "state": state, "use": to_wire(use)}


def _asked(services: Services, mesh: str, stack: str, wanted: int) -> tuple[Pending, Decision | None]:
    """A release that waits, or did, and what became of it; reads the database.

    Raises:
        NotFoundException: there is none of that number.
    """
    for one, over in services.store.pending(mesh, stack, 1, wanted + 1):
        if one.number == wanted:
            return one, over
    raise NotFoundException(f"Stack {stack!r} in mesh {mesh!r} has no pending release {wanted}.")


def _approved_before(services: Services, mesh: str, stack: str, wanted: int, who: Principal) -> Release | None:
    """What a pending release became that `who` has approved already; reads the database.

    Raises:
        NotFoundException: there is none of that number.
    """
    _, over = _asked(services, mesh, stack, wanted)
    if over is None or over.release is None or over.identity != who.identity:
        return None
    return services.store.release(mesh, stack, over.release)


def _open(services: Services, mesh: str, stack: str, wanted: int) -> Pending:
    """A release that waits still; reads the database.

    Raises:
        NotFoundException: there is none of that number.
        RefusedError: it is decided, or nobody did so in time.
    """
    one, over = _asked(services, mesh, stack, wanted)
    if over is not None:
        became = f" and is {stack}#{over.release}" if over.release is not None else ""
        why = f": {over.reason}" if over.reason else ""
        raise RefusedError(f"{one.title} was {over.verdict} by {over.principal}{became}{why}. Nothing was changed.")
    if one.expires_at <= services.now():
        raise RefusedError(f"{one.title} was not approved in time. Apply again. Nothing was changed.")
    return one


def _refuse_own(one: Pending, who: Principal) -> None:
    """Raise where the approver is the author, or a job that the same person set off, or of the same build."""
    ground = _own(one.principal, who)
    if ground:
        raise AccessDeniedError(
            f"User: {who.arn} cannot approve {one.title} because {ground}; it takes somebody else. "
            "Nothing was changed."
        )


def _own(author: Principal, who: Principal) -> str:
    """What makes the release of `author` the own one of `who`, in words; "" for nothing."""
    if who.identity == author.identity:
        return f"it is the author's own ({author.identity})"
    mine, others = who.build, author.build

    def shared(*facts: str) -> bool:
        return all(mine.get(fact) and mine.get(fact) == others.get(fact) for fact in facts)

    if shared("issuer", "author"):
        return f"the job that asks was set off by {mine['author']}, as the release was"
    if shared("issuer", "repository", "build_id"):
        number = mine.get("build_number") or mine["build_id"]
        return f"the job that asks is of build {number} of {mine['repository']}, as the release is"
    return ""


def _refuse_revoked(services: Services, one: Pending) -> None:
    """Raise where the author's credential was revoked since: what it asked for is not to be done any more."""
    store, key_id = services.store, one.principal.key_id
    credential = store.key(key_id) or store.session(key_id)
    if credential is None or store.revoked(credential):
        raise RefusedError(
            f"The credential {key_id} that asked for {one.title} was revoked since, or is forgotten. Apply again. "
            "Nothing was changed."
        )
