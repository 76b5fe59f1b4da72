"""Guardrails that cannot do what they are for: nobody may approve, or they can never object; pure.

The one rule: who may approve is asked of the real decision; a policy that a condition may open counts as one that
does, for what it will be asked then is not known here.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from meshwright.diagnostics import Severity
from meshwright.errors import did_you_mean, ended
from meshwright.impact.risks import RISKS
from meshwright.impact.scene import WEIGHT_STEP
from meshwright.trust.guardrails import STRICTNESS
from meshwright.trust.packs import PACKS
from meshwright.trust.review_finding import ABSENT_APPROVER, IDLE_GUARDRAIL, Finding
from meshwright.trust.review_grants import NOBODYS, names_of, principal_of
from meshwright.trust.settings import ADMINISTRATOR, ANY_STACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.trust.authorization import Authority
    from meshwright.trust.settings import Guardrail, Trust

_APPROVING = "meshwright:ApproveRelease"
_MOVED = "weight-moved"


class _Approvers(NamedTuple):
    """Who may approve the releases of a stack."""

    there: tuple[str, ...]
    gone: tuple[str, ...]
    """Roles that may, and that nobody can take."""


def findings(trust: Trust, authorities: Mapping[str, Authority], now: int) -> Iterator[Finding]:
    """What is wrong with the guardrails of all environments."""
    for name, authority in authorities.items():
        yield from _unapproved(trust, name, authority, now)
    for name, rule in trust.guardrails.items():
        holding = [one for one in authorities.values() if one.settled.guardrails.get(name) is not None]
        mine = [one for one in holding if rule.environments is None or one.settled.environment in rule.environments]
        if mine or rule.environments == ():
            why = _idle(name, rule, mine)
            if why:
                yield Finding(
                    rule=IDLE_GUARDRAIL,
                    severity=Severity.WARNING,
                    summary=f"guardrail {name!r} {why}",
                    detail="Whoever wrote it relies on it. Correct it, or remove it.",
                    subject=f"guardrail/{name}",
                    path=f"guardrails.{name}",
                )


def _unapproved(trust: Trust, name: str, authority: Authority, now: int) -> Iterator[Finding]:
    """Rules that have releases wait which nobody but the administrator may approve, by where they are written."""
    settled = authority.settled
    waiting: dict[str, dict[str, list[str]]] = {}
    for each, rule in settled.guardrails.items():
        if rule.severity == "approve":
            own = each in trust.guardrails and rule != _of_pack(authority, trust, each)
            path = f"guardrails.{each}" if own else f"environments.{name}.pack"
            for stack in _stacks(authority):
                if not rule.stacks or _any(rule.stacks, stack):
                    waiting.setdefault(path, {}).setdefault(stack, []).append(each)
    known = {stack: _approvers(authority, stack, now) for stack in _stacks(authority)}
    for path, stacks in waiting.items():
        lacking = [stack for stack in stacks if not known[stack].there]
        if lacking:
            names = ", ".join(repr(one) for one in dict.fromkeys(one for stack in lacking for one in stacks[stack]))
            whose = "any stack" if lacking == [NOBODYS] else ", ".join(f"stack {one!r}" for one in lacking)
            gone = sorted({one for stack in lacking for one in known[stack].gone})
            yield Finding(
                rule=ABSENT_APPROVER,
                severity=Severity.WARNING,
                summary=f"nobody but user/{ADMINISTRATOR} may approve what guardrail {names} has wait of {whose}"
                + (f": nobody can take {', '.join(gone)}" if gone else ""),
                detail=f"Let a user, or a role that somebody else than the author can take, have {_APPROVING} on "
                "the stack.",
                subject=f"environment/{name}" if path.endswith(".pack") else f"guardrail/{path.partition('.')[2]}",
                path=path,
            )


def _of_pack(authority: Authority, trust: Trust, name: str) -> Guardrail | None:
    chosen = trust.environments.get(authority.settled.environment or "")
    return PACKS[chosen.pack].rules.get(name) if chosen is not None and chosen.pack is not None else None


def _stacks(authority: Authority) -> list[str]:
    """The stacks that somebody has; one of no known name where somebody has any, or nobody has one."""
    found = {authority.holding(principal_of(authority, one)).stack for one in names_of(authority)}
    named = sorted(found - {"", ANY_STACK})
    return named if named and ANY_STACK not in found else [*named, NOBODYS]


def _approvers(authority: Authority, stack: str, now: int) -> _Approvers:
    settled = authority.settled
    there: list[str] = []
    gone: list[str] = []
    mesh = settled.mesh or NOBODYS
    resource = f"arn:{settled.partition}:meshwright:{settled.region}:{settled.account}:mesh/{mesh}/stack/{stack}"
    for name in names_of(authority):
        judgement = authority.judge_action(principal_of(authority, name), _APPROVING, resource, at=now)
        maybe = any(
            one.asks_context
            for policy in settled.permissions[name]
            for one in policy.about(_APPROVING.lower()).allows
        )
        if judgement.allowed or maybe:
            kind, _, plain = name.partition("/")
            (there if kind == "user" or settled.roles[plain].assume else gone).append(name)
    return _Approvers(tuple(there), tuple(gone))


def _idle(name: str, rule: Guardrail, holding: list[Authority]) -> str:
    """Why a rule of the file can never object where it holds; "" where it can."""
    if rule.environments == ():
        return "holds in no environment"
    if rule.severity == "ignore":
        packs = {one for pack in PACKS.values() for one in pack.rules}
        if name in packs:
            return ""
        hint = did_you_mean(name, packs, f"packs have {', '.join(sorted(packs))}")
        return f"switches off what no pack has; {ended(hint)}".removesuffix(".")
    if rule.fields and not rule.risks and rule.actions and "update" not in rule.actions:
        return f"asks for changed fields, and a {' or a '.join(rule.actions)} changes none"
    known = sorted({stack for one in holding for stack in _stacks(one)})
    if rule.stacks and NOBODYS not in known and not any(_any(rule.stacks, one) for one in known):
        hint = did_you_mean(rule.stacks[0], known, f"there are {', '.join(known)}")
        return f"is about {', '.join(map(repr, rule.stacks))}, the stack of no user and no role; {hint}".rstrip(".")
    stricter = [_stricter(name, rule, one.settled.guardrails) for one in holding]
    if all(stricter) and rule.risks:
        named = ", ".join(repr(one) for one in sorted({one for each in stricter for one in each}))
        return f"is never told: {named} minds the same, and is stricter"
    return ""


def _stricter(name: str, rule: Guardrail, rules: Mapping[str, Guardrail]) -> set[str]:
    """Rules that are stricter than `rule` and mind, together and without exception, every risk that it minds."""
    found: set[str] = set()
    for code in (one for one in RISKS if _any(rule.risks, one)):
        over = next((each for each, one in rules.items() if each != name and _covers(one, rule, code)), None)
        if over is None:
            return set()
        found.add(over)
    return found


def _covers(one: Guardrail, rule: Guardrail, code: str) -> bool:
    if one.severity == "ignore" or rule.severity == "ignore":
        return False
    wide = not (one.objects or one.fields or one.stacks or one.untested is not None) and set(one.kinds) >= set(
        rule.kinds
    )
    steps = [WEIGHT_STEP if each.over is None else each.over for each in (one, rule)]
    as_early = code != _MOVED or steps[0] <= steps[1]
    stricter = STRICTNESS.index(one.severity) > STRICTNESS.index(rule.severity)
    return wide and as_early and stricter and _any(one.risks, code)


def _any(patterns: tuple[str, ...], text: str) -> bool:
    return any(fnmatchcase(text, one.replace("[", "[[]")) for one in patterns)
