"""Decisions: an explicit deny is final, else somebody must allow, else it is denied.

The one rule: every decision names the statements that made it; one for want of a grant names those that were near.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import msgspec

from meshwright.trust.policies.conditions import lowered
from meshwright.trust.policies.patterns import SEGMENTS
from meshwright.trust.policies.variables import Values

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshwright.trust.policies.statements import Policy, Statement


_NOTHING: Mapping[str, Values] = MappingProxyType({})


class Ask(msgspec.Struct, frozen=True):
    """May this action be done to this resource?"""

    action: str
    """`appmesh:DescribeMesh`."""
    resource: str
    """An ARN, `*` for actions that are about none."""
    context: Mapping[str, Values] = {}
    """Condition keys, in any case; a tuple for keys with any number of values, such as `aws:TagKeys`."""


class Matched(msgspec.Struct, frozen=True):
    """A statement that had a part in a decision."""

    source: str
    """Its policy's name."""
    sid: str
    """"" for none."""
    index: int
    """Its position in the document, from 0."""
    effect: Literal["Allow", "Deny"]
    why: str = ""
    """Why it did not apply, for a statement that came near; "" for one that did."""

    def __str__(self) -> str:
        name = f"statement {self.sid!r}" if self.sid else f"statement {self.index + 1}"
        return f"{name} of {self.source}" + (f" ({self.why})" if self.why else "")


class Decision(msgspec.Struct, frozen=True):
    """What the policies say to one question."""

    allowed: bool
    reason: Literal["allowed", "explicit deny", "implicit deny"]
    statements: tuple[Matched, ...] = ()
    """Allowed: the one that allows, and one of each boundary. Explicit deny: the one that denies. Implicit deny:
    those whose action matched, with why they did not apply."""
    boundary: int = 0
    """Which boundary refused, counted from 1; 0 where the principal's own policies decided."""


def evaluate(
    identity: Sequence[Policy],
    ask: Ask,
    *,
    boundaries: Sequence[Sequence[Policy]] = (),
    more: Callable[[], Mapping[str, Values]] | None = None,
) -> Decision:
    """What the policies say.

    Args:
        identity: the principal's own policies; one of them must allow.
        ask: the question.
        boundaries: permissions boundaries and session policies; in each of them one policy must allow as well.
        more: gives further condition keys. It is called only if a statement asks for one: a decision that was made
            without is the same whenever the same is asked.
    """
    asked = _Asked(ask, more)
    groups = (identity, *boundaries)
    for number, policies in enumerate(groups):
        for policy in policies:
            for one in policy.about(asked.action).denies:
                if asked.met_by(one):
                    return Decision(False, "explicit deny", (_matched(policy, one),), number)
    allowing: list[Matched] = []
    for number, policies in enumerate(groups):
        found = _allowing(policies, asked)
        if found is None:
            return Decision(False, "implicit deny", _near(policies, asked), number)
        allowing.append(found)
    return Decision(True, "allowed", tuple(allowing))


class _Asked:
    """A question, taken apart as far as the statements need."""

    def __init__(self, ask: Ask, more: Callable[[], Mapping[str, Values]] | None) -> None:
        self.action = ask.action.lower()
        self.arn = ask.resource
        self.parts = ask.resource.split(":", SEGMENTS - 1)
        self._given = ask.context
        self._more = more
        self._context: dict[str, Values] | None = None

    @property
    def context(self) -> dict[str, Values]:
        """The condition keys in lower case."""
        if self._context is None:
            self._context = lowered({**self._given, **self._more()} if self._more else self._given)
        return self._context

    def met_by(self, one: Statement) -> bool:
        """Whether a statement about the action applies."""
        return one.applies(self.arn, self.parts, self.context if one.asks_context else _NOTHING)


def _allowing(policies: Sequence[Policy], asked: _Asked) -> Matched | None:
    for policy in policies:
        for one in policy.about(asked.action).allows:
            if asked.met_by(one):
                return _matched(policy, one)
    return None


def _near(policies: Sequence[Policy], asked: _Asked) -> tuple[Matched, ...]:
    """The statements that would have allowed, had the resource or the conditions been others."""
    return tuple(
        _matched(policy, one, _why_not(one, asked))
        for policy in policies
        for one in policy.about(asked.action).allows
    )


def _why_not(one: Statement, asked: _Asked) -> str:
    if one.resources.match(asked.arn, asked.parts, asked.context) is not True:
        return f"{'NotResource' if one.resources.negated else 'Resource'} does not match"
    return "; ".join(test.told(asked.context) for test in one.tests if test.outcome(asked.context) is not True)


def _matched(policy: Policy, one: Statement, why: str = "") -> Matched:
    return Matched(policy.source, one.sid, one.index, "Allow" if one.allow else "Deny", why)
