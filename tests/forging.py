"""Edits of a database behind the audit log's back: clumsy ones, and those of somebody who recomputes every root.

The one rule: every edit changes something that the log tells or that a leaf tells of; one that SQLite itself would
refuse even of the file's owner is drawn again.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from meshwright.audit import Frontier, append, leaf_hash, root
from meshwright.store import schema

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from pathlib import Path

TABLES = {
    "leaves": ("position", "entry", "root"),
    "revisions": ("number", "at", "principal", "cause", "leaf"),
    "objects": ("mesh", "kind", "parent", "name"),
    "changes": ("revision", "object", "body"),
    "releases": ("mesh", "stack", "number", "revision", "body"),
    "statuses": ("leaf", "mesh", "stack", "number", "status", "at", "principal"),
    "inspections": ("leaf", "mesh", "stack", "number", "body"),
    "builds": ("revision", "mesh", "stack", "series", "number", "body"),
    "access_keys": ("leaf", "id", "secret", "principal", "created_at"),
    "sessions": ("leaf", "id", "secret", "token", "principal", "created_at", "expires_at"),
    "revocations": ("leaf", "subject", "at", "principal"),
    "identities": ("leaf", "run"),
    "pending": ("leaf", "mesh", "stack", "number", "body"),
    "decisions": ("leaf", "mesh", "stack", "number", "body"),
    "grants": ("leaf", "number", "mesh", "stack", "body"),
    "uses": ("leaf", "number", "body"),
    "frontier": ("size", "hashes"),
}
"""What the log vouches for, column by column; `changes.id` and `objects.id` are order and reference alone."""
REFERENCES = {
    "revisions": "leaf",
    "statuses": "leaf",
    "inspections": "leaf",
    "pending": "leaf",
    "decisions": "leaf",
    "grants": "leaf",
    "uses": "leaf",
    "access_keys": "leaf",
    "sessions": "leaf",
    "revocations": "leaf",
    "identities": "leaf",
}
"""Where a leaf's position stands."""


def opened(path: Path) -> sqlite3.Connection:
    """The file as its owner may write it: no trigger, no reference, no check keeps anything."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("foreign_keys = OFF", "ignore_check_constraints = ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def clumsy(path: Path, rng: random.Random) -> str:
    """One random edit, deletion, swap, insertion or truncation; in words."""
    with closing(opened(path)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        done = ""
        while not done:
            connection.execute("BEGIN")
            try:
                done = rng.choice((_edit, _edit, _delete, _swap, _insert, _truncate, _unindex))(connection, rng)
                connection.execute("COMMIT" if done else "ROLLBACK")
            except (sqlite3.IntegrityError, sqlite3.OperationalError):  # not unique, or no JSON where it is searched
                connection.execute("ROLLBACK")
        for _, sql in triggers:
            connection.execute(sql)
    return done


def _row(connection: sqlite3.Connection, table: str, rng: random.Random) -> int:
    """Some row of the table, by its number; releases have none of it and are counted."""
    count = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    query = f"SELECT rowid FROM {table} LIMIT 1 OFFSET ?"
    return int(connection.execute(query, (rng.randrange(count),)).fetchone()[0])


def _other(value: Any, rng: random.Random) -> Any:
    """A value of the same kind that is another one."""
    if isinstance(value, int):
        return value + rng.choice((-1, 1, 7))
    if not value:
        return "x" if not isinstance(value, bytes) else b"x"
    place = rng.randrange(len(value))
    if isinstance(value, bytes):
        return value[:place] + bytes([value[place] ^ (1 << rng.randrange(8))]) + value[place + 1 :]
    return value[:place] + chr((ord(value[place]) - 31) % 90 + 32) + value[place + 1 :]


def _edit(connection: sqlite3.Connection, rng: random.Random) -> str:
    table = rng.choice(list(TABLES))
    column = rng.choice(TABLES[table])
    row = _row(connection, table, rng)
    value = connection.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (row,)).fetchone()[0]
    changed = _other(value, rng)
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (changed, row))
    return f"edit {table}.{column} of row {row}: {str(value)[:60]!r} -> {str(changed)[:60]!r}"


def _delete(connection: sqlite3.Connection, rng: random.Random) -> str:
    table = rng.choice([one for one in TABLES if one != "frontier"])
    row = _row(connection, table, rng)
    connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
    return f"delete {table} row {row}"


def _swap(connection: sqlite3.Connection, rng: random.Random) -> str:
    """Exchange some columns of two rows."""
    table = rng.choice([one for one in TABLES if one != "frontier"])
    columns = rng.sample(TABLES[table], rng.randint(1, len(TABLES[table])))
    names = ", ".join(columns)
    rows = [_row(connection, table, rng) for _ in range(2)]
    found = [connection.execute(f"SELECT {names} FROM {table} WHERE rowid = ?", (row,)).fetchone() for row in rows]
    if found[0] == found[1] or set(columns) == set(TABLES[table]):
        return ""
    assigned = ", ".join(f"{one} = ?" for one in columns)
    for row, values in zip(rows, reversed(found), strict=True):
        connection.execute(f"UPDATE {table} SET {assigned} WHERE rowid = ?", (*values, row))
    return f"swap {names} of {table} rows {rows}"


def _insert(connection: sqlite3.Connection, rng: random.Random) -> str:
    """One row more, like another but for what must be unique."""
    table = rng.choice([one for one in TABLES if one != "frontier"])
    columns = TABLES[table]
    row = _row(connection, table, rng)
    found = connection.execute(f"SELECT {', '.join(columns)} FROM {table} WHERE rowid = ?", (row,)).fetchone()
    unique = {"leaf", "position", "number", "revision", "object", "id", "name"}
    values = [_other(one, rng) if name in unique else one for name, one in zip(columns, found, strict=True)]
    marks = ", ".join("?" * len(columns))
    connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)
    return f"insert into {table} after the like of row {row}"


def _truncate(connection: sqlite3.Connection, rng: random.Random) -> str:
    """The log's last leaves, or the last rows of what they tell of."""
    table = rng.choice([one for one in TABLES if one not in {"frontier", "objects"}])
    count = rng.randint(1, 5)
    rows = connection.execute(f"SELECT rowid FROM {table} ORDER BY rowid DESC LIMIT ?", (count,)).fetchall()
    connection.executemany(f"DELETE FROM {table} WHERE rowid = ?", rows)
    return f"truncate {table} by {len(rows)}"


