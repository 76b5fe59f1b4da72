"""What the environment's guardrails make of a release: let it through, warn, have it wait, or refuse it.

The one rule: judged while the commit is decided, by what the server sees itself, and for everybody alike: what a
build sends cannot soften it, and the administrator passes with a grant that is written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from meshwright import release
from meshwright.api.fencing import UNVERIFIED
from meshwright.api.judging import MOST, all_risks_of
from meshwright.api.returning import returning
from meshwright.errors import BadRequestException, RefusedError
from meshwright.impact.scene import WEIGHT_STEP
from meshwright.impact.values import Objection
from meshwright.model.identity import Key
from meshwright.plan import diff
from meshwright.release import Approval, BrokenGlass, GuardrailError, places
from meshwright.store.approvals import Decision, Pending, Use
from meshwright.trust.guardrails import moved_points, objections, rules_of, softened, verdict, weight_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.api.applying import Intent
    from meshwright.api.judging import Calls
    from meshwright.api.services import Services
    from meshwright.impact.tested import RunSummary
    from meshwright.impact.values import Risk
    from meshwright.model.state import State
    from meshwright.plan import Plan
    from meshwright.release import ApplyRequest
    from meshwright.store.approvals import Grant
    from meshwright.trust.guardrails import Verdict
    from meshwright.trust.principals import Principal

MOST_TOLD = 20
"""Objections that a refusal spells out."""


class Approved(NamedTuple):
    """Who lets a pending release through."""

    pending: Pending
    principal: Principal
    reason: str


class Guarded(NamedTuple):
    """What the guardrails say of a release, and with what it passes them."""

    risks: tuple[Risk, ...]
    """The first `MOST`, by the usual step."""
    objections: tuple[Objection, ...]
    """All of them."""
    waits: bool = False
    """Whether it needs somebody else's word, and has it not."""
    approval: Approval | None = None
    broken: BrokenGlass | None = None


def judged(services: Services, intent: Intent, plan: Plan, state: State, calls: Calls) -> Guarded:
    """The risks of `plan`, made of `state`, and what the guardrails have against them; may read the database.

    Of a way back to the last good release they mind what differs from that alone, and of the rest they warn.
    """
    settled = services.authority().settled
    rules = rules_of(settled.guardrails, settled.mesh)
    step = min(weight_step(rules), WEIGHT_STEP)
    found = all_risks_of(plan, state, calls, intent.sources, services.now(), step)
    usual = [one for one in found if one.code != "weight-moved" or moved_points(one) > WEIGHT_STEP]
    minded = objections(rules, plan, found, intent.kind, intent.tests)
    back = returning(services.store, intent, state) if minded else None
    if back is not None:
        proven = diff(back.ground, release.restored(back.to.content), intent.stack, intent.mesh)
        left = all_risks_of(proven, back.ground, calls, {}, services.now(), step)
        minded = softened(minded, objections(rules, proven, left, intent.kind, intent.tests), back.to.title)
    return Guarded(tuple(usual[:MOST]), minded)


def guarded(services: Services, intent: Intent, plan: Plan, found: Guarded, *, unverified: bool) -> Guarded:
    """`found` with what lets the release through; it waits where that takes somebody else. Reads the database.

    `unverified` is a release that the environment does not take without a grant.

    Raises:
        GuardrailError: it is denied.
        RefusedError: there is no grant to break the glass with, or what was approved is not all that asks for it.
    """
    if unverified:
        found = found._replace(objections=(_unverified(services, plan), *found.objections))
    strict = [one for one in found.objections if one.severity != "warn" and one.rule not in intent.passes]
    if not strict:
        return found
    rules = tuple(dict.fromkeys(one.rule for one in strict))
    if intent.break_glass:
        grant = _grant(services, intent)
        broken = BrokenGlass(
            grant=grant.number,
            granted_by=grant.principal,
            granted_for=grant.reason,
            reason=intent.break_glass,
            rules=rules,
        )
        return found._replace(broken=broken)
    if verdict(strict) == "deny":
        against = [one for one in strict if one.severity == "deny"]
        raise GuardrailError(_told(against, services), objects=(one.key.path for one in against))
    if intent.approved is None:
        return found._replace(waits=True)
    return found._replace(approval=_approval(services, intent.approved, rules))


def refuse_blank(name: str, reason: str) -> None:
    """Raise where a reason, which may be left out, is given and says nothing.

    Raises:
        BadRequestException: it is of blanks and invisible characters alone.
    """
    if reason and not any(one.isprintable() and not one.isspace() for one in reason):
        raise BadRequestException(f"The member {name} is blank: say why, for whoever reads it in the audit log.")


def tests_of(asked: ApplyRequest) -> RunSummary | None:
    """What tests said of the definitions that are to be released.

    Raises:
        BadRequestException: it is of other definitions.
    """
    if asked.tests is not None and asked.tests.definitions != asked.definitions:
        raise BadRequestException("tests are of other definitions than those that are to be released.")
    return asked.tests


