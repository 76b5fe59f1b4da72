"""What is read out of the tables, as values: revisions, states and releases.

The one rule: what is stored in a form that is not ours is named in a StorageError, and never guessed at.
"""

from __future__ import annotations

import contextlib
import sqlite3  # noqa: TC003 - the store's own library
from typing import TYPE_CHECKING

import msgspec

from meshwright import audit
from meshwright.errors import StorageError
from meshwright.release import Author, Release, Standing, Status
from meshwright.store import rows
from meshwright.store.contract import Revision, Search

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from meshwright.model.identity import Key
    from meshwright.model.state import Resource
    from meshwright.release import Inspection, Series

LOOKED_AT = 20_000
"""Entries of the audit log that one search looks at, at most."""
_UNORDERED = 3_600_000
"""By how many milliseconds entries may be out of order: a write is dated before it is queued, and clocks are set."""

_ENTRIES = "SELECT position, entry, root FROM leaves WHERE position < ? ORDER BY position DESC"
_WITH_TERM = f"""
    SELECT ?1 + terms.id % {rows.STRETCH}, entry, root
    FROM terms LEFT JOIN leaves ON leaves.position = ?1 + terms.id % {rows.STRETCH}{{}}
    WHERE terms.id >= ? AND terms.id < ? ORDER BY terms.id DESC
"""  # noqa: S608 - a constant

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
_NEWEST = """
    SELECT number, root FROM revisions JOIN leaves ON leaves.position = revisions.leaf ORDER BY number DESC LIMIT 1
"""
_LAST_CHANGE = """
    SELECT max(revision) FROM changes WHERE object =
    (SELECT id FROM objects WHERE mesh = ? AND kind = ? AND parent = ? AND name = ?)
"""
_HISTORY = """
    SELECT revision, principal, cause, at, body FROM changes JOIN revisions ON revisions.number = changes.revision
    WHERE object = (SELECT id FROM objects WHERE mesh = ? AND kind = ? AND parent = ? AND name = ?)
    AND revision > ? ORDER BY revision DESC LIMIT 1000
"""
_RELEASES = """
    SELECT body, (
        SELECT status FROM statuses AS moves WHERE moves.mesh = releases.mesh AND moves.stack = releases.stack
        AND moves.number = releases.number ORDER BY leaf DESC LIMIT 1
    ) FROM releases WHERE mesh = ? AND stack = ?
"""
_STANDING = """
    SELECT number, body FROM builds WHERE mesh = ? AND stack = ? AND series = ? ORDER BY revision DESC LIMIT 1
"""

# Left to itself, SQLite goes by the primary key and reads every release, content and all.
_NUMBERS = "SELECT number FROM releases INDEXED BY releases_searched WHERE mesh = ? AND stack = ?"
_CHANGED = """revision IN (
    SELECT revision FROM changes WHERE object =
    (SELECT id FROM objects WHERE mesh = ? AND kind = ? AND parent = ? AND name = ?)
)"""
_STANDS = """coalesce((
    SELECT status FROM statuses AS moves WHERE moves.mesh = releases.mesh AND moves.stack = releases.stack
    AND moves.number = releases.number ORDER BY leaf DESC LIMIT 1
), 'applied') = ?"""


def newest_number(connection: sqlite3.Connection) -> int:
    """The newest revision's number, 0 before the first."""
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM revisions").fetchone()[0])


