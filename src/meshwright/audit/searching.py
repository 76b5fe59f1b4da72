"""Which entries of the log are asked for, and whether one is.

The one rule: an entry is found by what it says itself, so that the answer can be checked against the log alone. Under
which terms it is looked up follows from that too, and what is found so is looked at once more.
"""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.audit.leaves import Leaf


_SHORT = ("user/", "role/")


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
    def terms(self) -> tuple[int, ...]:
        """What every entry that is meant has among its `terms`; the first is in the fewest entries."""
        wanted = (("release", self.release), ("key", self.key), ("build", self.build))
        found = [_term(name, value) for name, value in wanted if value]
        if self.object and self.object.count("/") % 2 == 1:
            found.append(_term("object", self.object))
        if self.principal and _is_one_term(self.principal):
            found.append(_term_of_principal(self.principal))
        if self.outcome == "refused":
            found.append(_term("outcome", "refused"))
        return tuple(found)

    def meets(self, leaf: Leaf) -> bool:
        """Whether the entry is one that is meant."""
        return (
            self.kind in {None, leaf.kind}
            and self.outcome in {None, "refused" if leaf.outcome == "refused" else "allowed"}
            and (self.principal is None or _is(leaf.principal, self.principal))
            and (self.key is None or self.key in _keys(leaf))
            and (self.build is None or self.build == _build(leaf))
            and (self.object is None or any(_within(one, self.object) for one in _named(leaf)))
            and self.release in {None, leaf.release}
            and (self.since is None or leaf.at >= self.since)
            and (self.until is None or leaf.at < self.until)
        )


def terms(leaf: Leaf) -> set[int]:
    """Under which terms an entry is looked up: 32 bits of a checksum each, so that others may share one."""
    found = {_term_of_principal(leaf.principal)}
    if leaf.by is not None and leaf.by.key:
        found.add(_term("key", leaf.by.key))
    if build := _build(leaf):
        found.add(_term("build", build))
    if leaf.release:
        found.add(_term("release", leaf.release))
    if leaf.key is not None or leaf.subject is not None:
        found.update(_term("key", one) for one in _keys(leaf) if one)
    for path in _named(leaf):
        found.update(_terms_of_object(path))
    if leaf.outcome == "refused":
        found.add(_term("outcome", "refused"))
    return found


@functools.lru_cache(10_000)
def _term(name: str, value: str) -> int:
    return zlib.crc32(f"{name}:{value}".encode(errors="surrogatepass"))


@functools.lru_cache(10_000)
def _terms_of_object(path: str) -> tuple[int, ...]:
    """Those of an object and of all that it is in: `mesh/shop`, `mesh/shop/virtualRouter/r`, and so on."""
    words = path.split("/")
    return tuple(_term("object", "/".join(words[:end])) for end in range(2, len(words) + 1, 2))


@functools.lru_cache(10_000)
def _term_of_principal(principal: str) -> int:
    """That of `user/NAME` or `role/NAME`, as which a principal is asked for as well."""
    tail = principal.rpartition(":")[2]
    if tail.startswith("assumed-role/"):
        tail = f"role/{tail.split('/')[1]}"
    elif tail == principal and not tail.startswith(_SHORT):
        tail = f"user/{tail}"  # an access key's entry has its user's name alone
    return _term("principal", tail)


def _is_one_term(principal: str) -> bool:
    """Whether all that a principal that is asked for may mean has one term."""
    return not principal.startswith(_SHORT) or (principal.count("/") == 1 and ":" not in principal)


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


def _named(leaf: Leaf) -> Iterator[str]:
    """The objects that an entry is about: those that were changed, or that somebody may not have changed."""
    yield from (one.object for one in leaf.changes)
    yield from leaf.objects
    if leaf.target is not None:
        yield leaf.target


def _within(path: str, asked: str) -> bool:
    return path == asked or path.startswith(f"{asked}/")