def pending_of(services: Services, intent: Intent, plan: Plan, found: Guarded) -> Pending:
    """The release as it waits."""
    now = services.now()
    return Pending(
        mesh=intent.mesh,
        stack=intent.stack,
        at=now,
        expires_at=now + services.authority().settled.approval_seconds * 1000,
        kind=intent.kind,
        restores=intent.restores,
        reason=intent.reason,
        plan=plan,
        principal=intent.caller.principal,
        facts=dict(intent.caller.facts),
        build=intent.build,
        tool_version=intent.tool_version,
        definitions=intent.definitions,
        promotes=intent.promotes,
        adopted=intent.adopted,
        tests=intent.tests,
        canary=intent.begins,
        sources=places(intent.sources, (one.key for one in plan.changes if one.action != "delete")),
        objections=found.objections[:MOST],
        risks=found.risks,
    )


def decision_of(approved: Approved, number: int, at: int) -> Decision:
    """That a pending release was approved, and became the release `number`."""
    pending, who = approved.pending, approved.principal
    return Decision(
        mesh=pending.mesh,
        stack=pending.stack,
        number=pending.number,
        verdict="approved",
        principal=who.arn,
        identity=who.identity,
        at=at,
        reason=approved.reason,
        release=number,
    )


def use_of(broken: BrokenGlass, intent: Intent, number: int, at: int) -> Use:
    """That a grant was used for the release `number`."""
    return Use(
        number=broken.grant,
        principal=intent.caller.principal.arn,
        at=at,
        reason=broken.reason,
        mesh=intent.mesh,
        stack=intent.stack,
        release=number,
    )


def warnings(found: Sequence[Objection]) -> tuple[str, ...]:
    """What guardrails say of a release that they let through, one sentence each."""
    return tuple(_sentence(one) for one in found[:MOST_TOLD] if one.severity == "warn")


def told_of(found: Guarded) -> str:
    """What asks for somebody's approval, in one line without its full stop."""
    told = (_sentence(one) for one in found.objections[:MOST_TOLD] if one.severity == "approve")
    return "; ".join(told).rstrip(".")


def overall(found: Sequence[Objection]) -> Verdict:
    """What all objections come to."""
    return verdict(found)


def _approval(services: Services, approved: Approved, rules: tuple[str, ...]) -> Approval:
    known = {one.rule for one in approved.pending.objections}
    new = [one for one in rules if one not in known]
    if new:
        raise RefusedError(
            f"The guardrail {', '.join(map(repr, new))} did not mind {approved.pending.title} when it was asked for, "
            "and does now. Apply again, so that whoever approves it sees that. Nothing was changed."
        )
    return Approval(
        pending=approved.pending.number,
        principal=approved.principal.arn,
        identity=approved.principal.identity,
        at=services.now(),
        reason=approved.reason,
        rules=rules,
    )


def _grant(services: Services, intent: Intent) -> Grant:
    """A grant that the caller may use now; the one that ends first."""
    who, now = intent.caller.principal, services.now()
    mine = f"{who.kind}/{who.name}"
    known = services.store.grants(intent.mesh, intent.stack)
    alone = not services.authority().is_administrator(who)
    theirs = [one for one, use in known if use is None and one.grantee == mine and now < one.expires_at]
    usable = [one for one in theirs if not (alone and one.identity == who.identity)]
    if theirs and not usable:
        numbers = ", ".join(str(one.number) for one in theirs)
        raise RefusedError(
            f"{who.arn} cannot pass the guardrails with grant {numbers}, which lets {mine} pass: whoever gave it is "
            f"behind this session as well ({who.identity}), and nobody lets himself pass. Another one's session may "
            "use it, or somebody else gives one. Nothing was changed."
        )
    if not usable:
        raise RefusedError(
            f"No grant lets {mine} pass the guardrails of stack {intent.stack!r} in mesh {intent.mesh!r} now: none "
            "was given, or it is used or over. An administrator gives one with 'meshwright guardrails break-glass'. "
            "Nothing was changed."
        )
    return min(usable, key=lambda one: one.expires_at)


def _unverified(services: Services, plan: Plan) -> Objection:
    where = services.authority().settled.environment
    return Objection(
        rule=UNVERIFIED,
        severity="deny",
        message=f"The environment {where!r} takes releases of verified builds only.",
        about="apply",
        key=Key.of_mesh(plan.mesh),
        summary="no token proves a number of its build",
    )


def _told(denied: Sequence[Objection], services: Services) -> str:
    """A refusal with every objection, up to `MOST_TOLD`."""
    where = services.authority().settled.environment
    lines = "".join(f"\n  {_sentence(one)}" for one in denied[:MOST_TOLD])
    more = f"\n  and {len(denied) - MOST_TOLD} more" if len(denied) > MOST_TOLD else ""
    return (
        f"The guardrails{f' of the environment {where!r}' if where else ''} refuse the release; nothing was changed:"
        f"{lines}{more}"
    )


def _sentence(one: Objection) -> str:
    place = f" {one.path}" if one.path else ""
    return f"{one.rule} ({one.about}): {one.key}{place}: {one.summary.rstrip('.')}. {one.message}"