def newest(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """The newest revision's number, and the root of the audit log with it, which no other history has."""
    found = connection.execute(_NEWEST).fetchone()
    return (0, b"") if found is None else (int(found[0]), found[1])


def resources_at(connection: sqlite3.Connection, revision: int) -> Iterator[Resource]:
    """The objects that there were at a revision."""
    return _resources(connection.execute(_STATE_AT, (revision,)))


def revisions(connection: sqlite3.Connection, after: int, last: int) -> Iterator[Revision]:
    """The revisions from `after + 1` to `last`."""
    found: dict[int, tuple[Revision, list[Resource], list[Key]]] = {}
    for number, at, principal, cause, mesh, kind, parent, name, body in connection.execute(_REVISIONS, (after, last)):
        if number not in found:
            found[number] = (Revision(number=number, at=at, principal=principal, cause=cause), [], [])
        _, puts, deletes = found[number]
        if body is not None:
            puts.extend(_resources([(mesh, kind, parent, name, body)]))
        elif mesh is not None:
            with readable(f"the deletion of the {kind} {name!r} of mesh {mesh!r}"):
                deletes.append(rows.key_of(mesh, kind, parent, name))
    for revision, puts, deletes in found.values():
        yield msgspec.structs.replace(revision, puts=tuple(puts), deletes=tuple(deletes))


def author(connection: sqlite3.Connection, key: Key) -> Author | None:
    """Who put or deleted `key` last."""
    number = connection.execute(_LAST_CHANGE, (key.mesh, key.kind.value, key.parent, key.name)).fetchone()[0]
    if number is None:
        return None
    query = "SELECT principal, cause, at FROM revisions WHERE number = ?"
    principal, cause, at = connection.execute(query, (number,)).fetchone()
    return Author(principal=principal, cause=cause, revision=number, at=at)


def history(connection: sqlite3.Connection, key: Key, after: int) -> Iterator[tuple[Author, Resource | None]]:
    """What `key` became in the newest revisions after `after` that changed it, oldest first."""
    place = (key.mesh, key.kind.value, key.parent, key.name)
    found = connection.execute(_HISTORY, (*place, after)).fetchall()
    for number, principal, cause, at, body in reversed(found):
        wrote = Author(principal=principal, cause=cause, revision=number, at=at)
        yield wrote, next(_resources([(*place[:2], place[2], place[3], body)])) if body is not None else None


def releases(
    connection: sqlite3.Connection, mesh: str, stack: str, limit: int, search: Search
) -> tuple[Release, ...]:
    """The newest `limit` releases of a stack that are searched for, newest first, without their content."""
    conditions, values = _conditions(search)
    # Numbers first: they are all in the index, while a release's row may be large.
    chosen = f"{_NUMBERS}{conditions} ORDER BY number DESC LIMIT ?"
    found = connection.execute(
        f"{_RELEASES} AND number IN ({chosen}) ORDER BY number DESC", (mesh, stack, mesh, stack, *values, limit)
    )
    with readable(f"a release of stack {stack!r} in mesh {mesh!r}"):
        return tuple(_standing(rows.listed_release_of(body), status) for body, status in found)


def _conditions(search: Search) -> tuple[str, list[str | int]]:
    """What SQL asks for, each condition after an AND, and with which values."""
    key = search.key
    asked: tuple[tuple[str, tuple[str | int | None, ...]], ...] = (
        ("number < ?", (search.before,)),
        ("moment >= ?", (search.since,)),
        ("moment < ?", (search.until,)),
        _made_by(search.principal),
        ("build_number = ?", (search.build,)),
        ("substr(lower(commit_id), 1, length(?)) = lower(?)", (search.commit, search.commit)),
        ("branch = ?", (search.branch,)),
        ("repository = ?", (search.repository,)),
        (_CHANGED, (key.mesh, key.kind.value, key.parent, key.name) if key else (None,)),
        (_STANDS, (search.status,)),
    )
    wanted = [(text, values) for text, values in asked if values[0] is not None]
    return "".join(f" AND {text}" for text, _ in wanted), [
        one for _, values in wanted for one in values if one is not None
    ]


def _made_by(principal: str | None) -> tuple[str, tuple[str | None, ...]]:
    """As the audit log takes a principal: an ARN, `user/NAME`, or any session of `role/NAME`."""
    if principal is not None and principal.startswith("role/"):
        return "instr(by || '/', ?) > 0", (f":assumed-{principal}/",)
    if principal is not None and principal.startswith("user/"):
        return "substr(by, -length(?)) = ?", (f":{principal}", f":{principal}")
    return "by = ?", (principal,)


def releases_between(
    connection: sqlite3.Connection, mesh: str, stack: str, after: int, before: int
) -> tuple[Release, ...]:
    """The releases of a stack numbered over `after` and below `before`, without their content."""
    found = connection.execute(
        f"{_RELEASES} AND number > ? AND number < ? ORDER BY number", (mesh, stack, after, before)
    )
    with readable(f"a release of stack {stack!r} in mesh {mesh!r}"):
        return tuple(_standing(rows.listed_release_of(body), status) for body, status in found)


def release(connection: sqlite3.Connection, mesh: str, stack: str, number: int) -> Release | None:
    """One release, whole."""
    found = connection.execute(f"{_RELEASES} AND number = ?", (mesh, stack, number)).fetchone()
    if found is None:
        return None
    with readable(f"release {rows.release_name(mesh, stack, number)}"):
        return _standing(rows.release_of(found[0]), found[1])


def standing(connection: sqlite3.Connection, mesh: str, stack: str, series: Series) -> Standing | None:
    """How far a series has come with a stack."""
    found = connection.execute(_STANDING, (mesh, stack, rows.series_text(series))).fetchone()
    if found is None:
        return None
    number, build = found
    (body, status) = connection.execute(f"{_RELEASES} AND number = ?", (mesh, stack, number)).fetchone()
    with readable(f"release {rows.release_name(mesh, stack, number)}"):
        return Standing(rows.build_of(build), _standing(rows.listed_release_of(body), status))


def entries(
    connection: sqlite3.Connection, search: audit.LogSearch, limit: int
) -> tuple[tuple[audit.Entry, ...], int | None]:
    """Up to `limit` entries of the audit log, newest first, and below which position to go on; None for nowhere.

    What is looked up by a term is found by it; a time, as entries come in the order of time but for a little.
    """
    newest = int(connection.execute("SELECT size FROM frontier").fetchone()[0])
    last = newest if search.before is None else min(search.before, newest)
    if search.until is not None:
        last = min(last, _begin_of(connection, search.until + _UNORDERED, newest))
    found: list[audit.Entry] = []
    for seen, (position, text, root) in enumerate(_looked_up(connection, search.terms, last), 1):
        if text is not None:
            with readable(f"leaf {position} of the audit log"):
                leaf = msgspec.json.decode(text, type=audit.Leaf)
            if search.since is not None and leaf.at < search.since - _UNORDERED:
                return tuple(found), None
            if search.meets(leaf):
                found.append(audit.Entry(position=position, text=text, root=root.hex()))
        if len(found) == limit or seen == LOOKED_AT:
            return tuple(found), position or None
    return tuple(found), None


def _looked_up(
    connection: sqlite3.Connection, terms: Sequence[int], last: int
) -> Iterator[tuple[int, str | None, bytes]]:
    """The entries below `last`, newest first: all, or those with a term; None for one that lacks another term."""
    if not terms:
        yield from connection.execute(_ENTRIES, (last,))
        return
    others = " AND EXISTS (SELECT 1 FROM terms AS other WHERE other.id = terms.id + ?)" * (len(terms) - 1)
    query, apart = _WITH_TERM.format(others), [(one - terms[0]) * rows.STRETCH for one in terms[1:]]
    for stretch in range((last - 1) // rows.STRETCH * rows.STRETCH, -1, -rows.STRETCH):
        first = rows.term_id(terms[0], stretch)
        size = min(rows.STRETCH, last - stretch)
        yield from connection.execute(query, (stretch, *apart, first, first + size))


def _begin_of(connection: sqlite3.Connection, moment: int, size: int) -> int:
    """A position, of `size`, from which on every entry is later than `moment` less `_UNORDERED`; near the lowest."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        found = connection.execute("SELECT entry FROM leaves WHERE position = ?", (middle,)).fetchone()
        with readable(f"leaf {middle} of the audit log"):
            at = msgspec.json.decode(found[0], type=audit.Leaf).at if found is not None else 0
        low, high = (low, middle) if at >= moment else (middle + 1, high)
    return high


def inspections(
    connection: sqlite3.Connection, mesh: str, stack: str, number: int, limit: int = -1
) -> tuple[Inspection, ...]:
    """The verifications of a release, newest first; all of them without a limit."""
    query = "SELECT body FROM inspections WHERE mesh = ? AND stack = ? AND number = ? ORDER BY leaf DESC LIMIT ?"
    with readable(f"a verification of release {rows.release_name(mesh, stack, number)}"):
        found = connection.execute(query, (mesh, stack, number, limit))
        return tuple(rows.inspection_of(body) for (body,) in found)


@contextlib.contextmanager
def readable(what: str) -> Iterator[None]:
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
        with readable(f"mesh/{mesh}/{f'{parent}/' if parent else ''}{kind}/{name}"):
            resource = rows.resource_of(rows.key_of(mesh, kind, parent, name), body)
        yield resource


def _standing(found: Release, status: str | None) -> Release:
    """`found` with the status that it has moved to since."""
    return found if status is None else msgspec.structs.replace(found, status=Status(status))
