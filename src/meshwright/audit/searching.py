"""Which entries of the log are asked for, and whether one is.

The one rule: an entry is found by what it says itself, so that the answer can be checked against the log alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.audit.leaves import Leaf


class LogSearch(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on entries of the audit log: those are meant that meet every one that is set."""

    before: int | None = None
    """At positions below this: the next page."""
    kind: str | None = None
    """Of this kind."""
    outcome: Literal["allowed", "refused"] | None = None
    """Refused attempts, or all else."""
    principal: str | None = None
    """By this ARN, or by `user/NAME`, or by any session of `role/NAME`."""
    key: str | None = None
    """By the access key or session with this id, or about it."""
    build: str | None = None
    """Of the build with this number: verified or, where nothing was, claimed."""
    object: str | None = None
    """About the object with this path, or one in it."""
    release: str | None = None
    """About this release: `shop/cart#12`, the mesh before the stack."""
    since: int | None = None
    """At this moment or later, in milliseconds since the epoch, UTC."""
    until: int | None = None
    """Before this moment."""

    @property
    def words(self) -> tuple[str, ...]:
        """What the text of every entry that is meant has in it: a cheap look before it is taken apart."""
        name = (self.principal or "").rpartition("/")[2]
        return tuple(one for one in (name, self.key, self.build, self.object, self.release) if one)

    def meets(self, leaf: Leaf) -> bool:
        """Whether the entry is one that is meant."""
        return (
            self.kind in {None, leaf.kind}
            and self.outcome in {None, "refused" if leaf.outcome == "refused" else "allowed"}
            and (self.principal is None or _is(leaf.principal, self.principal))
            and (self.key is None or self.key in _keys(leaf))
            and (self.build is None or self.build == _build(leaf))
            and (self.object is None or any(_within(one, self.object) for one in _objects(leaf)))
            and self.release in {None, leaf.release}
            and (self.since is None or leaf.at >= self.since)
            and (self.until is None or leaf.at < self.until)
        )


def _is(principal: str, asked: str) -> bool:
    if asked.startswith("role/"):
        return f":assumed-role/{asked.removeprefix('role/')}/" in f"{principal}/"
    # An access key's entry has its user's name alone.
    user = asked.startswith("user/") and (principal.endswith(f":{asked}") or principal == asked.removeprefix("user/"))
    return user or principal == asked


def _keys(leaf: Leaf) -> Iterator[str | None]:
    yield leaf.key
    if leaf.by is not None:
        yield leaf.by.key
    if leaf.subject is not None:
        yield leaf.subject.partition(":")[2]


def _build(leaf: Leaf) -> str:
    verified = leaf.by.verified.get("build_number", "") if leaf.by is not None else ""
    return verified or leaf.claimed.get("build_number", "")


def _objects(leaf: Leaf) -> Iterator[str]:
    yield from (one.object for one in leaf.changes)
    if leaf.target is not None:
        yield leaf.target


def _within(path: str, asked: str) -> bool:
    return path == asked or path.startswith(f"{asked}/")
