"""Condition blocks as they are written: operator, then key, then values; in a statement, or on their own for claims.

The one rule: an operator, key or value that cannot mean anything is a fault, so that no condition is passed over.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from meshwright.trust.policies import keys
from meshwright.trust.policies.arns import segments
from meshwright.trust.policies.conditions import Condition, Qualifier, Test, holds, lowered
from meshwright.trust.policies.faults import Fault, PolicyError, near, quoted
from meshwright.trust.policies.operators import OPERATORS, Operator
from meshwright.trust.policies.patterns import SEGMENTS
from meshwright.trust.policies.variables import Template, plain, template

if TYPE_CHECKING:
    from meshwright.trust.policies.variables import Values

MAX_VALUES = 200
"""Values of one key in a policy."""

_QUALIFIERS: tuple[Qualifier, ...] = ("ForAllValues", "ForAnyValue")
_IF_EXISTS = "IfExists"

Path: TypeAlias = tuple[str | int, ...]


def condition(
    block: object, path: Path, faults: list[Fault], *, variables: bool = True, claims: bool = False
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
        told = f"expected operators with keys and values, found {_named(block)}; leave it out for none."
        faults.append(Fault(path, told))
        return ()
    found: list[Test] = []
    for name, inner in block.items():
        where = (*path, str(name))
        spelt = _operator(str(name), where, faults)
        if not isinstance(inner, Mapping) or not inner:
            faults.append(Fault(where, f"expected keys with values, found {_named(inner)}."))
            continue
        _check_keys(inner, where, faults, claims=claims)
        if spelt is not None:
            found.extend(
                _test(str(name), spelt, (str(key), values), (where, faults), variables=variables, claims=claims)
                for key, values in inner.items()
            )
    return tuple(found)


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


def _test(
    written: str,
    spelt: tuple[Operator, Qualifier, bool],
    member: tuple[str, object],
    faults: tuple[Path, list[Fault]],
    *,
    variables: bool,
    claims: bool,
) -> Test:
    """One key under one operator."""
    operator, qualifier, if_exists = spelt
    key, values = member
    path = (*faults[0], key)
    texts = _texts(values, path, faults[1])
    fixed: list[Any] = []
    open_: list[tuple[Template, ...]] = []
    for where, text in texts:
        try:
            split = _split(text, operator, variables=variables and operator.variables, claims=claims)
            static = plain(split)
            if static is None:
                open_.append(tuple(split))
            else:
                fixed.append(operator.compiled(static))
        except ValueError as error:
            faults[1].append(Fault(where, f"{error}."))
    return Test(
        written=written,
        name=key,
        key=key.lower(),
        operator=operator,
        qualifier=qualifier,
        if_exists=if_exists,
        values=tuple(text for _, text in texts),
        fixed=tuple(fixed),
        open=tuple(open_),
        presence=operator.name == "Null",
    )


def _texts(values: object, path: Path, faults: list[Fault]) -> list[tuple[Path, str]]:
    """The values as texts, with their paths."""
    listed = isinstance(values, (list, tuple))
    several: Sequence[object] = values if isinstance(values, (list, tuple)) else (values,)
    if not several or len(several) > MAX_VALUES:
        faults.append(Fault(path, f"has {len(several)} values; 1 to {MAX_VALUES} are possible."))
        return []
    found: list[tuple[Path, str]] = []
    for index, value in enumerate(several):
        where = (*path, index) if listed else path
        if isinstance(value, bool):
            found.append((where, str(value).lower()))
        elif isinstance(value, (str, int, float)):
            found.append((where, str(value)))
        else:
            faults.append(Fault(where, f"expected text, a number or a boolean, found {_named(value)}."))
    return found


def _split(text: str, operator: Operator, *, variables: bool, claims: bool) -> list[Template]:
    """`text` taken apart; for operators on ARNs into the parts between colons."""
    whole = template(text, variables=variables, wildcards=operator.wildcards, claims=claims)
    if not operator.arns:
        return [whole]
    split = segments(whole)
    if len(split) == SEGMENTS or (len(split) == 1 and plain(split) is None):
        return split
    raise ValueError(
        f"{quoted(text)} is not of an ARN's six parts, so that it would match none; use a String operator for others"
    )


def _operator(text: str, path: Path, faults: list[Fault]) -> tuple[Operator, Qualifier, bool] | None:
    """The operator that is written so, its qualifier, and whether it says `IfExists`."""
    before, colon, rest = text.rpartition(":")
    qualifier: Qualifier = next((one for one in _QUALIFIERS if one == before), "")
    if_exists = rest.endswith(_IF_EXISTS)
    operator = OPERATORS.get(rest.removesuffix(_IF_EXISTS))
    if (colon and not qualifier) or operator is None:
        faults.append(Fault(path, f"{quoted(text)} is no condition operator.{near(text, _spellings())}"))
        return None
    if operator.name == "Null" and (if_exists or qualifier):
        faults.append(Fault(path, f"{quoted(text)} is no condition operator: Null stands alone."))
        return None
    return operator, qualifier, if_exists


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


def _named(value: object) -> str:
    return "nothing" if value is None or value in ({}, [], ()) else quoted(value)
