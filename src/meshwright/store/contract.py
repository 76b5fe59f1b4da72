"""What every store promises: an append-only log of revisions with compare-and-swap.

One writer at a time; a commit is whole or not at all, its audit leaf in the same transaction; readers never wait.
It is long because every promise of a store stands here, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self

import msgspec

from meshwright.audit import Checkpoint, Entry, Leaf, LogSearch, Trail
from meshwright.model.identity import Key
from meshwright.model.state import Resource, State
from meshwright.release import Author, Build, Evidence, Inspection, Release, Series, Standing, Status, Tally
from meshwright.store.approvals import Decision, Grant, Pending, Use
from meshwright.trust.principals import Ancestor, Principal


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


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Short-lived credentials: a SigV4 key with a token that goes along, and the principal that they stand for."""

    key_id: str
    """`ASIA…`."""
    secret: str
    token: str
    principal: Principal
    created_at: int
    expires_at: int
    """From this millisecond on it is worth nothing."""

    def __repr__(self) -> str:
        return f"Session(key_id={self.key_id!r}, principal={self.principal.arn!r}, expires_at={self.expires_at})"


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """What is worth nothing any more, from whenever it was issued up to `at`."""

    subject: str
    """`key:AKIA…`, `session:ASIA…`, or `role:NAME` for the role's sessions that were issued until `at`."""
    at: int
    principal: str
    """Who revoked it."""


class Moment(msgspec.Struct, frozen=True):
    """What a store held at one moment, of all that a request asks for: one look at the file tells both."""

    head: Head
    revocations: Mapping[str, int]
    """For each subject of a `Revocation`, until when what it was issued is worth nothing."""

    def revoked(self, found: AccessKey | Session) -> bool:
        """As `Store.revoked`, at this moment."""
        return is_revoked(found, self.revocations)


def is_revoked(found: AccessKey | Session, revocations: Mapping[str, int]) -> bool:
    """Whether a key or session, or one that the session was obtained with, is revoked."""
    if isinstance(found, AccessKey):
        return f"key:{found.id}" in revocations
    principal = found.principal
    own = Ancestor(found.key_id, principal.name if principal.kind == "role" else "", found.created_at)
    return any(_ended(one, revocations) for one in (own, *principal.ancestors))


def _ended(one: Ancestor, revocations: Mapping[str, int]) -> bool:
    if f"session:{one.key_id}" in revocations or f"key:{one.key_id}" in revocations:
        return True
    return bool(one.role) and one.issued_at <= revocations.get(f"role:{one.role}", -1)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a job of a CI service got once it had proved which job it is."""

    run: str
    """The one run of the job: a job that is started again keeps its id."""
    subject: str
    """Of the token: `repo:acme/orders:branch:main:event:push`."""
    claims: dict[str, str]
    """What was verified."""
    at: int
    """Milliseconds since the epoch, UTC."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request that named a token, kept for a repetition of it."""

    scope: str
    """The account whose token it is."""
    token: str
    digest: str
    """Of operation, path and body: what has another one is another request."""
    status: int
    body: str
    """As it was sent."""
    at: int


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A verified build that found a stack as it wants it: from then on it counts as the one that released it."""

    mesh: str
    stack: str
    number: int
    """Of the release that it found."""
    build: Build


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A revision that is to be."""

    puts: tuple[Resource, ...] = ()
    deletes: tuple[Key, ...] = ()
    principal: str
    cause: str
    at: int
    release: Release | None = None
    """Stored in the same transaction. If it is a rollback, every release of its stack after the one that it restores
    is marked as rolled back in that transaction too."""
    found: Found | None = None
    """Stored in the same transaction, of a revision that changes nothing."""
    decision: Decision | None = None
    """On the pending release that it carries out; stored in the same transaction."""
    use: Use | None = None
    """Of the grant that it needs; stored in the same transaction."""
    after: State | None = None
    """The state that it leads to, where whoever made it knows it: the head's with `puts` and without `deletes`."""
    answered: Answered | None = None
    """What a repetition of the request is to be answered with; stored in the same transaction."""
    trail: Trail | None = None
    """How it was asked for, for the audit leaf."""

    @classmethod
    def of_one(
        cls, key: Key, after: State, *, principal: str, cause: str, at: int, answered: Answered | None
    ) -> Self:
        """The revision that leaves the object `key` as it is in `after`, and all others alone."""
        put = after.get(key)
        return cls(
            puts=() if put is None else (put,),
            deletes=(key,) if put is None else (),
            principal=principal,
            cause=cause,
            at=at,
            after=after,
            answered=answered,
        )


