"""A release from request to commit: plan on the newest revision, judge, perform, commit; all or nothing.

The one rule: whatever was decided was decided on the very revision that the commit follows; when another writer
is faster, everything is decided anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from meshwright import constraints, operations, release, rules
from meshwright.api.attempts import Attempt
from meshwright.api.canary_calls import shared_ways
from meshwright.api.canary_steps import first_step, keep_author, superseding
from meshwright.api.fencing import fence, unfenced
from meshwright.api.guarding import (
    Approved,
    decision_of,
    guarded,
    judged,
    pending_of,
    refuse_blank,
    told_of,
    use_of,
    warnings,
)
from meshwright.api.judging import MOST, lately_called
from meshwright.api.outcomes import Outcome, outcome_answer
from meshwright.api.repeating import Asked, earlier, kept
from meshwright.api.waiting import keep
from meshwright.diagnostics import Severity, Written
from meshwright.graph import resolve
from meshwright.impact.tested import RunSummary
from meshwright.model.identity import EXTENSION_KINDS, Key
from meshwright.model.state import State
from meshwright.plan import arrival
from meshwright.release import (
    Build,
    Canary,
    CanarySettings,
    Change,
    GuardrailError,
    InvalidReleaseError,
    Item,
    Promotion,
    Release,
    Status,
)
from meshwright.release.records import ReleaseKind
from meshwright.store.contract import Draft, Found
from meshwright.trust.principals import Principal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from meshwright.api.fencing import Fence
    from meshwright.api.guarding import Guarded
    from meshwright.api.judging import Calls
    from meshwright.api.services import Services
    from meshwright.plan import Plan
    from meshwright.store.contract import Head


class Caller(msgspec.Struct, frozen=True):
    """Who asks, and what only the connection knows of it: condition keys."""

    principal: Principal
    facts: Mapping[str, str] = MappingProxyType({})
    asked: Asked | None = None
    """The request as one that may be repeated, when it names a key."""
    attempt: Attempt | None = None
    """The request, for the audit log."""

    @property
    def build(self) -> Build | None:
        """The build that it is a job of, as its session's token proved; None for nothing proved."""
        return msgspec.convert(self.principal.build, Build) if self.principal.build else None


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be released, by whom, from which build."""

    mesh: str
    stack: str
    caller: Caller
    kind: ReleaseKind = "apply"
    restores: int | None = None
    reason: str = ""
    build: Build | None = None
    """What the job claims of itself."""
    tool_version: str = ""
    sources: Mapping[str, Written] = MappingProxyType({})
    definitions: str = ""
    promotes: Promotion | None = None
    adopted: tuple[Key, ...] = ()
    tests: RunSummary | None = None
    break_glass: str = ""
    """Why the guardrails are to be passed with a grant; "" for not."""
    approved: Approved | None = None
    """Who lets it through, of a release that waited."""
    begins: CanarySettings | None = None
    """The steps in which it is to be released; then it is the first of them that is committed."""
    canary: Canary | None = None
    """Which part of a canary it is, of what comes after the first step."""
    passes: tuple[str, ...] = ()
    """The guardrails that were passed when the whole of the canary was judged."""


async def commit(services: Services, intent: Intent, planned: Callable[[State], Plan]) -> Outcome:
    """Release what `planned` answers for the newest state.

    Nothing to change and nothing new in the content makes no new release: a repeated request is answered with the
    release that it made the first time, and one with an Idempotency-Key with the very answer that it got.

    Raises:
        AccessDeniedError: naming every object that the principal may not change so.
        BadRequestException: the glass is to be broken for a reason that is blank.
        RefusedError: the build is older than one that released already, or the plan is stale, in conflict, or leads
            to an invalid mesh; nothing was changed.
        RevisionConflictError: other writers were faster every time.
    """
    refuse_blank("break_glass", intent.break_glass)
    outcome: list[Outcome] = []
    calls = lately_called(services, intent.mesh)

    def decide(head: Head) -> Draft | None:
        before = repeated(services, intent.mesh, intent.stack, intent.caller)
        draft, told = (None, before) if before is not None else _decided(services, intent, planned, head, calls)
        outcome[:] = [told]
        return draft

    # In a thread, and first of its batch: the stack's newest release is looked for on disk.
    await services.writer.write(decide, attempt=intent.caller.attempt, slow=True)
    waiting = outcome[0].pending
    if waiting is not None:
        # It is no revision: when it is approved, all of this is decided anew.
        return msgspec.structs.replace(outcome[0], pending=await keep(services, waiting, intent.caller.attempt))
    return outcome[0]


class _Made(NamedTuple):
    """What a release would be, and the state that it leads to."""

    release: Release
    after: State
    plan: Plan
    guarded: Guarded


def _decided(
    services: Services, intent: Intent, planned: Callable[[State], Plan], head: Head, calls: Calls
) -> tuple[Draft | None, Outcome]:
    """What is to be committed after `head`, and what to answer then."""
    fenced = fence(services, intent)
    newest = next(iter(services.store.releases(intent.mesh, intent.stack, 1)), None)
    made = _made(services, intent, planned, head, newest, fenced, calls)
    told = Outcome(
        changed=False, release=newest, fenced=fenced.build is not None and newest is not None,
        warnings=unfenced(intent, fenced),
    )  # fmt: skip
    if made is None:
        return _confirmed(intent, fenced, newest, services.now()), told
    if made.guarded.waits:
        _refuse_step(intent, made.guarded)
        waiting = pending_of(services, intent, made.plan, made.guarded)
        return None, msgspec.structs.replace(told, pending=waiting)
    if intent.begins is not None:
        made = _first(services, intent, intent.begins, head, newest, made)
    new = made.release
    begun = new.canary if intent.begins is not None else None
    ways = shared_ways(resolve(made.after), intent.mesh, begun) if begun is not None else ()
    more = (*told.warnings, *superseding(intent, newest), *ways, *warnings(made.guarded.objections))
    told = Outcome(changed=True, release=new, fenced=fenced.build is not None, warnings=more)
    puts, deletes = operations.changes(head.state, made.after)
    broken, approved = made.guarded.broken, intent.approved
    draft = Draft(
        puts=puts,
        deletes=deletes,
        principal=intent.caller.principal.arn,
        cause=f"{'rollback' if intent.kind == 'rollback' else 'release'} {new.title}",
        at=new.at,
        release=new,
        decision=decision_of(approved, new.number, new.at) if approved is not None else None,
        use=use_of(broken, intent, new.number, new.at) if broken is not None else None,
        answered=kept(intent.caller.asked, outcome_answer(told), new.at),
    )
    return draft, told


def _refuse_step(intent: Intent, guarded: Guarded) -> None:
    """Raise where a step of a canary would wait for somebody, as the whole of it did not."""
    if intent.canary is not None and intent.kind == "apply":
        raise GuardrailError(
            f"A guardrail asks for approval that the canary did not need when it began: {told_of(guarded)}. "
            "Nothing was changed."
        )


def _first(
    services: Services, intent: Intent, steps: CanarySettings, head: Head, newest: Release | None, whole: _Made
) -> _Made:
    """The first step towards what is `whole`, which was authorised, validated and judged as such."""

    def performed(plan: Plan, state: State) -> State:
        return _performed(services, intent, state, plan)

    new, after, plan = first_step(intent, steps, head.state, newest, whole.release, whole.plan, performed)
    keep_author(services, intent)
    return _Made(new, after, plan, whole.guarded)


def _confirmed(intent: Intent, fenced: Fence, newest: Release | None, now: int) -> Draft | None:
    """Write down that a newer build finds the stack as it wants it: from then on older ones come too late."""
    if fenced.build is None or not fenced.advances or newest is None:
        return None
    found = Found(mesh=newest.mesh, stack=newest.stack, number=newest.number, build=fenced.build)
    who = intent.caller.principal.arn
    return Draft(principal=who, cause=f"confirm {newest.title}", at=now, found=found)


def repeated(services: Services, mesh: str, stack: str, caller: Caller) -> Outcome | None:
    """What the same request was answered before, for a caller who may do what it did; reads older states from disk.

    Raises:
        AccessDeniedError: this session may not, though another one of the role could.
        ConflictException: another request came with the key.
    """
    before = earlier(services.store, caller.asked, services.now())
    if before is None:
        return None
    number = msgspec.json.decode(before.body)["release"]["number"]
    made = services.store.release(mesh, stack, number)
    if made is not None:
        services.authority().permit_release(
            caller.principal,
            services.store.state_at(made.revision - 1),
            services.store.state_at(made.revision),
            [one.key for one in made.changes or made.content],
            stack=stack,
            mesh=mesh,
            at=services.now(),
            context=caller.facts,
        )
    return Outcome(changed=False, release=None, answered=before)


def _made(
    services: Services,
    intent: Intent,
    planned: Callable[[State], Plan],
    head: Head,
    newest: Release | None,
    fenced: Fence,
    calls: Calls,
) -> _Made | None:
    """The release and the state that it leads to; None when there is nothing to release."""
    state = head.state
    plan = planned(state)
    after = _performed(services, intent, state, plan)
    content = release.content_of(after, intent.mesh, intent.stack)
    digest = release.digest_of(content)
    if intent.begins is not None and newest is not None and newest.is_step and newest.part.target == digest:
        # A client that was cut off looks after its canary again.
        keep_author(services, intent)
        return None
    if plan.empty:
        if newest.digest == digest and not newest.is_step if newest else not content:
            return None
        # It changes no object, and is what drift of each is measured by from then on.
        _authorise(services, intent, state, after, plan, [one.key for one in content])
    guard = judged(services, intent, plan, state, calls)
    guard = guarded(services, intent, plan, guard, unverified=fenced.unverified)
    new = msgspec.structs.replace(
        _release(services, intent, newest, plan, content),
        revision=head.revision + 1,
        digest=digest,
        risks=guard.risks,
        objections=guard.objections[:MOST],
        approval=guard.approval,
        broken_glass=guard.broken,
    )
    return _Made(new, after, plan, guard)


def _release(
    services: Services, intent: Intent, newest: Release | None, plan: Plan, content: tuple[Item, ...]
) -> Release:
    """What is meant, as the release after the `newest`; its revision, digest and risks are still to be put in."""
    return Release(
        mesh=intent.mesh,
        stack=intent.stack,
        number=newest.number + 1 if newest else 1,
        revision=0,
        parent=newest.number if newest else None,
        digest="",
        at=services.now(),
        principal=intent.caller.principal.arn,
        kind=intent.kind,
        restores=intent.restores,
        reason=intent.reason,
        build=intent.build,
        verified=intent.caller.build,
        tool_version=intent.tool_version,
        definitions=intent.definitions,
        promotes=intent.promotes,
        adopted=intent.adopted,
        tests=intent.tests,
        changes=tuple(Change(action=one.action, key=one.key) for one in plan.changes),
        content=content,
        canary=intent.canary,
        sources=release.places(intent.sources, (one.key for one in plan.changes if one.action != "delete")),
        status=Status.APPLIED,
    )


def _performed(services: Services, intent: Intent, state: State, plan: Plan) -> State:
    """What the plan makes of `state`, for who may, and where that is a valid mesh."""
    _authorise(services, intent, state, arrival(state, plan), plan)
    after = release.perform(state, plan, lambda: services.stamp(intent.caller.principal.account), services.most())
    _authorise(services, intent, state, after, plan)
    _refuse_invalid(state, after, plan)
    return after


def _authorise(
    services: Services, intent: Intent, before: State, after: State, plan: Plan, recorded: Iterable[Key] = ()
) -> None:
    """Raise for every object that the principal may not change so; those of other stacks in the way count as well.

    Asked twice: of what is planned, before anything else is judged, and of what has really come of it. `recorded` are
    objects that stay as they are and become the content of a release.
    """
    services.authority().permit_release(
        intent.caller.principal,
        before,
        after,
        [*(one.key for one in plan.changes), *(one.key for one in plan.conflicts), *recorded],
        stack=intent.stack,
        mesh=intent.mesh,
        at=services.now(),
        context=intent.caller.facts,
    )


def _refuse_invalid(before: State, after: State, plan: Plan) -> None:
    """Raise what is wrong with the mesh after the release, except what was wrong before and is not its business.

    Nor is what other stacks' extensions were about: that they are left without effect keeps nobody from his own.
    """
    old, new = (resolve(State(one for one in state if one.key.mesh == plan.mesh)) for state in (before, after))
    ours = {one.key.path for one in plan.changes}
    known = set(constraints.check(old, whole=True))
    left = {one.key.path for kind in EXTENSION_KINDS for one in after.of(kind, plan.mesh) if one.stack != plan.stack}
    found = [
        one
        for one in constraints.check(new, whole=True)
        if one.subject in ours or (one not in known and one.subject not in left)
    ]
    found += [one for one in rules.audit(new) if one.subject in ours]
    errors = tuple(one for one in found if one.severity is Severity.ERROR)
    if errors:
        count = f"{len(errors)} error{'s' * (len(errors) != 1)}"
        raise InvalidReleaseError(f"The release is refused for {count}; nothing was changed.", errors)
