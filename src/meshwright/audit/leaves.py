"""What an entry of the audit log tells: who did or tried what, when and why.

The one rule: an entry has one spelling, canonical JSON, and what is not known is left out of it.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import msgspec

LeafKind: TypeAlias = Literal[
    "revision",
    "status",
    "inspection",
    "pending",
    "decision",
    "grant",
    "use",
    "key",
    "session",
    "revocation",
    "identity",
    "attempt",
]
KINDS: tuple[str, ...] = get_args(LeafKind)
"""What entries there are."""


class Trail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """By whose credential, from where and in which request something was asked for."""

    key: str = ""
    """The id of the access key that signed; that of a session has a leaf of its own, with what its token proved."""
    source: str = ""
    """The address that the request came from."""
    request: str = ""
    """The request's id, which the client was told and the server logged."""
    verified: dict[str, str] = {}
    """What a token proved of the build that asked, as members of `release.Build`."""


class Touched(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a commit did to one object."""

    object: str
    """Its path."""
    before: str = ""
    """SHA-256, in hexadecimal, of what it was, as it was stored; "" where there was none."""
    after: str = ""
    """The same of what it became; "" for a delete."""
    fields: tuple[str, ...] = ()
    """The paths in it that an update changed, the first of them."""
    more: int = 0
    """How many more there were."""


class Leaf(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of the log: who did what, when and why, and the digest of what it did."""

    kind: LeafKind
    """A commit, a move of a release's status, a verification, what has to do with approvals and grants, an access key
    made, a session begun, one of these two revoked, an identity given to a job, or what somebody tried and nothing
    came of.
    """
    at: int
    """When, in milliseconds since the epoch, UTC."""
    principal: str
    """Who did it; for a key, whom it stands for."""
    cause: str
    """The operation, the release, or the new status."""
    digest: str
    """SHA-256, in hexadecimal, of what was changed; of an attempt, of the request's body."""
    by: Trail | None = None
    """How it was asked for; None for what the server did by itself, or a command on its machine."""
    changes: tuple[Touched, ...] = ()
    """What a commit did, object by object, in the order it was done."""
    claimed: dict[str, str] = {}
    """What the job of a release said of its build, as members of `release.Build`: nobody verified it."""
    claims: dict[str, str] = {}
    """What the token proved that a session was begun with; of an identity, what was verified of the job."""
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
    """What was revoked: `key:ID`, `session:ID` or `role:NAME`; of an identity, the run of a job that got it."""
    target: str | None = None
    """What an attempt was about: an object's path, a stack's, or the path that was asked for."""
    objects: tuple[str, ...] = ()
    """Of an attempt at a release, the paths of the objects that it was refused for, the first of them."""
    more: int = 0
    """How many more there were."""
    outcome: Literal["allowed", "refused"] | None = None
    """Of an attempt; one that was allowed found everything as it wanted it."""
    error: str | None = None
    """The name of the error that an attempt was answered with."""
    reason: str | None = None
    """The beginning of what it was told."""
    left_out: int | None = None
    """How many more attempts of the same user or role there were before this one, for which there are no leaves."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One leaf of the audit log as it is stored."""

    position: int
    """Counted from 0."""
    text: str
    """Canonical JSON of an a `Leaf`; its bytes are what is hashed."""
    root: str
    """The root of the log that ends with this leaf, in hexadecimal."""


def canonical(value: Any) -> bytes:
    """`value` as canonical JSON (RFC 8785 for what we record: ASCII member names, no fractions)."""
    return msgspec.json.encode(value, order="sorted")