def refuse_contradiction(draft: Draft, number: int) -> None:
    """Raise when `draft` cannot become revision `number`, whatever the database holds.

    Raises:
        ValueError: a key comes twice, or the release is of another revision.
    """
    keys = [*(one.key for one in draft.puts), *draft.deletes]
    if len(set(keys)) != len(keys):
        raise ValueError("a commit puts or deletes a key once")
    if draft.found is not None and (keys or draft.release is not None):
        raise ValueError("a build that finds a stack as it wants it changes nothing")
    if draft.release is not None and draft.release.revision != number:
        raise ValueError(f"the release is of revision {draft.release.revision}, the commit makes {number}")


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Which releases of a stack are asked for: those that meet every condition that is set."""

    before: int | None = None
    """Numbered below this: the next page after the release of this number."""
    status: Status | None = None
    key: Key | None = None
    """That created, updated or deleted this object."""
    principal: str | None = None
    """Made by this ARN, by `user/NAME`, or by any session of `role/NAME`."""
    build: str | None = None
    """Whose build has this number, verified or else claimed; as all that follows of a build."""
    commit: str | None = None
    """Whose build's commit begins so, in capitals or not."""
    branch: str | None = None
    repository: str | None = None
    since: int | None = None
    """Made at this moment or later, in milliseconds since the epoch, UTC."""
    until: int | None = None
    """Made before this moment."""


