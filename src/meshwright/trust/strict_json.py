"""JSON as something signed or fetched from elsewhere is read: one meaning or none; pure.

The one rule: what two readers could read differently (a member twice, NaN, half a surrogate pair) is refused.
Source: https://www.rfc-editor.org/rfc/rfc8725#section-2.6 and https://www.rfc-editor.org/rfc/rfc8259#section-4
"""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 8
"""How deeply objects and lists may be nested; tokens of known issuers need three."""
MAX_DIGITS = 32
"""Characters of a number; integers have 64 bits."""


class AmbiguousJsonError(ValueError):
    """The text is no JSON object, or none that every reader would read alike; `str()` names what is wrong."""


def read_object(text: bytes) -> dict[str, Any]:
    """The JSON object that `text` is.

    Raises:
        AmbiguousJsonError: it is none, or holds what is refused; the text itself is not quoted.
    """
    try:
        found = json.loads(
            text.decode(),
            object_pairs_hook=members_once,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_real,
        )
    except AmbiguousJsonError:
        raise
    except RecursionError:
        raise AmbiguousJsonError("it is nested too deeply") from None
    except ValueError:
        raise AmbiguousJsonError("it is not JSON in UTF-8") from None
    if not isinstance(found, dict):
        raise AmbiguousJsonError("it is not a JSON object")
    _check(found, MAX_DEPTH)
    return found


def members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these members, as `json.loads` takes a hook for it.

    Raises:
        AmbiguousJsonError: a name comes twice: which of the two is meant depends on who reads.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise AmbiguousJsonError(f"the member {twice[:64]!r} comes more than once")
    return found


def _no_constant(name: str) -> Any:
    raise AmbiguousJsonError(f"{name} is no JSON number")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS or not -(1 << 63) <= (number := int(text)) < 1 << 63:
        raise AmbiguousJsonError("a number is too large")
    return number


def _real(text: str) -> float:
    if len(text) > MAX_DIGITS:
        raise AmbiguousJsonError(f"a number has more than {MAX_DIGITS} characters")
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise AmbiguousJsonError("a number is too large")
    return number


def _check(value: Any, depth: int) -> None:
    if depth < 0:
        raise AmbiguousJsonError(f"it is nested more than {MAX_DEPTH} deep")
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise AmbiguousJsonError("a text holds half of a surrogate pair") from None
        case dict():
            for name, one in value.items():
                _check(name, depth)
                _check(one, depth - 1)
        case list():
            for one in value:
                _check(one, depth - 1)
        case _:
            pass
