"""The store in one SQLite file: `store.contract.Store`, for one machine and several processes.

The one rule: everything that a commit says, its audit leaf included, is written in one transaction or not at all.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from meshwright import audit
from meshwright.errors import RefusedError, RevisionConflictError
from meshwright.model.state import State
from meshwright.release import NEXT, Status
from meshwright.store import appending, approving, reading, rows
from meshwright.store.approving import Approvals
from meshwright.store.connections import BUSY_SECONDS, FOLD_BYTES, Database
from meshwright.store.contract import (
    ALL,
    Answered,
    Draft,
    Head,
    Moment,
    Revision,
    Search,
    refuse_contradiction,
)
from meshwright.store.identities import Identities
from meshwright.store.touching import Digests, Touching
from meshwright.store.verification import verify

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from meshwright.model.identity import Key
    from meshwright.model.state import Resource
    from meshwright.release import Author, Evidence, Inspection, Release, Series, Standing, Tally
    from meshwright.store.contract import Verification


_ACCOUNTS_KEPT = 100
"""Releases of a stack of which it is kept what each proxy made of them; of older ones the tally stays."""
_FORGET_EVERY = 60_000
"""Milliseconds between two looks for answers that are too old."""


def connect(
    path: str | Path, *, create: bool = True, fold_bytes: int = FOLD_BYTES, busy_seconds: float = BUSY_SECONDS
) -> SqliteStore:
    """The store in the file `path`.

    Args:
        path: the database; made, with its folder, where there is none, readable by its owner only.
        create: False to refuse where there is none.
        fold_bytes: how long the write-ahead log grows before it is folded into the database.
        busy_seconds: how long a write waits for another process's.

    Raises:
        StorageError: it cannot be opened, is not ours, or was written by a newer Meshwright.
    """
    return SqliteStore(Database(Path(path), create=create, fold_bytes=fold_bytes, busy_seconds=busy_seconds))


class SqliteStore(Identities, Approvals):
    """A `Store`; every method may be called from any thread, and raises StorageError when the file fails."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, database.watch())
        self._turning = threading.Lock()
        self._seen = -1
        self._moment = Moment(Head(0, State()), {})
        self._offered: tuple[bytes, Head] | None = None
        """What our newest commit leads to, and the audit log's root with it: it may not have come to that."""
        self._digests = Digests()
        self._forgot_at: int | None = None

    def head(self) -> Head:
        """As `Store.head`."""
        return self.moment().head

    def moment(self) -> Moment:
        """As `Store.moment`."""
        with self._turning:
            version = self._watch.version()
            if version != self._seen:
                self._moment = Moment(self._newest(self._moment.head), self._revocations_at(version))
                self._seen = version
            return self._moment

    def commit_all(
        self, expected: int, drafts: tuple[Draft, ...], written: Callable[[], None] = lambda: None
    ) -> tuple[Revision, ...]:
        """As `Store.commit_all`."""
        made = [(_revision(draft, expected + place), draft) for place, draft in enumerate(drafts, 1)]
        with self._database.write() as connection:
            newest = reading.newest_number(connection)
            if newest != expected:
                raise RevisionConflictError(
                    f"The change was made against revision {expected}, and revision {newest} is the newest: another "
                    "writer committed in between. Read the state again and repeat the change."
                )
            known = self._moment.head
            before = known.state if known.revision == expected else State(reading.resources_at(connection, expected))
            root = appending.insert_revisions(connection, made, Touching(before, self._digests))
            for draft in drafts:
                if draft.decision is not None:
                    approving.decide(connection, draft.decision, draft.trail)
                if draft.use is not None:
                    approving.use(connection, draft.use, draft.trail)
            self._forget_answers(connection, drafts[-1].at)
            # Whoever asks for the head between the commit and our return knows it by its root.
            if known.revision == expected:
                self._offered = root, _after(known, (revision for revision, _ in made))
            written()
        return tuple(revision for revision, _ in made)

    def state_at(self, revision: int) -> State:
        """As `Store.state_at`."""
        with self._database.read() as connection:
            newest = reading.newest_number(connection)
            if not 0 <= revision <= newest:
                raise RefusedError(f"There is no revision {revision}; the newest is {newest}.")
            return State(reading.resources_at(connection, revision))

    def revisions(self, after: int = 0, limit: int = 100) -> tuple[Revision, ...]:
        """As `Store.revisions`."""
        with self._database.read() as connection:
            return tuple(reading.revisions(connection, after, after + limit))

    def author(self, key: Key) -> Author | None:
        """As `Store.author`."""
        with self._database.read() as connection:
            return reading.author(connection, key)

    def history(self, key: Key, after: int) -> tuple[tuple[Author, Resource | None], ...]:
        """As `Store.history`."""
        with self._database.read() as connection:
            return tuple(reading.history(connection, key, after))

    def releases(self, mesh: str, stack: str, limit: int = 100, search: Search = ALL) -> tuple[Release, ...]:
        """As `Store.releases`."""
        with self._database.read() as connection:
            return reading.releases(connection, mesh, stack, limit, search)

    def release(self, mesh: str, stack: str, number: int) -> Release | None:
        """As `Store.release`."""
        with self._database.read() as connection:
            return reading.release(connection, mesh, stack, number)

    def standing(self, mesh: str, stack: str, series: Series) -> Standing | None:
        """As `Store.standing`."""
        with self._database.read() as connection:
            return reading.standing(connection, mesh, stack, series)

    def stacks(self, mesh: str | None = None) -> tuple[tuple[str, str], ...]:
        """As `Store.stacks`."""
        query = "SELECT DISTINCT mesh, stack FROM releases WHERE ?1 IS NULL OR mesh = ?1 ORDER BY mesh, stack"
        with self._database.read() as connection:
            return tuple((name, stack) for name, stack in connection.execute(query, (mesh,)))

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
        """As `Store.mark`."""
        name = rows.release_name(mesh, stack, number)
        with self._database.write() as connection:
            release = reading.release(connection, mesh, stack, number)
            if release is None:
                raise RefusedError(f"There is no release {name}.")
            if given not in {None, release.status}:
                raise RefusedError(f"Release {name} is {str(release.status)!r} by now, and not {str(given)!r}.")
            if (release.status, status) == (Status.FAILED, Status.PROPAGATED) and any(
                one.judgement == "failed" for one in reading.inspections(connection, mesh, stack, number)
            ):
                raise RefusedError(f"Release {name} was judged to have failed by a verification: verify it again.")
            _move(connection, release, status, principal, at)

    def note_inspection(
        self, mesh: str, stack: str, number: int, inspection: Inspection, trail: audit.Trail | None = None
    ) -> None:
        """As `Store.note_inspection`."""
        name = rows.release_name(mesh, stack, number)
        with self._database.write() as connection:
            newest = next(iter(reading.releases(connection, mesh, stack, 1, Search())), None)
            if newest is None or newest.number != number:
                told = f"{newest.title} is" if newest is not None else "there is none"
                raise RefusedError(f"Release {name} is not the newest of its stack, {told}; nothing was noted.")
            if inspection.status is not None:
                _move(connection, newest, inspection.status, inspection.principal, inspection.at)
            appending.inspect(connection, newest, inspection, trail)

    def inspections(self, mesh: str, stack: str, number: int, limit: int = 100) -> tuple[Inspection, ...]:
        """As `Store.inspections`."""
        with self._database.read() as connection:
            return reading.inspections(connection, mesh, stack, number, limit)

    def note_evidence(self, mesh: str, stack: str, number: int, evidence: Evidence) -> None:
        """As `Store.note_evidence`."""
        written = rows.evidence_columns(evidence)
        with self._database.write() as connection:
            # Not the release itself: it may be large, and while it is written down who took it, nobody else writes.
            known = "SELECT 1 FROM releases WHERE mesh = ? AND stack = ? AND number = ?"
            if connection.execute(known, (mesh, stack, number)).fetchone() is None:
                raise RefusedError(f"There is no release {rows.release_name(mesh, stack, number)}.")
            connection.execute(
                "INSERT OR REPLACE INTO evidence VALUES (?, ?, ?, ?, ?)", (mesh, stack, number, *written)
            )
            connection.execute(
                "UPDATE evidence SET accounts = NULL WHERE mesh = ? AND stack = ? AND number <= ? "
                "AND accounts IS NOT NULL",
                (mesh, stack, number - _ACCOUNTS_KEPT),
            )

    def evidence(self, mesh: str, stack: str, number: int) -> Evidence | None:
        """As `Store.evidence`."""
        query = "SELECT tally, accounts FROM evidence WHERE mesh = ? AND stack = ? AND number = ?"
        found = self._database.row(query, (mesh, stack, number))
        if found is None:
            return None
        with reading.readable(f"the evidence of release {rows.release_name(mesh, stack, number)}"):
            return rows.evidence_of(*found)

    def tallies(self, mesh: str, stack: str, after: int = 0) -> Mapping[int, Tally]:
        """As `Store.tallies`."""
        query = "SELECT number, tally FROM evidence WHERE mesh = ? AND stack = ? AND number > ?"
        with (
            self._database.read() as connection,
            reading.readable(f"the evidence of a release of stack {stack!r} in mesh {mesh!r}"),
        ):
            found = connection.execute(query, (mesh, stack, after))
            return {int(number): rows.tally_of(tally) for number, tally in found}

    def answered(self, scope: str, token: str) -> Answered | None:
        """As `Store.answered`."""
        query = "SELECT digest, status, body, at FROM answers WHERE scope = ? AND token = ?"
        found = self._database.row(query, (scope, token))
        if found is None:
            return None
        digest, status, body, at = found
        return Answered(scope=scope, token=token, digest=digest, status=status, body=body, at=at)

    def probe(self) -> None:
        """As `Store.probe`."""
        with self._database.write() as connection:
            # A change it must be: what stays the same is not written at all.
            connection.execute("UPDATE probe SET count = (count + 1) % 1000")

    def keep(self, name: str, value: str) -> str:
        """As `Store.keep`."""
        query = "SELECT value FROM settings WHERE name = ?"
        with self._database.read() as connection:
            found = connection.execute(query, (name,)).fetchone()
        if found is None:
            with self._database.write() as connection:
                connection.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, value))
                found = connection.execute(query, (name,)).fetchone()
        return str(found[0])

    def remember(self, source: str, found: Mapping[str, str | None]) -> None:
        """As `Store.remember`."""
        gone = [(source, name) for name, body in found.items() if body is None]
        kept = [(source, name, body) for name, body in found.items() if body is not None]
        with self._database.write() as connection:
            connection.executemany("DELETE FROM findings WHERE source = ? AND name = ?", gone)
            connection.executemany("INSERT OR REPLACE INTO findings VALUES (?, ?, ?)", kept)

    def remembered(self, source: str) -> Mapping[str, str]:
        """As `Store.remembered`."""
        with self._database.read() as connection:
            found = connection.execute("SELECT name, body FROM findings WHERE source = ? ORDER BY name", (source,))
            return dict(found.fetchall())

    def record(self, leaves: Sequence[audit.Leaf]) -> None:
        """As `Store.record`."""
        with self._database.write() as connection:
            log = appending.Log(connection)
            for leaf in leaves:
                log.add(leaf)
            log.flush()

    def leaves(self, after: int = 0, limit: int = 100) -> tuple[audit.Entry, ...]:
        """As `Store.leaves`."""
        query = "SELECT position, entry, root FROM leaves WHERE position >= ? ORDER BY position LIMIT ?"
        with self._database.read() as connection:
            return tuple(
                audit.Entry(position=position, text=text, root=root.hex())
                for position, text, root in connection.execute(query, (after, limit))
            )

    def search_log(self, search: audit.LogSearch, limit: int = 100) -> tuple[tuple[audit.Entry, ...], int | None]:
        """As `Store.search_log`."""
        with self._database.read() as connection:
            return reading.entries(connection, search, limit)

    def checkpoint(self) -> audit.Checkpoint:
        """As `Store.checkpoint`."""
        with self._database.read() as connection:
            frontier = appending.frontier(connection)
        return audit.Checkpoint(frontier.size, audit.root(frontier).hex())

    def verify(self, *earlier: audit.Checkpoint) -> Verification:
        """As `Store.verify`."""
        with self._database.read() as connection:
            return verify(connection, *earlier)

    def durability(self) -> dict[str, str | int]:
        """What SQLite says of itself: journal_mode, synchronous (2 is full), foreign_keys, busy_timeout (ms)."""
        return self._database.durability()

    def close(self) -> None:
        """As `Store.close`."""
        self._watch.close()
        self._database.close()

    def _forget_answers(self, connection: sqlite3.Connection, at: int) -> None:
        """Now and then, and bit by bit."""
        if self._forgot_at is None or not self._forgot_at <= at < self._forgot_at + _FORGET_EVERY:
            more = appending.forget_answers(connection, at)
            self._forgot_at = None if more else at

    def _newest(self, head: Head) -> Head:
        """`head` brought up to date: whole at first, by what was committed since afterwards."""
        with self._database.read() as connection:
            newest, root = reading.newest(connection)
            offered = self._offered
            if offered is not None and offered[0] == root:
                return offered[1]
            if head.revision == 0:
                return Head(newest, State(reading.resources_at(connection, newest)))
            return _after(head, reading.revisions(connection, head.revision, newest))


