"""Tests of condition keys, and what they say of a request.

The one rule: what IAM leaves open is left undecided (None), and never helps the caller: a statement that allows needs
every test to hold, one that denies needs only that no test fails. Open are a value that is not of the operator's
type, and several values of one key, under an operator without `ForAllValues:` or `ForAnyValue:`, that do not agree.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from meshwright.trust.policies.faults import quoted
from meshwright.trust.policies.operators import Operator
from meshwright.trust.policies.variables import Template, Values, Variable, filled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Qualifier: TypeAlias = Literal["", "ForAllValues", "ForAnyValue"]


class Test(msgspec.Struct, frozen=True):
    """One key under one operator."""

    written: str
    """The operator as written, `ForAllValues:StringLikeIfExists`."""
    name: str
    """The key as written."""
    key: str
    """The key in lower case."""
    operator: Operator
    qualifier: Qualifier
    if_exists: bool
    values: tuple[str, ...]
    """As written."""
    fixed: tuple[Any, ...]
    """Compiled, those without variables."""
    open: tuple[tuple[Template, ...], ...]
    """Those with variables, of an ARN its parts."""
    presence: bool = False
    """Whether it asks for the key's presence alone: `Null`."""

    def outcome(self, context: Mapping[str, Values]) -> bool | None:
        """Whether the test holds on `context`, whose keys are in lower case; None where it is undecided."""
        found = context.get(self.key, ())
        if self.presence:
            return (found == ()) in self.fixed
        if isinstance(found, str) and not self.qualifier and not self.open:
            return self._of_one(found, self.fixed)
        values = (found,) if isinstance(found, str) else found
        if self.qualifier:
            values = tuple(value for value in values if value)  # IAM: an empty text is an empty set
        if not values:
            return self._of_nothing()
        compiled, is_open = self.fixed, False
        if self.open:
            compiled, is_open, unresolved = self._filled(context)
            if unresolved and self.operator.negated:
                return False
        if len(values) == 1:
            return self._of_one(values[0], compiled, is_open=is_open)
        outcomes = {self._of_one(value, compiled, is_open=is_open) for value in values}
        if self.qualifier == "ForAnyValue":
            return True if True in outcomes else None if None in outcomes else False
        if self.qualifier == "ForAllValues":
            return False if False in outcomes else None if None in outcomes else True
        return outcomes.pop() if len(outcomes) == 1 else None

    def _of_nothing(self) -> bool:
        """The key is missing: negated operators hold, and so do `IfExists` and `ForAllValues`."""
        if self.if_exists or self.qualifier == "ForAllValues":
            return True
        return self.operator.negated and self.qualifier != "ForAnyValue"

    def _of_one(self, value: str, compiled: Sequence[Any], *, is_open: bool = False) -> bool | None:
        operator = self.operator
        read = operator.read(value)
        if read is None:
            return None
        for one in compiled:
            if operator.agrees(one, read):
                return not operator.negated
        return None if is_open else operator.negated

    @staticmethod
    def _is_empty(split: Sequence[Template], context: Mapping[str, Values]) -> bool:
        """Whether a variable in a pattern brings in nothing: `${aws:PrincipalTag/team}*` would match everything."""
        return any(isinstance(part, Variable) and context.get(part.key) == "" for one in split for part in one)

    def _filled(self, context: Mapping[str, Values]) -> tuple[tuple[Any, ...], bool, bool]:
        """The compiled values; whether one was left out as its variable is empty; whether one could not be filled."""
        compiled, is_open, unresolved = list(self.fixed), False, False
        for one in self.open:
            split = [parts for part in one if (parts := filled(part, context)) is not None]
            if len(split) < len(one):
                unresolved = True
            elif self.operator.wildcards and self._is_empty(one, context):
                is_open = True
            else:
                try:
                    compiled.append(self.operator.compiled(split))
                except ValueError:  # a tag that is no ARN, or neither true nor false
                    unresolved = True
        return tuple(compiled), is_open, unresolved

    def told(self, context: Mapping[str, Values]) -> str:
        """What it asks and what was there, for people: `StringEquals aws:RequestTag/team: is 'x', not 'cart'`."""
        found = context.get(self.key, ())
        there = "is missing" if found == () else f"is {_shown((found,) if isinstance(found, str) else found)}"
        return f"{self.written} {self.name}: {there}, the policy says {_shown(self.values)}"


Condition: TypeAlias = tuple[Test, ...]
"""All of them must hold."""


def holds(tests: Condition, context: Mapping[str, Values]) -> bool:
    """Whether all of `tests` hold on `context`, whose keys are in lower case."""
    return all(test.outcome(context) is True for test in tests)


def lowered(context: Mapping[str, Values]) -> dict[str, Values]:
    """`context` under lower-case names; keys that differ in case alone become one key with several values."""
    found = {name.lower(): value for name, value in context.items()}
    if len(found) == len(context):
        return found
    merged: dict[str, Values] = {}
    for name, value in context.items():
        before = merged.get(name.lower())
        merged[name.lower()] = value if before is None else (*_several(before), *_several(value))
    return merged


def _several(value: Values) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _shown(values: Sequence[str]) -> str:
    text = " or ".join(quoted(value) for value in values[:5])
    return f"{text} …" if len(values) > 5 else text
