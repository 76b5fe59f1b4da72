"""Condition blocks: operator, then key, then values; on their own for claims, or as part of a statement.

The one rule: what IAM leaves open is left undecided (None), and never helps the caller: a statement that allows needs
every test to hold, one that denies needs only that no test fails. Open are a value that is not of the operator's
type, and several values of one key, under an operator without `ForAllValues:` or `ForAnyValue:`, that do not agree.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from meshwright.trust.policies import keys
from meshwright.trust.policies.faults import Fault, PolicyError, near, quoted
from meshwright.trust.policies.operators import OPERATORS, Operator
from meshwright.trust.policies.variables import Template, Values, filled, is_static, template

MAX_VALUES = 200
"""Values of one key in a policy."""

_QUALIFIERS = ("ForAllValues", "ForAnyValue")
_IF_EXISTS = "IfExists"

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
    open: tuple[Template, ...]
    """Those with variables."""
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
        compiled, unresolved = (self.fixed, False) if not self.open else self._filled(context)
        if unresolved and self.operator.negated:
            return False
        if len(values) == 1:
            return self._of_one(values[0], compiled)
        outcomes = {self._of_one(value, compiled) for value in values}
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

    def _of_one(self, value: str, compiled: Sequence[Any]) -> bool | None:
        operator = self.operator
        read = operator.read(value)
        if read is None:
            return None
        for one in compiled:
            if operator.agrees(one, read):
                return not operator.negated
        return operator.negated

    def _filled(self, context: Mapping[str, Values]) -> tuple[tuple[Any, ...], bool]:
        """The compiled values, and whether a variable among them could not be filled."""
        compiled, unresolved = list(self.fixed), False
        for one in self.open:
            parts = filled(one, context)
            if parts is None:
                unresolved = True
                continue
            try:
                compiled.append(self.operator.compiled(parts))
            except ValueError:  # a tag that is no ARN, or neither true nor false
                unresolved = True
        return tuple(compiled), unresolved

    def told(self, context: Mapping[str, Values]) -> str:
        """What it asks and what was there, for people: `StringEquals aws:RequestTag/team: is 'x', not 'cart'`."""
        found = context.get(self.key, ())
        there = "is missing" if found == () else f"is {_shown((found,) if isinstance(found, str) else found)}"
        return f"{self.written} {self.name}: {there}, the policy says {_shown(self.values)}"


Condition: TypeAlias = tuple[Test, ...]
"""All of them must hold."""


def condition(
    block: object, path: tuple[str | int, ...], faults: list[Fault], *, variables: bool = True, claims: bool = False
) -> Condition:
    """A condition block compiled; what is wrong with it is added to `faults`.

    Args:
        block: operator, then key, then a value or a list of them; texts, numbers or booleans.
        path: where it stands in its document.
        faults: receives what is wrong.
        variables: whether `${…}` is a variable, which it is from version 2012-10-17 on.
        claims: whether names without a service are keys, as claims of a token are.
    """
    if not isinstance(block, Mapping) or not block:
        faults.append(
            Fault(path, f"expected operators with keys and values, found {_named(block)}; leave it out for none.")
        )
        return ()
    found: list[Test] = []
    for name, inner in block.items():
        where = (*path, str(name))
        operator, qualifier, if_exists = _operator(name, where, faults)
        if not isinstance(inner, Mapping) or not inner:
            faults.append(Fault(where, f"expected keys with values, found {_named(inner)}."))
            continue
        _check_keys(inner, where, faults, claims=claims)
        if operator is not None:
            for key, values in inner.items():
                compiled = _Compiled(operator, (*where, str(key)), faults, variables=variables)
                texts = compiled.texts(values)
                fixed, open_ = compiled.values(texts)
                null = operator.name == "Null"
                found.append(
                    Test(
                        str(name),
                        str(key),
                        str(key).lower(),
                        operator,
                        qualifier,
                        if_exists,
                        texts,
                        fixed,
                        open_,
                        null,
                    )
                )
    return tuple(found)


def holds(tests: Condition, context: Mapping[str, Values]) -> bool:
    """Whether all of `tests` hold on `context`, whose keys are in lower case."""
    return all(test.outcome(context) is True for test in tests)


def matches(block: Mapping[str, Any], context: Mapping[str, Values]) -> bool:
    """Whether a condition block holds on `context`, such as the claims of a token; keys know no case.

    Raises:
        PolicyError: the block is not one; `compiled_condition` finds that out beforehand.
    """
    return not block or holds(compiled_condition(block, "condition"), lowered(context))


def compiled_condition(block: object, source: str) -> Condition:
    """A condition block that stands alone, for `holds`.

    Raises:
        PolicyError: with everything that is wrong with it.
    """
    faults: list[Fault] = []
    found = condition(block, (), faults, claims=True)
    if faults:
        raise PolicyError(source, faults)
    return found


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


class _Compiled:
    """Reads the values of one key."""

    def __init__(
        self, operator: Operator, path: tuple[str | int, ...], faults: list[Fault], *, variables: bool
    ) -> None:
        self._operator = operator
        self._path = path
        self._faults = faults
        self._variables = variables

    def texts(self, values: object) -> tuple[str, ...]:
        listed = isinstance(values, (list, tuple))
        several: Sequence[object] = values if isinstance(values, (list, tuple)) else (values,)
        if not several or len(several) > MAX_VALUES:
            self._faults.append(Fault(self._path, f"has {len(several)} values; 1 to {MAX_VALUES} are possible."))
            return ()
        found: list[str] = []
        for index, value in enumerate(several):
            if isinstance(value, bool):
                found.append(str(value).lower())
            elif isinstance(value, (str, int, float)):
                found.append(str(value))
            else:
                where = (*self._path, index) if listed else self._path
                self._faults.append(Fault(where, f"expected text, a number or a boolean, found {_named(value)}."))
        return tuple(found)

    def values(self, texts: Sequence[str]) -> tuple[tuple[Any, ...], tuple[Template, ...]]:
        fixed: list[Any] = []
        open_: list[Template] = []
        for text in texts:
            try:
                parts = template(
                    text, variables=self._variables and self._operator.variables, wildcards=self._operator.wildcards
                )
                if is_static(parts):
                    fixed.append(self._operator.compiled(parts))  # type: ignore[arg-type]  # nothing to fill is left
                else:
                    open_.append(parts)
            except ValueError as error:
                self._faults.append(Fault(self._path, f"{error}."))
        return tuple(fixed), tuple(open_)


def _operator(
    name: object, path: tuple[str | int, ...], faults: list[Fault]
) -> tuple[Operator | None, Qualifier, bool]:
    text = str(name)
    before, colon, rest = text.rpartition(":")
    qualifier = next((one for one in _QUALIFIERS if one == before), "")
    if_exists = rest.endswith(_IF_EXISTS)
    operator = OPERATORS.get(rest.removesuffix(_IF_EXISTS))
    if (colon and not qualifier) or operator is None:
        faults.append(Fault(path, f"{quoted(text)} is no condition operator.{near(text, _spellings())}"))
        return None, "", False
    if operator.name == "Null" and (if_exists or qualifier):
        faults.append(Fault(path, f"{quoted(text)} is no condition operator: Null stands alone."))
        return None, "", False
    return operator, qualifier, if_exists  # type: ignore[return-value]  # one of the two, or ""


def _spellings() -> list[str]:
    plain = [name for name in OPERATORS if name != "Null"]
    optional = [f"{name}{_IF_EXISTS}" for name in plain]
    return ["Null", *plain, *optional, *(f"{one}:{name}" for one in _QUALIFIERS for name in (*plain, *optional))]


def _check_keys(
    inner: Mapping[object, object], path: tuple[str | int, ...], faults: list[Fault], *, claims: bool
) -> None:
    seen: set[str] = set()
    for key in inner:
        fault = keys.fault_of(str(key), claims=claims)
        if str(key).lower() in seen:
            fault = f"{quoted(str(key))} stands twice, in different case; keys know no case."
        if fault:
            faults.append(Fault((*path, str(key)), fault))
        seen.add(str(key).lower())


def _shown(values: Sequence[str]) -> str:
    text = " or ".join(quoted(value) for value in values[:5])
    return f"{text} …" if len(values) > 5 else text


def _named(value: object) -> str:
    return "nothing" if value is None or value in ({}, [], ()) else quoted(value)