def _move(connection: sqlite3.Connection, release: Release, status: Status, principal: str, at: int) -> None:
    """Move a release's status along `NEXT`; the same again is nothing.

    Raises:
        RefusedError: the move is not allowed.
    """
    if release.status is status:
        return
    if status not in NEXT[release.status]:
        name = rows.release_name(release.mesh, release.stack, release.number)
        allowed = ", ".join(sorted(NEXT[release.status])) or "nothing else"
        raise RefusedError(
            f"Release {name} is {str(release.status)!r} and cannot become {str(status)!r}, only {allowed}."
        )
    appending.move(connection, release, status, principal, at)


def _revision(draft: Draft, number: int) -> Revision:
    refuse_contradiction(draft, number)
    return Revision(
        number=number,
        at=draft.at,
        principal=draft.principal,
        cause=draft.cause,
        puts=draft.puts,
        deletes=draft.deletes,
    )


def _after(head: Head, revisions: Iterable[Revision]) -> Head:
    """`head` after what was committed next: one new state for all of it, which costs a tenth of one for each."""
    number = head.revision
    last: dict[Key, Resource | None] = {}
    for one in revisions:
        number = one.number
        last.update(dict.fromkeys(one.deletes))
        last.update({put.key: put for put in one.puts})
    gone = [key for key, resource in last.items() if resource is None]
    return Head(number, head.state.drop(*gone).put(*(one for one in last.values() if one is not None)))
