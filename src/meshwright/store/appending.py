"""What is written in a transaction: leaves of the audit log, and what each of them tells of.

The one rule: whatever is recorded has its leaf in the same transaction. Rows are gathered and written many at a time,
because every statement gives up the interpreter's lock and waits for it again: under load that is what costs.
"""

from __future__ import annotations

import sqlite3  # noqa: TC003 - the store's own library
from typing import TYPE_CHECKING

import msgspec

from meshwright import audit
from meshwright.release import NEXT, Status
from meshwright.store import reading, rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.release import Inspection, Release
    from meshwright.store.contract import Draft, Revision
    from meshwright.store.touching import Touching

ANSWERS_KEPT = 24 * 3600 * 1000
"""For how many milliseconds the answer to a request that named a token is kept."""
_FORGOTTEN_AT_ONCE = 500
"""How many old answers a commit forgets at most, so that none takes long."""
_AT_ONCE = 400
"""Rows of one statement."""

_OBJECTS = "INSERT INTO objects (mesh, kind, parent, name) VALUES {} ON CONFLICT DO NOTHING"
_CHANGES = """
    WITH given (mesh, kind, parent, name, revision, body) AS (VALUES {})
    INSERT INTO changes (revision, object, body) SELECT given.revision, objects.id, given.body
    FROM given CROSS JOIN objects USING (mesh, kind, parent, name)
"""
_FORGET = """
    DELETE FROM answers WHERE (scope, token) IN
    (SELECT scope, token FROM answers WHERE at < ? ORDER BY at LIMIT ?)
"""


class Log:
    """The audit log's end during one transaction; `flush` writes what was added."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._frontier = frontier(connection)
        self.root = b""
        """Of the log with what was added."""
        self._added: list[tuple[int, str, bytes]] = []
        self._terms: list[tuple[int]] = []

    def add(self, leaf: audit.Leaf) -> int:
        """One more leaf; its position."""
        entry = audit.canonical(leaf)
        position = self._frontier.size
        self._frontier = audit.append(self._frontier, audit.leaf_hash(entry))
        self.root = audit.root(self._frontier)
        self._added.append((position, entry.decode(), self.root))
        self._terms += [(rows.term_id(one, position),) for one in audit.terms(leaf)]
        return position

    def flush(self) -> None:
        """Write the leaves that were added since, and the log's end."""
        if self._added:
            insert(self._connection, "INSERT INTO leaves VALUES {}", self._added)
            insert(self._connection, "INSERT INTO terms VALUES {}", self._terms)
            after = (self._frontier.size, b"".join(self._frontier.hashes))
            self._connection.execute("UPDATE frontier SET size = ?, hashes = ?", after)
            self._added.clear()
            self._terms.clear()


def append(connection: sqlite3.Connection, leaf: audit.Leaf) -> int:
    """Append one leaf to the audit log; its position."""
    log = Log(connection)
    position = log.add(leaf)
    log.flush()
    return position


def frontier(connection: sqlite3.Connection) -> audit.Frontier:
    """The audit log's end as it was left."""
    size, hashes = connection.execute("SELECT size, hashes FROM frontier").fetchone()
    return audit.Frontier(size, tuple(hashes[at : at + 32] for at in range(0, len(hashes), 32)))


def insert(connection: sqlite3.Connection, statement: str, found: Sequence[tuple[object, ...]]) -> None:
    """Run `statement`, whose `{}` stands for rows of values, for all of `found`."""
    for start in range(0, len(found), _AT_ONCE):
        part = found[start : start + _AT_ONCE]
        row = f"({', '.join('?' * len(part[0]))})"
        values = [value for one in part for value in one]
        connection.execute(statement.format(", ".join([row] * len(part))), values)


def insert_revisions(
    connection: sqlite3.Connection, made: Sequence[tuple[Revision, Draft]], touching: Touching
) -> bytes:
    """Write revisions in their order, with all that their drafts bring along; the audit log's root with the last.

    `touching` starts from the state that the first of them follows.
    """
    pending = _Pending(connection, touching)
    for revision, draft in made:
        pending.add(revision, draft)
        if draft.release is not None:
            # A rollback looks at what is there, and its leaves come after its own revision's.
            pending.flush()
            take_back(connection, draft.release)
            root, pending = pending.root, _Pending(connection, touching)
            pending.root = root
    pending.flush()
    found = [
        (one.scope, one.token, one.digest, one.status, one.body, one.at)
        for one in (draft.answered for _, draft in made)
        if one is not None
    ]
    insert(connection, "INSERT OR REPLACE INTO answers VALUES {}", found)
    return pending.root


