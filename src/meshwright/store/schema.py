"""The SQLite schema, as numbered migrations; what was recorded is appended to and never rewritten.

The one rule: a migration that has been released is never edited; a change is one more at the end.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import msgspec

from meshwright import audit
from meshwright.errors import StorageError
from meshwright.store import rows

if TYPE_CHECKING:
    from collections.abc import Callable

APPLICATION_ID = 0x4D455348
"""`MESH`, in the file's header: how one of our databases is known."""

_APPEND_ONLY = ("settings", "revisions", "objects", "changes", "releases", "statuses", "access_keys", "leaves")

_FIRST = (
    """CREATE TABLE settings (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE leaves (
        position INTEGER PRIMARY KEY CHECK (position >= 0), -- counted from 0, without gaps
        entry TEXT NOT NULL,                                -- canonical JSON, hashed as it stands
        root BLOB NOT NULL CHECK (length(root) = 32)        -- of the tree that ends with this leaf
    ) STRICT""",
    """CREATE TABLE frontier (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        size INTEGER NOT NULL,
        hashes BLOB NOT NULL                                -- 32 bytes each, largest subtree first
    ) STRICT""",
    "INSERT INTO frontier VALUES (1, 0, x'')",
    """CREATE TABLE revisions (
        number INTEGER PRIMARY KEY CHECK (number >= 1),     -- counted from 1, without gaps
        at INTEGER NOT NULL,                                -- milliseconds since the epoch, UTC
        principal TEXT NOT NULL,
        cause TEXT NOT NULL,
        leaf INTEGER NOT NULL UNIQUE REFERENCES leaves
    ) STRICT""",
    """CREATE TABLE objects (                               -- the names that were ever used
        id INTEGER PRIMARY KEY,
        mesh TEXT NOT NULL,
        kind TEXT NOT NULL,
        parent TEXT NOT NULL,
        name TEXT NOT NULL,
        UNIQUE (mesh, kind, parent, name)
    ) STRICT""",
    """CREATE TABLE changes (
        id INTEGER PRIMARY KEY,
        revision INTEGER NOT NULL REFERENCES revisions,
        object INTEGER NOT NULL REFERENCES objects,
        body TEXT,                                          -- the object as JSON; NULL when deleted
        UNIQUE (object, revision)
    ) STRICT""",
    "CREATE INDEX changes_of_revision ON changes (revision)",
    """CREATE TABLE releases (
        mesh TEXT NOT NULL,
        stack TEXT NOT NULL,
        number INTEGER NOT NULL CHECK (number >= 1),
        revision INTEGER NOT NULL UNIQUE REFERENCES revisions,
        body TEXT NOT NULL,                                 -- as it was applied, JSON
        PRIMARY KEY (mesh, stack, number)
    ) STRICT""",
    """CREATE TABLE statuses (                              -- every move of a release's status
        leaf INTEGER PRIMARY KEY REFERENCES leaves,
        mesh TEXT NOT NULL,
        stack TEXT NOT NULL,
        number INTEGER NOT NULL,
        status TEXT NOT NULL,
        at INTEGER NOT NULL,
        principal TEXT NOT NULL,
        FOREIGN KEY (mesh, stack, number) REFERENCES releases
    ) STRICT""",
    "CREATE INDEX statuses_of_release ON statuses (mesh, stack, number)",
    """CREATE TABLE access_keys (
        leaf INTEGER PRIMARY KEY REFERENCES leaves,
        id TEXT NOT NULL UNIQUE,
        secret TEXT NOT NULL,
        principal TEXT NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT""",
    *(
        f"CREATE TRIGGER {table}_keep_{verb} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: {verb} is refused'); END"
        for table in _APPEND_ONLY
        for verb in ("UPDATE", "DELETE")
    ),
)

