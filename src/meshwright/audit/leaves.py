"""What an entry of the audit log tells: who did or tried what, when and why.

The one rule: an entry has one spelling, canonical JSON, and what is not known is left out of it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Leaf(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of the log: who did what, when and why, and the digest of what it did."""

    kind: Literal["revision", "status", "inspection", "key", "session", "revocation"]
    """A commit, a move of a release's status, a verification, an access key made, a session begun, or one of these
    two revoked."""
    at: int
    """When, in milliseconds since the epoch, UTC."""
    principal: str
    """Who did it; for a key, whom it stands for."""
    cause: str
    """The operation, the release, or the new status."""
    digest: str
    """SHA-256, in hexadecimal, of what was changed."""
    revision: int | None = None
    """The revision that a commit became."""
    release: str | None = None
    """The release that the commit became, or whose status moved: `shop/cart#12`, the mesh before the stack."""
    release_digest: str | None = None
    """SHA-256 of the whole release as it was stored."""
    build_digest: str | None = None
    """SHA-256 of the verified build that made a release, or found one as it wants it."""
    key: str | None = None
    """The id of the access key, or of a session's."""
    expires: int | None = None
    """When a session ends, in milliseconds since the epoch, UTC."""
    subject: str | None = None
    """What was revoked: `key:ID`, `session:ID` or `role:NAME`."""


def canonical(value: Any) -> bytes:
    """`value` as canonical JSON (RFC 8785 for what we record: ASCII member names, no fractions)."""
    return msgspec.json.encode(value, order="sorted")