def forget_answers(connection: sqlite3.Connection, at: int) -> bool:
    """Drop answers that are too old at `at`; whether there may be more of them."""
    gone = connection.execute(_FORGET, (at - ANSWERS_KEPT, _FORGOTTEN_AT_ONCE)).rowcount
    return gone == _FORGOTTEN_AT_ONCE


class _Pending:
    """Revisions that are still to be written."""

    def __init__(self, connection: sqlite3.Connection, touching: Touching) -> None:
        self._connection = connection
        self._touching = touching
        self._log = Log(connection)
        self._revisions: list[tuple[object, ...]] = []
        self._changes: list[tuple[object, ...]] = []
        self._releases: list[tuple[object, ...]] = []
        self._builds: list[tuple[object, ...]] = []
        self.root = b""
        """Of the audit log with the newest of them."""

    def add(self, revision: Revision, draft: Draft) -> None:
        release = draft.release
        number, at, principal, cause = revision.number, revision.at, revision.principal, revision.cause
        puts = [(one.key, one.key.path, one, rows.body_of(one)) for one in revision.puts]
        touched = [*puts, *((key, key.path, None, None) for key in revision.deletes)]
        body = None if release is None else rows.release_body(release)
        build = rows.build_columns(release, draft.found)
        leaf = audit.Leaf(
            kind="revision",
            at=at,
            principal=principal,
            cause=cause,
            digest=rows.changes_digest([(path, text) for _, path, _, text in touched]),
            revision=number,
            release=None if release is None else rows.release_name(release.mesh, release.stack, release.number),
            release_digest=None if body is None else rows.text_digest(body),
            build_digest=None if build is None else rows.build_digest(build),
            by=draft.trail,
            changes=tuple(self._touching.told(*one) for one in touched),
            claimed=msgspec.to_builtins(release.build) if release is not None and release.build is not None else {},
        )
        self._revisions.append((number, at, principal, cause, self._log.add(leaf)))
        self.root = self._log.root
        self._changes += [
            (key.mesh, key.kind.value, key.parent, key.name, number, text) for key, _, _, text in touched
        ]
        if release is not None:
            self._releases.append((release.mesh, release.stack, release.number, number, body))
        if build is not None:
            self._builds.append((number, *build))

    def flush(self) -> None:
        self._log.flush()
        insert(self._connection, "INSERT INTO revisions VALUES {}", self._revisions)
        insert(self._connection, _OBJECTS, [one[:4] for one in self._changes])
        insert(self._connection, _CHANGES, self._changes)
        insert(self._connection, "INSERT INTO releases VALUES {}", self._releases)
        insert(self._connection, "INSERT INTO builds VALUES {}", self._builds)


def take_back(connection: sqlite3.Connection, rollback: Release) -> None:
    """Mark what came after the release that `rollback` restores, if that is what it is."""
    if rollback.kind != "rollback" or rollback.restores is None:
        return
    later = reading.releases_between(connection, rollback.mesh, rollback.stack, rollback.restores, rollback.number)
    for one in later:
        if Status.ROLLED_BACK in NEXT[one.status]:
            move(connection, one, Status.ROLLED_BACK, rollback.principal, rollback.at)


def move(connection: sqlite3.Connection, release: Release, status: Status, principal: str, at: int) -> None:
    """Write that a release's status is now `status`."""
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
        (append(connection, leaf), release.mesh, release.stack, release.number, status.value, at, principal),
    )


def inspect(
    connection: sqlite3.Connection, release: Release, inspection: Inspection, trail: audit.Trail | None
) -> None:
    """Write what a verification of a release saw."""
    name, body = rows.release_name(release.mesh, release.stack, release.number), rows.inspection_body(inspection)
    leaf = audit.Leaf(
        kind="inspection",
        at=inspection.at,
        principal=inspection.principal,
        cause=inspection.judgement,
        digest=rows.text_digest(body),
        release=name,
        by=trail,
    )
    row = (append(connection, leaf), release.mesh, release.stack, release.number, body)
    connection.execute("INSERT INTO inspections VALUES (?, ?, ?, ?, ?)", row)
