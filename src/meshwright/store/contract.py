"""What every store promises: an append-only log of revisions with compare-and-swap.

One writer at a time; a commit is whole or not at all, its audit leaf in the same transaction; readers never wait.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from meshwright.model.identity import Key
from meshwright.model.state import Resource, State
from meshwright.release import Release, Status  # noqa: TC001


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """One commit: what it changed, who, why, when (milliseconds since the epoch, UTC)."""

    number: int
    at: int
    principal: str
    cause: str
    """The operation (`UpdateRoute`) or the release (`release shop#12`)."""
    puts: tuple[Resource, ...] = ()
    deletes: tuple[Key, ...] = ()


class Head(msgspec.Struct, frozen=True):
    """The newest revision's number, 0 before the first, and the state it left."""

    revision: int
    state: State


class AccessKey(msgspec.Struct, frozen=True, kw_only=True):
    """A locally created SigV4 key and the principal that it stands for."""

    id: str
    secret: str
    principal: str
    created_at: int

    def __repr__(self) -> str:
        return f"AccessKey(id={self.id!r}, principal={self.principal!r})"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One leaf of the audit log as it is stored."""

    position: int
    """Counted from 0."""
    text: str
    """Canonical JSON of an `audit.Leaf`; its bytes are what is hashed."""
    root: str
    """The root of the log that ends with this leaf, in hexadecimal."""


class Checkpoint(msgspec.Struct, frozen=True):
    """What the audit log was at one moment; kept outside of the database, it proves that nothing was rewritten."""

    size: int
    root: str
    """In hexadecimal."""


class Fault(msgspec.Struct, frozen=True):
    """One thing that is not as the audit log says."""

    position: int | None
    """The leaf that it belongs to; None for something that has no leaf."""
    message: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What recomputing the audit log found; sound when there are no faults."""

    checkpoint: Checkpoint
    """The log's size and root, recomputed from its leaves."""
    faults: tuple[Fault, ...]


class Store(Protocol):
    """Where revisions, releases and access keys live. Safe to call from any thread."""

    def head(self) -> Head:
        """The newest committed revision, by whatever process; cheap, from memory.

        Raises:
            StorageError: the database cannot be read.
        """
        ...

    def commit(
        self,
        expected: int,
        *,
        puts: tuple[Resource, ...],
        deletes: tuple[Key, ...],
        principal: str,
        cause: str,
        at: int,
        release: Release | None = None,
    ) -> Revision:
        """Append revision `expected + 1`; durable when it returns.

        A `release` given along is stored in the same transaction. If it is a rollback, every release of its stack
        after the one that it restores is marked as rolled back in that transaction too.

        Raises:
            RevisionConflictError: the newest revision is not `expected`.
            StorageError: the database refused; nothing was changed.
            ValueError: a key comes twice, or the release is of another revision.
        """
        ...

    def state_at(self, revision: int) -> State:
        """The whole state as revision `revision` left it; 0 is empty.

        Raises:
            RefusedError: there is no such revision.
        """
        ...

    def revisions(self, after: int = 0, limit: int = 100) -> tuple[Revision, ...]:
        """Up to `limit` revisions newer than `after`, oldest first."""
        ...

    def last_change(self, key: Key) -> Revision | None:
        """The newest revision that put or deleted `key`."""
        ...

    def releases(self, mesh: str, stack: str, limit: int = 100) -> tuple[Release, ...]:
        """The releases of a stack, newest first, without their content: `release` gives one whole."""
        ...

    def release(self, mesh: str, stack: str, number: int) -> Release | None:
        """One release."""
        ...

    def stacks(self, mesh: str | None = None) -> tuple[tuple[str, str], ...]:
        """Every (mesh, stack) that has a release, sorted."""
        ...

    def mark(self, mesh: str, stack: str, number: int, status: Status, *, principal: str, at: int) -> None:
        """Move a release's status along `release.NEXT`, with an audit leaf; the same status again is a no-op.

        Raises:
            RefusedError: the move is not allowed, or there is no such release.
        """
        ...

    def add_key(self, key: AccessKey) -> None:
        """Store an access key, with an audit leaf.

        Raises:
            RefusedError: its id is taken.
        """
        ...

    def key(self, key_id: str) -> AccessKey | None:
        """An access key by its id, read from disk so that another process's new key is seen."""
        ...

    def keys(self) -> tuple[AccessKey, ...]:
        """Every access key, oldest first."""
        ...

    def keep(self, name: str, value: str) -> str:
        """The setting `name`, durable and written once: `value` if it was not there, else what was."""
        ...

    def leaves(self, after: int = 0, limit: int = 100) -> tuple[Entry, ...]:
        """Up to `limit` leaves of the audit log, without the first `after`, oldest first."""
        ...

    def checkpoint(self) -> Checkpoint:
        """The audit log's size and root as recorded by the newest append."""
        ...

    def verify(self, earlier: Checkpoint | None = None) -> Verification:
        """Recompute the audit log from its leaves, and every digest in it from what is stored.

        With `earlier`, also whether the log still begins with what it was then.
        """
        ...

    def close(self) -> None:
        """Release the database; later calls raise StorageError."""
        ...
