"""Whether a condition holds: always, never, or sometimes, by what is known of a build.

The one rule: never and always are proven. Every value that makes a difference is tried; what is not known is both
true and false, so that in doubt a condition holds sometimes.

Source: https://docs.travis-ci.com/user/conditions-v1
"""

from __future__ import annotations

import enum
import itertools
import math
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import re2

from meshwright.ci.travis.conditions import Among, And, Attribute, Call, Equal, Is, Match, Not, Or, Word, parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meshwright.ci.travis.conditions import Expression, Operand

TYPES = ("push", "pull_request", "api", "cron")
"""What sets a build off."""

MOST_WORK = 300_000
"""Combinations of values times parts of a condition that are tried, less than a second's work; beyond, the variables
with the most values count as unknown."""


class Outcome(enum.StrEnum):
    """When a condition holds."""

    ALWAYS = "always"
    NEVER = "never"
    SOMETIMES = "sometimes"


class _Open(enum.Enum):
    """What stands for a value that is not told."""

    UNKNOWN = "could be anything"
    OTHER = "a text that the condition does not mention"


Value: TypeAlias = str | bool | None
_Value: TypeAlias = str | bool | _Open | None
_Name: TypeAlias = tuple[str, str]

_POSSIBLE: Mapping[str, tuple[_Value, ...]] = MappingProxyType({"type": TYPES, "fork": (True, False)})
_ALWAYS_THERE = frozenset({"repo", "branch", "sender", "commit_message"})
_OF_PULL_REQUESTS = frozenset({"head_repo", "head_branch"})


def outcome(
    expression: Expression,
    known: Mapping[str, Value] = MappingProxyType({}),
    variables: Mapping[str, Value] = MappingProxyType({}),
) -> Outcome:
    """When `expression` holds in builds with the attributes `known`, and with the `variables` of env().

    An attribute or variable that is not given may have any value; None says that it has none.
    """
    every = [*parts(expression)]
    names = dict.fromkeys(filter(None, map(_name, every)))
    values = {name: _candidates(expression, name, known, variables) for name in names}
    while math.prod(map(len, values.values())) * len(every) > max(MOST_WORK, len(every)):
        widest = max(values, key=lambda name: len(values[name]))
        values[widest] = (_Open.UNKNOWN,)
    seen = set()
    for chosen in itertools.product(*values.values()):
        found = dict(zip(values, chosen, strict=True))
        if _agrees(found, known):
            seen.add(_Case(found).holds(expression))
        if None in seen or len(seen) > 1:
            return Outcome.SOMETIMES
    return Outcome.ALWAYS if seen == {True} else Outcome.NEVER


def holds(expression: Expression, known: Mapping[str, Value], variables: Mapping[str, Value]) -> bool:
    """Whether `expression` holds in the one build with these attributes and variables; others have no value."""
    names = filter(None, map(_name, parts(expression)))
    values = {name: (known if name[0] == "attribute" else variables).get(name[1]) for name in names}
    return _Case(values).holds(expression) is True


def _name(part: Expression) -> _Name | None:
    if isinstance(part, Attribute):
        return ("attribute", part.name)
    if isinstance(part, Call) and part.name == "env" and len(part.arguments) == 1:
        argument = part.arguments[0]
        return ("variable", argument.text) if isinstance(argument, Word) else None
    return None


def _candidates(
    expression: Expression, name: _Name, known: Mapping[str, Value], variables: Mapping[str, Value]
) -> Sequence[_Value]:
    """Every value of `name` that could make a difference."""
    kind, bare = name
    given = known if kind == "attribute" else variables
    if bare in given:
        return (given[bare],)
    if kind == "attribute" and bare in _POSSIBLE:
        return _POSSIBLE[bare]
    words = [_cast(one.text) for one in _compared(expression, name) if isinstance(one, Word)]
    missing = () if kind == "attribute" and bare in _ALWAYS_THERE else (None,)
    switches = (True, False) if kind == "variable" else ()
    return tuple(dict.fromkeys([*words, *missing, *switches, _Open.OTHER]))


