"""What a database is held against while its log is recomputed, leaf by leaf: checkpoints, sessions, the index.

The one rule: each is shown every leaf in order, and tells what is off at the end.
"""

from __future__ import annotations

import secrets
import sqlite3  # noqa: TC003 - the store's own library
from typing import TYPE_CHECKING

from meshwright import audit
from meshwright.store import rows
from meshwright.store.contract import Fault
from meshwright.store.identities import SESSIONS_KEPT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.audit import Checkpoint

_PRIME = (1 << 127) - 1
"""Two sets of a million numbers that differ have the same product at one of 10^32 places."""


class Outside:
    """What was noted of the log elsewhere, held against it as it is recomputed."""

    def __init__(self, earlier: Iterable[Checkpoint]) -> None:
        self._noted: dict[int, set[str]] = {}
        for one in earlier:
            self._noted.setdefault(one.size, set()).add(one.root)
        self._held = 0
        self._broken: list[int] = []
        self.compare(0, audit.root(audit.Frontier()))

    def compare(self, size: int, root: bytes) -> None:
        """The log has `root` with its first `size` leaves."""
        noted = self._noted.get(size)
        if noted is None:
            return
        if noted == {root.hex()}:
            self._held = max(self._held, 0 if self._broken else size)
        else:
            self._broken.append(size)

    def faults(self, size: int) -> Iterator[Fault]:
        """What is not as it was noted, of a log of `size` leaves."""
        if self._broken:
            first, more = self._broken[0], len(self._broken) - 1
            place = ""
            if self._held:
                place = f"; the first {self._held} are, so that one of leaves {self._held} to {first - 1} was changed"
            others = f"; {more} later checkpoints differ as well" if more else ""
            yield Fault(None, f"the first {first} leaves are not those of the earlier checkpoint{place}{others}")
        newest = max(self._noted, default=0)
        if newest > size:
            yield Fault(None, f"the earlier checkpoint has {newest} leaves, the log only {size}")


class Forgotten:
    """Sessions that have a leaf and no row: forgotten when a later one was begun, or taken away."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._there = {leaf for (leaf,) in connection.execute("SELECT leaf FROM sessions")}
        self._gone: list[tuple[int, audit.Leaf]] = []
        self._newest = 0

    def see(self, position: int, leaf: audit.Leaf) -> None:
        """The leaf at a position; those of sessions alone matter."""
        if leaf.kind != "session":
            return
        self._newest = max(self._newest, leaf.at)
        if position not in self._there:
            self._gone.append((position, leaf))

    def faults(self) -> Iterator[Fault]:
        """Those that were not old enough, by the newest that was begun, to be forgotten."""
        for position, leaf in self._gone:
            if leaf.expires is None or leaf.expires >= self._newest - SESSIONS_KEPT:
                yield Fault(position, f"session {leaf.key} is missing, and was not old enough to be forgotten")


class Index:
    """By what leaves are searched, held against what they say."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # Whoever edits the index cannot know it, so that no other numbers come to the same product.
        self._at = secrets.randbelow(_PRIME)
        self._product = 1

    def see(self, position: int, leaf: audit.Leaf) -> None:
        """The leaf at a position."""
        for one in audit.terms(leaf):
            self._product = self._product * (self._at + rows.term_id(one, position)) % _PRIME

    def faults(self) -> Iterator[Fault]:
        """Whether a search would miss something, or would look at something for no reason."""
        there = 1
        for (one,) in self._connection.execute("SELECT id FROM terms"):
            there = there * (self._at + one) % _PRIME
        if there != self._product:
            yield Fault(None, "the index of the log is not what its leaves say: searches of it may miss some")
