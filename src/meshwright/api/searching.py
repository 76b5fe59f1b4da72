"""Which releases a request asks for, from its query.

The one rule: a condition that is not known or not understood is refused, never passed over, since the answer would
look as if it met it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from meshwright.errors import BadRequestException, did_you_mean, ended
from meshwright.model.identity import parse_key
from meshwright.release import Status
from meshwright.store.contract import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshwright.model.identity import Key

LIMIT = 100
"""Releases in an answer unless the request says otherwise; 1000 are the most."""

_LONGEST = 512
"""Characters of a condition; the longest names of branches and commits are shorter."""


def read_search(query: Mapping[str, str], mesh: str, account: str) -> tuple[Search, int]:
    """What `query` asks for of the releases of a stack in `mesh`, and how many of them at most.

    Raises:
        BadRequestException: naming the parameter, with what it takes.
    """
    signed, limit = conditions(query, {*_READERS, "object"}, "releases")
    found: dict[str, Any] = {name: read(name, signed[name]) for name, read in _READERS.items() if name in signed}
    if "object" in signed:
        found["key"] = _key(signed["object"], mesh, account)
    return Search(**found), limit


def conditions(query: Mapping[str, str], known: set[str], what: str) -> tuple[dict[str, str], int]:
    """The conditions in `query` on `what`, none but `known`, and how many are asked for at most.

    Raises:
        BadRequestException: naming the parameter, with what it takes.
    """
    signed = {name: text for name, text in query.items() if not name.lower().startswith("x-amz-")}
    limit = number("limit", signed.pop("limit", str(LIMIT)))
    unknown = sorted(set(signed) - known)
    if unknown:
        names = sorted({*known, "limit"})
        hint = did_you_mean(unknown[0], names, f"known are {', '.join(names)}")
        raise BadRequestException(ended(f"{unknown[0][:64]!r} is no condition on {what}; {hint}"))
    if limit > 1000:
        raise BadRequestException(f"limit takes a number from 1 to 1000, found {limit}.")
    return signed, limit


def _key(text: str, mesh: str, account: str) -> Key:
    try:
        key = parse_key(text, account)
    except ValueError as error:
        raise BadRequestException(f"object: {error}.") from None
    if key.mesh != mesh:
        raise BadRequestException(f"object: {text!r} is in mesh {key.mesh!r}; the releases are of mesh {mesh!r}.")
    return key


def number(name: str, text: str) -> int:
    """A condition that is a number from 1 on.

    Raises:
        BadRequestException: it is none.
    """
    if not re.fullmatch(r"[1-9][0-9]{0,14}", text):
        raise BadRequestException(f"{name} takes a number from 1 on, found {text[:64]!r}.")
    return int(text)


def _status(name: str, text: str) -> Status:
    if text not in set(Status):
        raise BadRequestException(f"{name} takes one of {', '.join(Status)}, found {text[:64]!r}.")
    return Status(text)


def text_of(name: str, text: str) -> str:
    """A condition of any words.

    Raises:
        BadRequestException: it is empty or too long.
    """
    if not 1 <= len(text) <= _LONGEST:
        raise BadRequestException(f"{name} takes 1 to {_LONGEST} characters, found {len(text)}.")
    return text


def _principal(name: str, text: str) -> str:
    if not text_of(name, text).startswith(("arn:", "user/", "role/")):
        raise BadRequestException(f"{name} takes an ARN, user/NAME or role/NAME, found {text[:64]!r}.")
    return text


_READERS: Mapping[str, Callable[[str, str], object]] = {
    "before": number,
    "since": number,
    "until": number,
    "status": _status,
    "build": text_of,
    "commit": text_of,
    "branch": text_of,
    "repository": text_of,
    "principal": _principal,
}
"""How each condition is read, by its name."""
