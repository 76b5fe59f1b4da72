"""Pages of a list, with opaque tokens that survive writes between two pages.

The one rule: a token says after which name to go on, never how many to skip, so that nothing is listed twice and
nothing that stays is missed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from bisect import bisect_right
from typing import TYPE_CHECKING, TypeVar

from meshwright.errors import BadRequestException

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def page(
    items: Sequence[T],
    name: Callable[[T], str],
    *,
    scope: str,
    limit: int,
    token: str | None,
) -> tuple[Sequence[T], str | None]:
    """Up to `limit` of `items` (in order of `name`) after `token`, and the token of the next page, None at the end.

    `scope` says what is listed: a token of another list is refused.

    Raises:
        BadRequestException: `token` was not given by this list.
    """
    if token:
        after = _decoded(token, scope)
        items = items[bisect_right(items, after, key=name) :]
    taken = items[:limit]
    return taken, _encoded(name(taken[-1]), scope) if len(items) > limit else None


def _encoded(after: str, scope: str) -> str:
    return base64.urlsafe_b64encode(_mark(after, scope) + after.encode()).decode()


def _decoded(token: str, scope: str) -> str:
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        after = raw[6:].decode()
    except (binascii.Error, ValueError):
        after, raw = "", b""
    if raw[:6] != _mark(after, scope):
        raise BadRequestException(
            f"The nextToken {token[:60]!r} is not valid for this list. "
            "Repeat the request without nextToken to start over."
        )
    return after


def _mark(after: str, scope: str) -> bytes:
    """Six bytes that tie a token to its list; they guard against mistakes, the token is no secret."""
    return hashlib.sha256(f"{scope}\0{after}".encode()).digest()[:6]
