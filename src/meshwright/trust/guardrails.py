"""What the guardrails of an environment say of a plan: rules as data, judged by the risks that the server sees; pure.

The one rule: a rule is the administrator's, in the server's file, so that no build softens it; of several that object
to the same thing the strictest is told.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import msgspec

from meshwright.impact.scene import WEIGHT_STEP
from meshwright.impact.tested import lacking
from meshwright.impact.values import Objection
from meshwright.trust.patterns import pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from meshwright.impact.tested import RunSummary
    from meshwright.impact.values import Risk
    from meshwright.model.identity import Key
    from meshwright.plan import Plan
    from meshwright.trust.patterns import Pattern
    from meshwright.trust.settings import Guardrail, ReleaseKind

    Verdict: TypeAlias = Literal["allow", "warn", "approve", "deny"]

STRICTNESS: tuple[Verdict, ...] = ("allow", "warn", "approve", "deny")
"""From the mildest on."""
_MOVED = "weight-moved"


class Rule(NamedTuple):
    """A guardrail as it holds in one environment."""

    name: str
    rule: Guardrail
    objects: tuple[Pattern, ...]

    def about(self, key: Key) -> bool:
        """Whether it is about an object."""
        return not self.objects or any(one.matches(key) for one in self.objects)


def rules_of(guardrails: Mapping[str, Guardrail], mesh: str) -> tuple[Rule, ...]:
    """The rules that hold where relative patterns mean `mesh`; those with severity `ignore` hold nowhere."""
    return tuple(
        Rule(name, one, tuple(pattern(text, mesh, f"guardrails.{name}.objects") for text in one.objects))
        for name, one in guardrails.items()
        if one.severity != "ignore"
    )


def weight_step(rules: Iterable[Rule]) -> float:
    """Percentage points from which on a share that moves has to be seen, for the rules and for people."""
    return min((one.rule.over for one in rules if one.rule.over is not None), default=WEIGHT_STEP)


def objections(
    rules: Sequence[Rule], plan: Plan, risks: Iterable[Risk], kind: ReleaseKind, tests: RunSummary | None = None
) -> tuple[Objection, ...]:
    """What the rules have against a plan, in the order of its risks and then of its changes.

    `tests` are what is known of its definitions by tests.
    """
    asked = [
        one
        for one in rules
        if kind in one.rule.kinds
        and (not one.rule.stacks or _any(one.rule.stacks, plan.stack))
        and (one.rule.untested is None or lacking(tests, one.rule.untested))
    ]
    found: list[Objection] = []
    for risk in risks:
        found += _strictest(_objection(one, risk) for one in asked if _minds_risk(one, risk))
    for one in asked:
        if not one.rule.risks:
            found += _to_changes(one, plan)
    why = {one.name: lacking(tests, one.rule.untested) for one in asked if one.rule.untested is not None}
    return tuple(
        msgspec.structs.replace(one, summary=f"{one.summary.rstrip('.')}, and {why[one.rule]}")
        if one.rule in why
        else one
        for one in found
    )


def softened(found: Sequence[Objection], left: Sequence[Objection], to: str) -> tuple[Objection, ...]:
    """The objections to a way back to the release `to`: those that are `left` against it, and of the others warnings.

    What `to` had already is no objection to having it again, whatever a release that failed brought meanwhile.
    """
    stay = {_identity(one) for one in left}
    told = (
        msgspec.structs.replace(one, severity="warn", summary=f"{one.summary.rstrip('.')}, as it was in {to}")
        for one in found
        if _identity(one) not in stay
    )
    return (*left, *told)


def _identity(one: Objection) -> tuple[str, str, Key, str]:
    return one.rule, one.about, one.key, one.path


def verdict(found: Iterable[Objection]) -> Verdict:
    """What the strictest objection comes to."""
    return max((one.severity for one in found), key=STRICTNESS.index, default="allow")


def _minds_risk(one: Rule, risk: Risk) -> bool:
    rule = one.rule
    if not _any(rule.risks, risk.code) or not one.about(risk.key):
        return False
    if rule.fields and not _any(rule.fields, risk.path):
        return False
    return risk.code != _MOVED or moved_points(risk) > (WEIGHT_STEP if rule.over is None else rule.over)


def moved_points(risk: Risk) -> float:
    """By how many percentage points a share moves."""
    moved: float = abs((risk.new or 0) - (risk.old or 0))
    return round(moved, 1)


def _objection(one: Rule, risk: Risk) -> Objection:
    return Objection(
        rule=one.name,
        severity=_severity(one.rule),
        message=one.rule.message,
        about=risk.code,
        key=risk.key,
        path=risk.path,
        summary=risk.summary,
    )


def _to_changes(one: Rule, plan: Plan) -> Iterator[Objection]:
    """A rule that names no risk is about changes as such."""
    for change in plan.changes:
        if not one.about(change.key) or (one.rule.actions and change.action not in one.rule.actions):
            continue
        paths = [field.path for field in change.fields if not one.rule.fields or _any(one.rule.fields, field.path)]
        if one.rule.fields and not paths:
            continue
        what = f"{', '.join(paths[:3])}{' …' if len(paths) > 3 else ''} would change"
        yield Objection(
            rule=one.name,
            severity=_severity(one.rule),
            message=one.rule.message,
            about=change.action,
            key=change.key,
            path=paths[0] if paths else "",
            summary=what if change.action == "update" else f"it would be {change.action}d",
        )


def _strictest(found: Iterable[Objection]) -> list[Objection]:
    told = list(found)
    most = verdict(told)
    return [one for one in told if one.severity == most]


def _severity(rule: Guardrail) -> Literal["warn", "approve", "deny"]:
    if rule.severity == "ignore":
        raise ValueError("a rule that is ignored does not object")
    return rule.severity


def _any(patterns: Iterable[str], text: str) -> bool:
    """Whether one of `patterns` means `text`; `*` stands for any characters, all else for itself."""
    return any(fnmatchcase(text, one.replace("[", "[[]")) for one in patterns)