def _unindex(connection: sqlite3.Connection, rng: random.Random) -> str:
    """Keep a search from finding a leaf, or have it look at another one."""
    (count,) = connection.execute("SELECT count(*) FROM terms").fetchone()
    query = "SELECT id FROM terms LIMIT 1 OFFSET ?"
    (found,) = connection.execute(query, (rng.randrange(count),)).fetchone()
    kind = rng.choice(("delete", "move", "add"))
    if kind != "add":
        connection.execute("DELETE FROM terms WHERE id = ?", (found,))
    if kind != "delete":
        connection.execute("INSERT INTO terms VALUES (?)", (found + rng.choice((-1, 1, 7)),))
    return f"{kind} term {found}"


def thorough(path: Path, rng: random.Random, before: int) -> str:
    """One random change below position `before` that leaves a log without a fault, all recomputed; in words."""
    with closing(opened(path)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        query = "SELECT position, entry FROM leaves ORDER BY position"
        entries = [text for _, text in connection.execute(query)]
        attempts = [at for at, text in enumerate(entries) if at < before and '"kind":"attempt"' in text]
        kinds: tuple[Callable[..., str], ...] = (_told, _removed, _put_in, _exchanged, _cut_off)
        connection.execute("BEGIN")
        done = rng.choice(kinds)(connection, rng, entries, attempts)
        _recompute(connection, entries)
        connection.execute("COMMIT")
        for _, sql in triggers:
            connection.execute(sql)
    return done


def _told(_: sqlite3.Connection, rng: random.Random, entries: list[str], attempts: Sequence[int]) -> str:
    at = rng.choice(attempts)
    leaf = json.loads(entries[at])
    leaf["principal"] = "somebody else"
    entries[at] = json.dumps(leaf, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"tell another principal at {at}"


def _removed(connection: sqlite3.Connection, rng: random.Random, entries: list[str], attempts: Sequence[int]) -> str:
    at = rng.choice(attempts)
    del entries[at]
    _move(connection, at, -1)
    return f"remove {at}"


def _put_in(connection: sqlite3.Connection, rng: random.Random, entries: list[str], attempts: Sequence[int]) -> str:
    at = rng.choice(attempts)
    entries.insert(at, entries[at])
    _move(connection, at, 1)
    return f"put in at {at}"


def _exchanged(_: sqlite3.Connection, rng: random.Random, entries: list[str], attempts: Sequence[int]) -> str:
    one, other = rng.sample(attempts, 2)
    entries[one], entries[other] = entries[other], entries[one]
    return f"exchange {one} and {other}"


def _cut_off(connection: sqlite3.Connection, rng: random.Random, entries: list[str], attempts: Sequence[int]) -> str:
    """Everything from some leaf on, with all that it tells of."""
    at = rng.choice(attempts)
    del entries[at:]
    (revision,) = connection.execute("SELECT coalesce(min(number), 1 << 40) FROM revisions WHERE leaf >= ?", (at,))
    for table, column in REFERENCES.items():
        connection.execute(f"DELETE FROM {table} WHERE {column} >= ?", (at,))
    for table in ("changes", "releases", "builds"):
        connection.execute(f"DELETE FROM {table} WHERE revision >= ?", revision)
    connection.execute("DELETE FROM objects WHERE id NOT IN (SELECT object FROM changes)")
    return f"cut off from {at} on"


def _move(connection: sqlite3.Connection, after: int, by: int) -> None:
    """Let what leaves after a position tell of follow them to their new ones."""
    for table, column in REFERENCES.items():
        far = 1 << 40
        connection.execute(f"UPDATE {table} SET {column} = {column} + ? WHERE {column} >= ?", (far, after))
        connection.execute(f"UPDATE {table} SET {column} = {column} - ? + ? WHERE {column} >= ?", (far, by, far))


def _recompute(connection: sqlite3.Connection, entries: Sequence[str]) -> None:
    """Every root and the log's end, as they follow from the entries."""
    connection.execute("DELETE FROM leaves")
    frontier, rows = Frontier(), []
    for position, text in enumerate(entries):
        frontier = append(frontier, leaf_hash(text.encode()))
        rows.append((position, text, root(frontier)))
    connection.executemany("INSERT INTO leaves VALUES (?, ?, ?)", rows)
    connection.execute("DELETE FROM terms")
    schema.index_leaves(connection)
    connection.execute("UPDATE frontier SET size = ?, hashes = ?", (frontier.size, b"".join(frontier.hashes)))
