"""A policy as it is asked: statements, found by the action that they are about.

The one rule: the index only leaves out statements that are not about the action; it never decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.trust.actions import ACTIONS
from meshwright.trust.policies.conditions import Condition
from meshwright.trust.policies.elements import Actions, Resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshwright.trust.policies.variables import Values


_ACTIONS = tuple(name.lower() for name in ACTIONS)


class Statement(msgspec.Struct, frozen=True):
    """One statement of a policy."""

    index: int
    """Its position in the document, from 0."""
    sid: str
    allow: bool
    actions: Actions
    resources: Resources
    tests: Condition

    @property
    def asks_context(self) -> bool:
        """Whether condition keys matter to it."""
        return bool(self.tests or self.resources.open)

    def applies(self, arn: str, parts: Sequence[str], context: Mapping[str, Values]) -> bool:
        """Whether it says something about a resource, its action being matched; what is undecided does not allow.

        Args:
            arn: the resource.
            parts: `arn.split(":", 5)`.
            context: the condition keys, in lower case.
        """
        allow = self.allow
        about = self.resources.match(arn, parts, context)
        if about is False or (allow and about is None):
            return False
        for test in self.tests:
            outcome = test.outcome(context)
            if outcome is False or (allow and outcome is None):
                return False
        return True


class About(msgspec.Struct, frozen=True):
    """The statements about one action."""

    denies: tuple[Statement, ...]
    allows: tuple[Statement, ...]


class Policy(msgspec.Struct, frozen=True):
    """A policy document, ready to be asked."""

    source: str
    """What the file or the session calls it."""
    version: str
    id: str
    statements: tuple[Statement, ...]
    index: dict[str, About]
    """For every action that is known here, in lower case."""

    def about(self, action: str) -> About:
        """The statements about `action`, which is in lower case."""
        found = self.index.get(action)
        return _about(self.statements, action) if found is None else found


def index_of(statements: Iterable[Statement]) -> dict[str, About]:
    """The statements about each known action; actions with the same ones share them."""
    mine: dict[str, tuple[list[Statement], list[Statement]]] = {name: ([], []) for name in _ACTIONS}
    for one in statements:
        for name in one.actions.among(mine):
            mine[name][one.allow].append(one)
    shared: dict[tuple[int, ...], About] = {}
    found: dict[str, About] = {}
    for name, (denies, allows) in mine.items():
        positions = tuple(one.index for one in (*denies, *allows))
        if positions not in shared:
            shared[positions] = About(tuple(denies), tuple(allows))
        found[name] = shared[positions]
    return found


def _about(statements: Sequence[Statement], action: str) -> About:
    mine = [one for one in statements if one.actions.match(action)]
    return About(tuple(one for one in mine if not one.allow), tuple(one for one in mine if one.allow))
