"""The store in one SQLite file: `store.contract.Store`, for one machine and several processes.

The one rule: everything that a commit says, its audit leaf included, is written in one transaction or not at all.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from meshwright import audit
from meshwright.errors import RefusedError, RevisionConflictError, StorageError
from meshwright.model.state import State
from meshwright.release import NEXT, Status
from meshwright.store import rows
from meshwright.store.connections import FOLD_BYTES, Database, failure
from meshwright.store.contract import AccessKey, Checkpoint, Entry, Head, Revision
from meshwright.store.verification import verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.model.identity import Key
    from meshwright.model.state import Resource
    from meshwright.release import Release
    from meshwright.store.contract import Verification

# CROSS JOIN: SQLite shall go by object, one search each, and never through the whole history.
_STATE_AT = """
    SELECT mesh, kind, parent, name, body FROM objects CROSS JOIN changes ON changes.object = objects.id
    WHERE changes.revision = (SELECT max(revision) FROM changes WHERE object = objects.id AND revision <= ?)
    AND body IS NOT NULL
"""
_REVISIONS = """
    SELECT number, at, principal, cause, mesh, kind, parent, name, body FROM revisions
    LEFT JOIN changes ON changes.revision = revisions.number LEFT JOIN objects ON objects.id = changes.object
    WHERE number > ? AND number <= ? ORDER BY number, changes.id
"""
_LAST_CHANGE = """
    SELECT max(revision) FROM changes WHERE object =
    (SELECT id FROM objects WHERE mesh = ? AND kind = ? AND parent = ? AND name = ?)
"""
_RELEASES = """
    SELECT body, (
        SELECT status FROM statuses AS moves WHERE moves.mesh = releases.mesh AND moves.stack = releases.stack
        AND moves.number = releases.number ORDER BY leaf DESC LIMIT 1
    ) FROM releases WHERE mesh = ? AND stack = ?