_SECOND = (
    """CREATE TABLE sessions (                              -- forgotten some time after they ended
        id TEXT PRIMARY KEY,
        leaf INTEGER NOT NULL UNIQUE REFERENCES leaves,
        secret TEXT NOT NULL,
        token TEXT NOT NULL,
        principal TEXT NOT NULL,                            -- canonical JSON
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX sessions_by_end ON sessions (expires_at)",
    """CREATE TABLE revocations (
        leaf INTEGER PRIMARY KEY REFERENCES leaves,
        subject TEXT NOT NULL,
        at INTEGER NOT NULL,
        principal TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE answers (                               -- of requests that named a token; forgotten after a day
        scope TEXT NOT NULL,
        token TEXT NOT NULL,
        digest TEXT NOT NULL,
        status INTEGER NOT NULL,
        body TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (scope, token)
    ) STRICT""",
    "CREATE INDEX answers_by_age ON answers (at)",
    """CREATE TABLE probe (                                 -- counted up to see whether the disk takes a write
        id INTEGER PRIMARY KEY CHECK (id = 1),
        count INTEGER NOT NULL
    ) STRICT""",
    "INSERT INTO probe VALUES (1, 0)",
    """CREATE TRIGGER sessions_keep_UPDATE BEFORE UPDATE ON sessions
    BEGIN SELECT RAISE(ABORT, 'sessions are never changed: UPDATE is refused'); END""",
    *(
        f"CREATE TRIGGER revocations_keep_{verb} BEFORE {verb} ON revocations "
        f"BEGIN SELECT RAISE(ABORT, 'revocations is append-only: {verb} is refused'); END"
        for verb in ("UPDATE", "DELETE")
    ),
)

_THIRD = (
    """CREATE TABLE evidence (                              -- what proxies made of a release, as far as it was seen
        mesh TEXT NOT NULL,
        stack TEXT NOT NULL,
        number INTEGER NOT NULL,
        tally TEXT NOT NULL,                                -- JSON
        accounts BLOB,                                      -- one a proxy, compressed; dropped when it is old
        PRIMARY KEY (mesh, stack, number),
        FOREIGN KEY (mesh, stack, number) REFERENCES releases
    ) STRICT, WITHOUT ROWID""",
)

_FOURTH = (
    """CREATE TABLE findings (                              -- what was found out from outside, as it was last
        source TEXT NOT NULL,
        name TEXT NOT NULL,
        body TEXT NOT NULL,                                 -- JSON
        PRIMARY KEY (source, name)
    ) STRICT, WITHOUT ROWID""",
)

_OF_BUILD = "coalesce(nullif(json_extract(body, '$.verified.{0}'), ''), json_extract(body, '$.build.{0}'))"
"""What was verified of a build, or else what it claims; "" is what is not known."""
_SEARCHED = {
    "by": "json_extract(body, '$.principal')",
    "moment": "json_extract(body, '$.at')",
    "repository": _OF_BUILD.format("repository"),
    "branch": _OF_BUILD.format("branch"),
    "commit_id": _OF_BUILD.format("commit"),
    "build_number": _OF_BUILD.format("build_number"),
}
"""What a release is searched by, and where its JSON has it."""

_FIFTH = (
    *(
        f"ALTER TABLE releases ADD COLUMN {name} {'INTEGER' if name == 'moment' else 'TEXT'} "
        f"GENERATED ALWAYS AS ({value}) VIRTUAL"
        for name, value in _SEARCHED.items()
    ),
    # All of them, so that a search reads this and not the releases, which are large.
    f"CREATE INDEX releases_searched ON releases (mesh, stack, number, revision, {', '.join(_SEARCHED)})",
)

_SIXTH = (
    """CREATE TABLE inspections (                           -- what verifications of a release saw
        leaf INTEGER PRIMARY KEY REFERENCES leaves,
        mesh TEXT NOT NULL,
        stack TEXT NOT NULL,
        number INTEGER NOT NULL,
        body TEXT NOT NULL,                                 -- JSON
        FOREIGN KEY (mesh, stack, number) REFERENCES releases
    ) STRICT""",
    "CREATE INDEX inspections_of_release ON inspections (mesh, stack, number)",
    *(
        f"CREATE TRIGGER inspections_keep_{verb} BEFORE {verb} ON inspections "
        f"BEGIN SELECT RAISE(ABORT, 'inspections is append-only: {verb} is refused'); END"
        for verb in ("UPDATE", "DELETE")
    ),
)

_SEVENTH = (
    """CREATE TABLE builds (                                -- verified ones, by the revision that they had to do with
        revision INTEGER PRIMARY KEY REFERENCES revisions,
        mesh TEXT NOT NULL,
        stack TEXT NOT NULL,
        series TEXT NOT NULL,                               -- whose numbers are compared, JSON
        number INTEGER NOT NULL,                            -- of the release that it made, or found as it wants it
        body TEXT NOT NULL,                                 -- JSON
        FOREIGN KEY (mesh, stack, number) REFERENCES releases
    ) STRICT""",
    "CREATE INDEX builds_of_series ON builds (mesh, stack, series, revision)",
    *(
        f"CREATE TRIGGER builds_keep_{verb} BEFORE {verb} ON builds "
        f"BEGIN SELECT RAISE(ABORT, 'builds is append-only: {verb} is refused'); END"
        for verb in ("UPDATE", "DELETE")
    ),
)

_APPROVALS = ("pending", "decisions", "grants", "uses")

_EIGHTH = (
    """CREATE TABLE pending (                               -- releases that wait for their approval, or did
        leaf INTEGER PRIMARY KEY REFERENCES leaves,
        mesh TEXT NOT NULL,
        stack TEXT NOT NULL,
        number INTEGER NOT NULL CHECK (number >= 1),
        body TEXT NOT NULL,                                 -- JSON
        UNIQUE (mesh, stack, number)
    ) STRICT""",
    """CREATE TABLE decisions (                             -- what became of them
        leaf INTEGER PRIMARY KEY REFERENCES leaves,
        mesh TEXT NOT NULL,
        stack TEXT NOT NULL,
        number INTEGER NOT NULL,
        body TEXT NOT NULL,                                 -- JSON
        UNIQUE (mesh, stack, number),
        FOREIGN KEY (mesh, stack, number) REFERENCES pending (mesh, stack, number)
    ) STRICT""",
    """CREATE TABLE grants (                                -- leave to pass the guardrails once
        leaf INTEGER PRIMARY KEY REFERENCES leaves,
        number INTEGER NOT NULL UNIQUE CHECK (number >= 1),
        mesh TEXT NOT NULL,
        stack TEXT NOT NULL,
        body TEXT NOT NULL                                  -- JSON
    ) STRICT""",
    """CREATE TABLE uses (                                  -- what it was used for
        leaf INTEGER PRIMARY KEY REFERENCES leaves,
        number INTEGER NOT NULL UNIQUE REFERENCES grants (number),
        body TEXT NOT NULL                                  -- JSON
    ) STRICT""",
    "CREATE INDEX grants_of_stack ON grants (mesh, stack)",
    *(
        f"CREATE TRIGGER {table}_keep_{verb} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: {verb} is refused'); END"
        for table in _APPROVALS
        for verb in ("UPDATE", "DELETE")
    ),
)

_NINTH = (
    # Those that wait are looked for whenever one more is to; those that did grow without end.
    "CREATE INDEX pending_by_end ON pending (mesh, stack, json_extract(body, '$.expires_at'), number)",
)

_TENTH = (
    """CREATE TABLE identities (                            -- given to runs of CI jobs, to each once
        leaf INTEGER PRIMARY KEY REFERENCES leaves,
        run TEXT NOT NULL UNIQUE
    ) STRICT""",
    *(
        f"CREATE TRIGGER identities_keep_{verb} BEFORE {verb} ON identities "
        f"BEGIN SELECT RAISE(ABORT, 'identities is append-only: {verb} is refused'); END"
        for verb in ("UPDATE", "DELETE")
    ),
)


def index_leaves(connection: sqlite3.Connection, first: int = 0) -> None:
    """Put the leaves from `first` on into the index of the log; those that cannot be read `verify` tells of."""
    query = "SELECT position, entry FROM leaves WHERE position >= ? ORDER BY position"
    for position, entry in connection.execute(query, (first,)):
        found = [(one,) for one in _terms(position, entry)]
        connection.executemany("INSERT OR IGNORE INTO terms VALUES (?)", found)


def _terms(position: int, entry: str) -> list[int]:
    try:
        return [rows.term_id(one, position) for one in audit.terms(msgspec.json.decode(entry, type=audit.Leaf))]
    except msgspec.MsgspecError:
        return []


_ELEVENTH = (
    """CREATE TABLE terms (                                 -- by what leaves are searched; follows from what they say
        id INTEGER PRIMARY KEY                              -- stretch, term and place in it: `rows.term_id`
    ) STRICT""",
    index_leaves,
)

MIGRATIONS: tuple[tuple[str | Callable[[sqlite3.Connection], None], ...], ...] = (
    _FIRST,
    _SECOND,
    _THIRD,
    _FOURTH,
    _FIFTH,
    _SIXTH,
    _SEVENTH,
    _EIGHTH,
    _NINTH,
    _TENTH,
    _ELEVENTH,
)
"""The statements of each version, from 1, and what else is done."""


def check(connection: sqlite3.Connection, path: str) -> None:
    """Refuse a database that is not ours or is newer than we are, before anything is written to it.

    Raises:
        StorageError: with what to do.
    """
    # In one transaction: between two reads another process may make the database.
    connection.execute("BEGIN")
    try:
        tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.execute("ROLLBACK")
    if application != APPLICATION_ID and (application or version or tables):
        raise StorageError(
            f"{path} is a SQLite database of another program (application id {application}, {tables} tables and "
            "indexes); nothing was changed. Give Meshwright a file of its own."
        )
    if version > len(MIGRATIONS):
        raise StorageError(
            f"{path} has schema version {version}, and this Meshwright knows up to {len(MIGRATIONS)}; nothing "
            "was changed. Use the newer Meshwright that wrote it, or a backup from before."
        )


def missing(connection: sqlite3.Connection) -> list[str]:
    """The triggers that refuse changes and are not there, or are other ones."""
    query = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
    found = dict(connection.execute(query).fetchall())
    whole = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(whole)
        wanted = whole.execute(query).fetchall()
    finally:
        whole.close()
    return [f"the trigger {name} is missing or another one" for name, sql in wanted if found.get(name) != sql]


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to the newest version, each version whole or not at all; another process may do the same."""
    current = int(connection.execute("PRAGMA user_version").fetchone()[0])
    for version in range(current + 1, len(MIGRATIONS) + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if int(connection.execute("PRAGMA user_version").fetchone()[0]) < version:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                for step in MIGRATIONS[version - 1]:
                    if isinstance(step, str):
                        connection.execute(step)
                    else:
                        step(connection)
                connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def index_rest(connection: sqlite3.Connection) -> None:
    """Index what an older version has written since this one was here: it leaves the index alone."""
    if _last_is_indexed(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        (newest,) = connection.execute("SELECT max(id) FROM terms").fetchone()
        index_leaves(connection, 0 if newest is None else rows.stretch_of(newest))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _last_is_indexed(connection: sqlite3.Connection) -> bool:
    last = connection.execute("SELECT position, entry FROM leaves ORDER BY position DESC LIMIT 1").fetchone()
    found = _terms(*last) if last is not None else []
    return not found or any(
        connection.execute("SELECT 1 FROM terms WHERE id = ?", (one,)).fetchone() for one in found
    )
