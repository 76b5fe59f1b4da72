"""Policy variables: `${aws:PrincipalTag/team}`, `${key, 'default'}`, and `${*}`, `${?}`, `${$}` for those characters.

The one rule: what a variable brings in is literal text; a tag whose value is `*` matches a star and nothing else.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from meshwright.trust.policies.keys import fault_of
from meshwright.trust.policies.patterns import Piece, Wild, joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Values: TypeAlias = str | tuple[str, ...]
"""A context key's value; a tuple for keys that have any number of values, though it be one."""

_DEFAULTED = re.compile(r"([^,']*),\s*'([^']*)'")


class Variable(msgspec.Struct, frozen=True):
    """A place that the request fills."""

    name: str
    """As written."""
    key: str
    """In lower case: names of keys know no case."""
    default: str | None = None


Template: TypeAlias = tuple[Piece | Variable, ...]
"""Text with wildcards and places to fill."""


def template(text: str, *, variables: bool, wildcards: bool, claims: bool = False) -> Template:
    """`text` taken apart; without `wildcards` a `*` is a star; with `claims`, names of claims are variables as well.

    Raises:
        ValueError: a variable is not of a form that is known; the message says which.
    """
    found: list[Piece | Variable] = []
    for part in _parts(text) if variables else (text,):
        if isinstance(part, Variable):
            fault = fault_of(part.name, claims=claims)
            if fault:
                raise ValueError(f"in a variable, {fault.removesuffix('.')}")
            found.append(part)
        elif wildcards and not (variables and part.startswith("${")):
            found.extend(Wild(char) if char in "*?" else char for char in part)
        else:
            found.append(part[2] if variables and part.startswith("${") else part)
    return _merged(found)


def plain(split: Sequence[Template]) -> list[tuple[Piece, ...]] | None:
    """`split` where it has nothing to fill, None where it has."""
    found = [tuple(part for part in one if not isinstance(part, Variable)) for one in split]
    return found if all(len(one) == len(kept) for one, kept in zip(split, found, strict=True)) else None


def filled(one: Sequence[Piece | Variable], context: Mapping[str, Values]) -> tuple[Piece, ...] | None:
    """`one` with its places filled from `context` (lower-case keys), None where one has no value, or several."""
    found: list[Piece] = []
    texts: list[str] = []
    for part in one:
        value = context.get(part.key, part.default) if isinstance(part, Variable) else part
        if isinstance(value, str):
            texts.append(value)
        elif not isinstance(value, Wild):
            return None
        found.append(value)
    return ("".join(texts),) if len(texts) == len(found) else joined(found)


def text_of(one: Sequence[Piece | Variable]) -> str:
    """The text of a template without wildcards and places, as it came."""
    return "".join(part for part in one if isinstance(part, str))


def _parts(text: str) -> Iterator[str | Variable]:
    """Plain text, variables, and the three escapes as they stand."""
    at = 0
    while (start := text.find("${", at)) >= 0:
        if start > at:
            yield text[at:start]
        end = text.find("}", start)
        if end < 0:
            raise ValueError(
                f"{text[start:][:80]!r} opens a variable and does not close it; write ${{$}} for a dollar sign"
            )
        inner = text[start + 2 : end]
        yield f"${{{inner}}}" if inner in {"*", "?", "$"} else _variable(inner)
        at = end + 1
    if at < len(text):
        yield text[at:]


def _variable(inner: str) -> Variable:
    defaulted = _DEFAULTED.fullmatch(inner)
    name = (defaulted[1] if defaulted else inner).strip()
    if not name or any(char in "${'\"," or char.isspace() for char in name):
        raise ValueError(
            f"'${{{inner[:80]}}}' is no variable; expected ${{key}}, ${{key, 'default'}}, ${{*}}, ${{?}} or ${{$}}"
        )
    return Variable(name, name.lower(), defaulted[2] if defaulted else None)


def _merged(parts: Sequence[Piece | Variable]) -> Template:
    """Neighbouring texts made one."""
    found: list[Piece | Variable] = []
    run: list[Piece] = []
    for part in parts:
        if isinstance(part, Variable):
            found += [*joined(run), part]
            run = []
        else:
            run.append(part)
    return (*found, *joined(run))