"""


def connect(path: str | Path, *, create: bool = True, fold_bytes: int = FOLD_BYTES) -> SqliteStore:
    """The store in the file `path`.

    Args:
        path: the database; made, with its folder, where there is none, readable by its owner only.
        create: False to refuse where there is none.
        fold_bytes: how long the write-ahead log grows before it is folded into the database.

    Raises:
        StorageError: it cannot be opened, is not ours, or was written by a newer Meshwright.
    """
    return SqliteStore(Database(Path(path), create=create, fold_bytes=fold_bytes))


class SqliteStore:
    """A `Store`; every method may be called from any thread, and raises StorageError when the file fails."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watching = threading.Lock()
        self._watch: sqlite3.Connection | None = database.watch()
        self._seen = -1
        self._head = Head(0, State())

    def head(self) -> Head:
        """As `Store.head`."""
        with self._watching:
            if self._watch is None:
                raise StorageError(f"The database {self._database.path} was closed.")
            try:
                version = int(self._watch.execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.Error as error:
                raise failure(self._database.path, "read", error) from error
            if version != self._seen:
                self._head = self._newest(self._head)
                self._seen = version
            return self._head

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
        """As `Store.commit`."""
        keys = [*(one.key for one in puts), *deletes]
        if len(set(keys)) != len(keys):
            raise ValueError("a commit puts or deletes a key once")
        if release is not None and release.revision != expected + 1:
            raise ValueError(f"the release is of revision {release.revision}, the commit makes {expected + 1}")
        revision = Revision(number=expected + 1, at=at, principal=principal, cause=cause, puts=puts, deletes=deletes)
        with self._database.write() as connection:
            newest = _newest_number(connection)
            if newest != expected:
                raise RevisionConflictError(
                    f"The change was made against revision {expected}, and revision {newest} is the newest: another "
                    "writer committed in between. Read the state again and repeat the change."
                )
            _insert(connection, revision, release)
        with self._watching:
            if self._head.revision == expected:
                self._head = Head(revision.number, self._head.state.drop(*deletes).put(*puts))
        return revision

    def state_at(self, revision: int) -> State:
        """As `Store.state_at`."""
        with self._database.read() as connection:
            newest = _newest_number(connection)
            if not 0 <= revision <= newest:
                raise RefusedError(f"There is no revision {revision}; the newest is {newest}.")
            return State(_resources(connection.execute(_STATE_AT, (revision,))))

    def revisions(self, after: int = 0, limit: int = 100) -> tuple[Revision, ...]:
        """As `Store.revisions`."""
        with self._database.read() as connection:
            return tuple(_revisions(connection, after, after + limit))

    def last_change(self, key: Key) -> Revision | None:
        """As `Store.last_change`."""
        with self._database.read() as connection:
            number = connection.execute(_LAST_CHANGE, (key.mesh, key.kind.value, key.parent, key.name)).fetchone()[0]
            return None if number is None else next(_revisions(connection, number - 1, number))

    def releases(self, mesh: str, stack: str, limit: int = 100) -> tuple[Release, ...]:
        """As `Store.releases`."""
        with self._database.read() as connection:
            found = connection.execute(f"{_RELEASES} ORDER BY number DESC LIMIT ?", (mesh, stack, limit))
            with _readable(f"a release of stack {stack!r} in mesh {mesh!r}"):
                return tuple(_standing(rows.listed_release_of(body), status) for body, status in found)

    def release(self, mesh: str, stack: str, number: int) -> Release | None:
        """As `Store.release`."""
        with self._database.read() as connection:
            return _one_release(connection, mesh, stack, number)

    def stacks(self, mesh: str | None = None) -> tuple[tuple[str, str], ...]:
        """As `Store.stacks`."""
        query = "SELECT DISTINCT mesh, stack FROM releases WHERE ?1 IS NULL OR mesh = ?1 ORDER BY mesh, stack"
        with self._database.read() as connection:
            return tuple((name, stack) for name, stack in connection.execute(query, (mesh,)))

    def mark(self, mesh: str, stack: str, number: int, status: Status, *, principal: str, at: int) -> None:
        """As `Store.mark`."""
        name = rows.release_name(mesh, stack, number)
        with self._database.write() as connection:
            release = _one_release(connection, mesh, stack, number)
            if release is None:
                raise RefusedError(f"There is no release {name}.")
            if release.status is status:
                return
            if status not in NEXT[release.status]:
                allowed = ", ".join(sorted(NEXT[release.status])) or "nothing else"
                raise RefusedError(
                    f"Release {name} is {str(release.status)!r} and cannot become {str(status)!r}, only {allowed}."
                )
            _move(connection, release, status, principal, at)

    def add_key(self, key: AccessKey) -> None:
        """As `Store.add_key`."""
        with self._database.write() as connection:
            if connection.execute("SELECT 1 FROM access_keys WHERE id = ?", (key.id,)).fetchone():
                raise RefusedError(f"An access key {key.id!r} is there already.")
            leaf = audit.Leaf(
                kind="key",
                at=key.created_at,
                principal=key.principal,
                cause="create access key",
                digest=rows.key_digest(key),
                key=key.id,
            )
            connection.execute(
                "INSERT INTO access_keys VALUES (?, ?, ?, ?, ?)",
                (_append(connection, leaf), key.id, key.secret, key.principal, key.created_at),
            )

    def key(self, key_id: str) -> AccessKey | None:
        """As `Store.key`."""
        return next(iter(self._keys("WHERE id = ?", (key_id,))), None)

    def keys(self) -> tuple[AccessKey, ...]:
        """As `Store.keys`."""
        return self._keys("ORDER BY leaf", ())

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

    def leaves(self, after: int = 0, limit: int = 100) -> tuple[Entry, ...]:
        """As `Store.leaves`."""
        query = "SELECT position, entry, root FROM leaves WHERE position >= ? ORDER BY position LIMIT ?"
        with self._database.read() as connection:
            return tuple(
                Entry(position=position, text=text, root=root.hex())
                for position, text, root in connection.execute(query, (after, limit))
            )

    def checkpoint(self) -> Checkpoint:
        """As `Store.checkpoint`."""
        with self._database.read() as connection:
            frontier = _frontier(connection)
        return Checkpoint(frontier.size, audit.root(frontier).hex())

    def verify(self, earlier: Checkpoint | None = None) -> Verification:
        """As `Store.verify`."""
        with self._database.read() as connection:
            return verify(connection, earlier)

    def durability(self) -> dict[str, str | int]:
        """What SQLite says of itself: journal_mode, synchronous (2 is full), foreign_keys, busy_timeout (ms)."""
        return self._database.durability()

    def close(self) -> None:
        """As `Store.close`."""
        with self._watching:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        self._database.close()

    def _newest(self, head: Head) -> Head:
        """`head` brought up to date: whole at first, by what was committed since afterwards."""
        with self._database.read() as connection:
            newest = _newest_number(connection)
            if head.revision == 0:
                return Head(newest, State(_resources(connection.execute(_STATE_AT, (newest,)))))
            state = head.state
            for revision in _revisions(connection, head.revision, newest):
                state = state.drop(*revision.deletes).put(*revision.puts)
            return Head(newest, state)

    def _keys(self, clause: str, values: tuple[str, ...]) -> tuple[AccessKey, ...]:
        query = f"SELECT id, secret, principal, created_at FROM access_keys {clause}"  # noqa: S608 - two constants
        with self._database.read() as connection:
            return tuple(
                AccessKey(id=key_id, secret=secret, principal=principal, created_at=at)
                for key_id, secret, principal, at in connection.execute(query, values)
            )


def _newest_number(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM revisions").fetchone()[0])


def _insert(connection: sqlite3.Connection, revision: Revision, release: Release | None) -> None:
    changes = [*((one.key, rows.body_of(one)) for one in revision.puts), *((key, None) for key in revision.deletes)]
    body = None if release is None else rows.release_body(release)
    leaf = audit.Leaf(
        kind="revision",
        at=revision.at,
        principal=revision.principal,
        cause=revision.cause,
        digest=rows.changes_digest((key.path, text) for key, text in changes),
        revision=revision.number,
        release=None if release is None else rows.release_name(release.mesh, release.stack, release.number),
        release_digest=None if body is None else rows.text_digest(body),
    )
    connection.execute(
        "INSERT INTO revisions VALUES (?, ?, ?, ?, ?)",
        (revision.number, revision.at, revision.principal, revision.cause, _append(connection, leaf)),
    )
    for key, text in changes:
        columns = (key.mesh, key.kind.value, key.parent, key.name)
        connection.execute(
            "INSERT INTO objects (mesh, kind, parent, name) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", columns
        )
        connection.execute(
            "INSERT INTO changes (revision, object, body) SELECT ?, id, ? FROM objects "
            "WHERE mesh = ? AND kind = ? AND parent = ? AND name = ?",
            (revision.number, text, *columns),
        )
    if release is not None:
        connection.execute(
            "INSERT INTO releases VALUES (?, ?, ?, ?, ?)",
            (release.mesh, release.stack, release.number, revision.number, body),
        )
        _take_back(connection, release)


def _take_back(connection: sqlite3.Connection, rollback: Release) -> None:
    """Mark what came after the release that `rollback` restores, if that is what it is."""
    if rollback.kind != "rollback" or rollback.restores is None:
        return
    query = f"{_RELEASES} AND number > ? AND number < ? ORDER BY number"
    values = (rollback.mesh, rollback.stack, rollback.restores, rollback.number)
    after = connection.execute(query, values).fetchall()
    for one in [_standing(rows.listed_release_of(body), status) for body, status in after]:
        if Status.ROLLED_BACK in NEXT[one.status]:
            _move(connection, one, Status.ROLLED_BACK, rollback.principal, rollback.at)


def _move(connection: sqlite3.Connection, release: Release, status: Status, principal: str, at: int) -> None:
    name = rows.release_name(release.mesh, release.stack, release.number)
    leaf = audit.Leaf(
        kind="status",
        at=at,
        principal=principal,
        cause=status.value,
        digest=rows.status_digest(name, status.value),
        release=name,
    )
    connection.execute(
        "INSERT INTO statuses VALUES (?, ?, ?, ?, ?, ?, ?)",
        (_append(connection, leaf), release.mesh, release.stack, release.number, status.value, at, principal),
    )


def _append(connection: sqlite3.Connection, leaf: audit.Leaf) -> int:
    """Append to the audit log; the leaf's position."""
    entry = audit.canonical(leaf)
    before = _frontier(connection)
    after = audit.append(before, audit.leaf_hash(entry))
    connection.execute("INSERT INTO leaves VALUES (?, ?, ?)", (before.size, entry.decode(), audit.root(after)))
    connection.execute("UPDATE frontier SET size = ?, hashes = ?", (after.size, b"".join(after.hashes)))
    return before.size


def _frontier(connection: sqlite3.Connection) -> audit.Frontier:
    size, hashes = connection.execute("SELECT size, hashes FROM frontier").fetchone()
    return audit.Frontier(size, tuple(hashes[at : at + 32] for at in range(0, len(hashes), 32)))


@contextlib.contextmanager
def _readable(what: str) -> Iterator[None]:
    """Let what is stored in a form that is not ours be a StorageError that names `what`."""
    try:
        yield
    except (msgspec.MsgspecError, KeyError, ValueError) as error:
        raise StorageError(
            f"The database holds {what} in a form that cannot be read: {error}. "
            "Run 'meshwright audit verify' to see whether it was edited, and restore a backup."
        ) from error


def _resources(found: Iterable[tuple[str, str, str, str, str]]) -> Iterator[Resource]:
    for mesh, kind, parent, name, body in found:
        with _readable(f"mesh/{mesh}/{f'{parent}/' if parent else ''}{kind}/{name}"):
            resource = rows.resource_of(rows.key_of(mesh, kind, parent, name), body)
        yield resource


def _revisions(connection: sqlite3.Connection, after: int, last: int) -> Iterator[Revision]:
    """The revisions from `after + 1` to `last`."""
    found: dict[int, tuple[Revision, list[Resource], list[Key]]] = {}
    for number, at, principal, cause, mesh, kind, parent, name, body in connection.execute(_REVISIONS, (after, last)):
        if number not in found:
            found[number] = (Revision(number=number, at=at, principal=principal, cause=cause), [], [])
        _, puts, deletes = found[number]
        if body is not None:
            puts.extend(_resources([(mesh, kind, parent, name, body)]))
        elif mesh is not None:
            with _readable(f"the deletion of the {kind} {name!r} of mesh {mesh!r}"):
                deletes.append(rows.key_of(mesh, kind, parent, name))
    for revision, puts, deletes in found.values():
        yield msgspec.structs.replace(revision, puts=tuple(puts), deletes=tuple(deletes))


def _one_release(connection: sqlite3.Connection, mesh: str, stack: str, number: int) -> Release | None:
    found = connection.execute(f"{_RELEASES} AND number = ?", (mesh, stack, number)).fetchone()
    if found is None:
        return None
    with _readable(f"release {rows.release_name(mesh, stack, number)}"):
        return _standing(rows.release_of(found[0]), found[1])


def _standing(release: Release, status: str | None) -> Release:
    """`release` with the status that it has moved to since."""
    return release if status is None else msgspec.structs.replace(release, status=Status(status))