ALL = Search()
"""Every release of a stack."""


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

    def commit_all(
        self, expected: int, drafts: tuple[Draft, ...], written: Callable[[], None] = lambda: None
    ) -> tuple[Revision, ...]:
        """Append the revisions `expected + 1` and on, one a draft, in one transaction; durable when it returns.

        `written` is called in the same thread when all is written and only the disk is waited for; it may still fail.

        Raises:
            RevisionConflictError: the newest revision is not `expected`.
            StorageError: the database refused; nothing was changed.
            ValueError: a draft contradicts itself (`refuse_contradiction`).
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

    def author(self, key: Key) -> Author | None:
        """Who put or deleted `key` last; None for nobody."""
        ...

    def history(self, key: Key, after: int) -> tuple[tuple[Author, Resource | None], ...]:
        """What `key` became in the newest 1,000 revisions after `after` that changed it, oldest first; and by whom.

        None stands for a deletion.
        """
        ...

    def releases(self, mesh: str, stack: str, limit: int = 100, search: Search = ALL) -> tuple[Release, ...]:
        """The releases of a stack, newest first, without their content: `release` gives one whole."""
        ...

    def release(self, mesh: str, stack: str, number: int) -> Release | None:
        """One release."""
        ...

    def standing(self, mesh: str, stack: str, series: Series) -> Standing | None:
        """How far the builds of a series have come with a stack; None where none of them ever released it."""
        ...

    def add_pending(self, pending: Pending, trail: Trail | None = None) -> tuple[Pending, bool]:
        """Keep a release that waits, with an audit leaf and its number, and True; where it waits already, that one.

        What else its author has waiting for the stack is withdrawn.

        Raises:
            RefusedError: too many wait already.
        """
        ...

    def pending(
        self, mesh: str, stack: str, limit: int = 100, before: int | None = None
    ) -> tuple[tuple[Pending, Decision | None], ...]:
        """The releases of a stack that wait, or did, newest first; None for what nobody has decided.

        With `before`, those that are numbered below it.
        """
        ...

    def withdraw(self, decision: Decision, trail: Trail | None = None) -> None:
        """Write down that a pending release is withdrawn, with an audit leaf.

        Raises:
            RefusedError: it is decided already.
        """
        ...

    def add_grant(self, grant: Grant, trail: Trail | None = None) -> Grant:
        """Keep a grant, with an audit leaf and its number."""
        ...

    def grants(self, mesh: str, stack: str) -> tuple[tuple[Grant, Use | None], ...]:
        """The grants for a stack, newest first; None for what was not used."""
        ...

    def stacks(self, mesh: str | None = None) -> tuple[tuple[str, str], ...]:
        """Every (mesh, stack) that has a release, sorted."""
        ...

    def mark(
        self,
        mesh: str,
        stack: str,
        number: int,
        status: Status,
        *,
        principal: str,
        at: int,
        given: Status | None = None,
    ) -> None:
        """Move a release's status along `release.NEXT`, with an audit leaf; the same status again is a no-op.

        Raises:
            RefusedError: the move is not allowed, there is no such release, or its status is not the one `given`.
        """
        ...

    def note_evidence(self, mesh: str, stack: str, number: int, evidence: Evidence) -> None:
        """Keep what proxies made of a release, in place of what was kept; accounts of the newest 100 are held on to.

        Raises:
            RefusedError: there is no such release.
        """
        ...

    def evidence(self, mesh: str, stack: str, number: int) -> Evidence | None:
        """What proxies made of a release; None where nothing was seen."""
        ...

    def tallies(self, mesh: str, stack: str, after: int = 0) -> Mapping[int, Tally]:
        """What is known of the releases of a stack numbered over `after`, in a few numbers each."""
        ...

    def note_inspection(
        self, mesh: str, stack: str, number: int, inspection: Inspection, trail: Trail | None = None
    ) -> None:
        """Keep a verification of a release, with an audit leaf, and move its status to what it says, if anything.

        Raises:
            RefusedError: a newer release of the stack is there, or the move is not allowed; nothing was kept.
        """
        ...

    def inspections(self, mesh: str, stack: str, number: int, limit: int = 100) -> tuple[Inspection, ...]:
        """Up to `limit` verifications of a release, newest first."""
        ...

    def add_key(self, key: AccessKey) -> None:
        """Store an access key, with an audit leaf.

        Raises:
            RefusedError: its id is taken.
        """
        ...

    def key(self, key_id: str) -> AccessKey | None:
        """An access key by its id, revoked or not; cheap, and another process's new key is seen."""
        ...

    def keys(self) -> tuple[AccessKey, ...]:
        """Every access key, oldest first."""
        ...

    def add_session(self, session: Session, trail: Trail | None = None) -> None:
        """Store a session, with an audit leaf; those that expired a day before it was made are forgotten.

        Raises:
            RefusedError: its id is taken.
        """
        ...

    def session(self, key_id: str) -> Session | None:
        """A session by its id, cheap; an expired or revoked one too, as long as it is not forgotten."""
        ...

    def sessions(self, after: str = "", limit: int = 100) -> tuple[Session, ...]:
        """Up to `limit` sessions whose ids come after `after`, in the order of their ids, expired ones too."""
        ...

    def revoke(self, subject: str, at: int, principal: str, trail: Trail | None = None) -> bool:
        """Make `subject` worth nothing: see `Revocation`; with an audit leaf. Whether it was not so before.

        Raises:
            RefusedError: there is no such key or session, or `subject` is of no known form.
        """
        ...

    def add_identity(self, given: Identity, trail: Trail | None = None) -> bool:
        """Note that a run of a job got its identity, with an audit leaf; False, and nothing noted, where it had one.

        Of any that try at once, whatever their processes, one is told True.
        """
        ...

    def revoked(self, found: AccessKey | Session) -> bool:
        """Whether a key or session, or one that the session was obtained with, was revoked by any process; cheap."""
        ...

    def moment(self) -> Moment:
        """The newest head and what is revoked, by any process, for the price of one look at the file."""
        ...

    def revocations(self) -> tuple[Revocation, ...]:
        """Every revocation, oldest first."""
        ...

    def answered(self, scope: str, token: str) -> Answered | None:
        """What the request with this token was answered; forgotten after a day."""
        ...

    def probe(self) -> None:
        """Write to the disk and sync it, changing nothing.

        Raises:
            StorageError: the database cannot be written, with what to do.
        """
        ...

    def keep(self, name: str, value: str) -> str:
        """The setting `name`, durable and written once: `value` if it was not there, else what was."""
        ...

    def remember(self, source: str, found: Mapping[str, str | None]) -> None:
        """Keep what `source` found out from outside under these names, or forget it where that is None.

        It is no part of any revision and of no audit: it spares a restarted server to know nothing for a while.

        Raises:
            StorageError: the database refused; nothing was changed.
        """
        ...

    def remembered(self, source: str) -> Mapping[str, str]:
        """What `source` found out and was not forgotten, by name."""
        ...

    def record(self, leaves: Sequence[Leaf]) -> None:
        """Append what came to nothing, `attempt`s, to the audit log, in one transaction.

        Raises:
            StorageError: the database refused; nothing was changed.
        """
        ...

    def leaves(self, after: int = 0, limit: int = 100) -> tuple[Entry, ...]:
        """Up to `limit` leaves of the audit log, without the first `after`, oldest first."""
        ...

    def search_log(self, search: LogSearch, limit: int = 100) -> tuple[tuple[Entry, ...], int | None]:
        """Up to `limit` entries of the audit log that are searched for, newest first, and where to go on.

        It looks at so many entries at most, and may find fewer than there are: `before` of the next search is the
        number it answers with, None at the log's beginning.
        """
        ...

    def checkpoint(self) -> Checkpoint:
        """The audit log's size and root as recorded by the newest append."""
        ...

    def verify(self, *earlier: Checkpoint) -> Verification:
        """Recompute the audit log from its leaves, and every digest in it from what is stored.

        With `earlier`, also whether the log still begins with what it was at each of them.
        """
        ...

    def close(self) -> None:
        """Release the database; later calls raise StorageError."""
        ...