def _compared(expression: Expression, name: _Name) -> Iterator[Operand]:
    for part in parts(expression):
        if isinstance(part, Equal) and name in {_name(part.left), _name(part.right)}:
            yield from (part.left, part.right)
        elif isinstance(part, Among) and name in {_name(part.left), *map(_name, part.items)}:
            yield from (part.left, *part.items)


def _agrees(found: Mapping[_Name, _Value], known: Mapping[str, Value]) -> bool:
    """Whether one build can have all of these: a pull request has no tag, and always a head."""
    if found.get(("attribute", "type"), known.get("type")) != "pull_request":
        return True
    heads = (found.get(("attribute", name), _Open.OTHER) for name in _OF_PULL_REQUESTS)
    return found.get(("attribute", "tag")) in {None, _Open.UNKNOWN} and None not in heads


def _cast(text: str) -> str | bool:
    """Texts that say true or false are truth values wherever they come from."""
    return {"true": True, "false": False}.get(text.lower(), text)


class _Case:
    """One build, or several that differ in what makes no difference; None where that is not so."""

    def __init__(self, found: Mapping[_Name, _Value]) -> None:
        self._found = found

    def holds(self, one: Expression) -> bool | None:
        """Whether the expression holds; None where it is not known."""
        if isinstance(one, Not):
            return _negated(self.holds(one.term), negated=True)
        if isinstance(one, And | Or):
            decides = isinstance(one, Or)
            seen = {self.holds(term) for term in one.terms}
            return decides if decides in seen else None if None in seen else not decides
        if isinstance(one, Equal):
            return _negated(self._equal(one.left, one.right), negated=one.negated)
        if isinstance(one, Among):
            seen = {self._equal(one.left, item) for item in one.items}
            found = True if True in seen else None if None in seen else False
            return _negated(found, negated=one.negated)
        if isinstance(one, Match):
            return _negated(self._matches(one), negated=one.negated)
        if isinstance(one, Is):
            return _negated(self._is(one), negated=one.negated)
        return _truth(self._value(one))

    def _value(self, one: Operand) -> _Value:
        if isinstance(one, Word):
            return _cast(one.text)
        name = _name(one)
        if name is not None:
            found = self._found.get(name, _Open.UNKNOWN)
            return _cast(found) if isinstance(found, str) else found
        if isinstance(one, Call) and one.name == "concat":
            values = [self._value(argument) for argument in one.arguments]
            if not any(isinstance(value, _Open) for value in values):
                return _cast("".join(map(_text, values)))
        return _Open.UNKNOWN

    def _equal(self, left: Operand, right: Operand) -> bool | None:
        if left == right:
            return True
        one, other = self._value(left), self._value(right)
        if isinstance(one, _Open) and isinstance(other, _Open):
            return None
        if _Open.UNKNOWN in {one, other}:
            return None
        if isinstance(one, _Open) or isinstance(other, _Open):
            # A text that is not mentioned can still be what another attribute holds.
            named = {_name(left), _name(right)} - {None}
            return None if len(named) > 1 else False
        return type(one) is type(other) and one == other

    def _is(self, one: Is) -> bool | None:
        value = self._value(one.left)
        if one.predicate in {"true", "false"}:
            return _negated(_truth(value), negated=one.predicate == "false")
        if value is _Open.UNKNOWN:
            return None
        return _negated(value not in {"", None, False}, negated=one.predicate == "blank")

    def _matches(self, one: Match) -> bool | None:
        value, regex = self._value(one.left), self._value(one.regex)
        if isinstance(one.regex, Word):
            regex = one.regex.text
        if value is None or isinstance(value, bool):
            return False
        if isinstance(value, _Open) or not isinstance(regex, str):
            return None
        options = re2.Options()
        options.log_errors = False
        try:
            return re2.compile(f"(?m){regex}", options).search(value) is not None
        except re2.error:  # Ruby's expressions can do more; such a one is not judged
            return None


def _truth(value: _Value) -> bool | None:
    return None if value is _Open.UNKNOWN else value is not None and value is not False


def _text(value: _Value) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _negated(found: bool | None, *, negated: bool) -> bool | None:
    return found if found is None or not negated else not found
