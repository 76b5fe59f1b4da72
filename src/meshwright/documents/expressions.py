"""The grammar of `${…}`: a name or a source, with a default or a word on why it is needed, as shells know them.

The one rule: what is not an expression stays the text that it is: `${1}` of a regex, `%REQ(:path)%` of an access log.

    ${NAME}                 a parameter, else a variable of the build's environment
    ${env:NAME}             a variable of the build's environment
    ${ssm:/path}            a parameter of Parameter Store, also ${ssm:/path:3} (a version) and ${ssm:/path:label}
    ${file:path}            the text of a file
    ${…:-text}  ${…:?why}   where there is none or an empty one: this text; or a fault that says why
    $${…}                   the text ${…}
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
_ALTERNATIVE = r"(?::([-?])([^{}]*))?"
_WHERE = r"[^{}:]+(?::(?![-?])[^{}:]*)?"
EXPRESSION = rf"(\$?)\$\{{(?:(env|ssm|file):({_WHERE})|({NAME})){_ALTERNATIVE}\}}"
"""With five groups: a dollar before it, the source, what is named there, or a plain name, the kind of alternative."""
_EXPRESSION = re.compile(EXPRESSION)
_BEGUN = re.compile(rf"\$\{{(?:(?:env|ssm|file):|{NAME}:[-?])[^{{}}]*\}}?")

Origin: TypeAlias = Literal["", "env", "ssm", "file"]


_ORIGINS: Mapping[str, Origin] = MappingProxyType({"": "", "env": "env", "ssm": "ssm", "file": "file"})


class Reference(msgspec.Struct, frozen=True):
    """One expression, taken apart."""

    written: str
    """As it stands in the file."""
    name: str
    source: Origin = ""
    default: str | None = None
    why: str | None = None
    """What is said where there is no value."""


def reference(match: re.Match[str]) -> Reference:
    """The expression that `match`, of `EXPRESSION`, has found."""
    _, source, where, name, kind, word = match.groups()[:6]
    return Reference(
        match[0],
        where or name,
        _ORIGINS[source or ""],
        default=word if kind == "-" else None,
        why=word if kind == "?" else None,
    )


def pieces(text: str) -> Iterator[str | Reference]:
    """`text` as what stays and what is replaced, in order."""
    end = 0
    for match in _EXPRESSION.finditer(text):
        yield text[end : match.start()]
        yield match[0][1:] if match[1] else reference(match)
        end = match.end()
    yield text[end:]


def misread(text: str) -> str | None:
    """What begins like an expression and is none, such as one that holds another in its default; None as a rule."""
    match = _BEGUN.search(_EXPRESSION.sub("", text))
    return text[max(text.find(match[0].rstrip("}")), 0) :] if match else None


def references(text: str) -> Iterator[Reference]:
    """The expressions in `text`."""
    return (one for one in pieces(text) if isinstance(one, Reference))
