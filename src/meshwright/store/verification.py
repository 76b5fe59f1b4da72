"""Whether the database still says what its audit log says: every leaf, root and digest computed again.

The one rule: nothing is taken on trust and nothing stops the check; what cannot be read is a fault like another.
"""

from __future__ import annotations

import sqlite3  # noqa: TC003 - the store's own library
from typing import TYPE_CHECKING

import msgspec

from meshwright import audit
from meshwright.audit import Checkpoint
from meshwright.model.identity import Kind
from meshwright.store import rows, schema
from meshwright.store.contract import AccessKey, Fault, Revocation, Verification
from meshwright.store.witnesses import Forgotten, Index, Outside

if TYPE_CHECKING:
    from collections.abc import Iterator

_TABLES = {
    "revision": "revisions",
    "status": "statuses",
    "inspection": "inspections",
    "pending": "pending",
    "decision": "decisions",
    "grant": "grants",
    "use": "uses",
    "key": "access_keys",
    "session": "sessions",
    "revocation": "revocations",
    "identity": "identities",
}
"""Where what a leaf tells of is kept, by the leaf's kind."""


def verify(connection: sqlite3.Connection, *earlier: Checkpoint) -> Verification:
    """Recompute the log and compare; `connection` reads one moment of the database.

    For each of `earlier`, the log's first `size` leaves must still have its root.
    """
    connection.text_factory = _replacing
    try:
        return _verify(connection, Outside(earlier))
    finally:
        connection.text_factory = str


def _replacing(text: bytes) -> str:
    """What is no UTF-8 has another digest, and that is the finding."""
    return text.decode(errors="replace")


def _verify(connection: sqlite3.Connection, outside: Outside) -> Verification:
    faults: list[Fault] = []
    told: dict[str, set[int]] = {kind: set() for kind in _TABLES}
    bodies: dict[str, str] = {}
    forgotten, index = Forgotten(connection), Index(connection)
    frontier = audit.Frontier()
    gap = False
    for position, entry, recorded in connection.execute("SELECT position, entry, root FROM leaves ORDER BY position"):
        gap = position != frontier.size
        if gap:
            faults.append(Fault(position, f"leaf {frontier.size} is missing before it"))
            break
        frontier = audit.append(frontier, audit.leaf_hash(entry.encode()))
        root = audit.root(frontier)
        outside.compare(frontier.size, root)
        if root != recorded:
            faults.append(
                Fault(position, "the leaf or one before it was changed: its root does not follow from them")
            )
        try:
            leaf = msgspec.json.decode(entry, type=audit.Leaf)
        except msgspec.MsgspecError as error:
            faults.append(Fault(position, f"the leaf cannot be read: {error}"))
            continue
        faults += [Fault(position, message) for message in _leaf_faults(connection, position, leaf, told, bodies)]
        forgotten.see(position, leaf)
        index.see(position, leaf)
    faults += outside.faults(frontier.size)
    faults += forgotten.faults()
    faults += _ending_faults(connection, frontier)
    faults += [Fault(None, f"{one}: what was recorded is not protected") for one in schema.missing(connection)]
    if not gap:
        faults += _unrecorded(connection, told)
        faults += index.faults()
    return Verification(
        checkpoint=Checkpoint(frontier.size, audit.root(frontier).hex()), faults=tuple(_first(faults))
    )


def _first(faults: list[Fault]) -> Iterator[Fault]:
    """`faults` without the roots that differ only because an earlier one does."""
    seen = False
    for fault in faults:
        follows = "root does not follow" in fault.message
        if not (follows and seen):
            yield fault
        seen = seen or follows


def _leaf_faults(
    connection: sqlite3.Connection, position: int, leaf: audit.Leaf, told: dict[str, set[int]], bodies: dict[str, str]
) -> Iterator[str]:
    """What of one leaf is not so; `bodies` are the digests of all objects before it, and become those after."""
    if leaf.kind == "attempt":
        return
    told[leaf.kind].add(position)
    if leaf.kind == "revision":
        yield from _revision_faults(connection, position, leaf, bodies)
        return
    judges = {
        "status": _status_faults,
        "inspection": _inspection_faults,
        "pending": _kept_whole_faults,
        "decision": _kept_whole_faults,
        "grant": _kept_whole_faults,
        "use": _kept_whole_faults,
        "key": _key_faults,
        "session": _session_faults,
        "revocation": _revocation_faults,
        "identity": _identity_faults,
    }
    yield from judges[leaf.kind](connection, position, leaf)


def _revision_faults(
    connection: sqlite3.Connection, position: int, leaf: audit.Leaf, bodies: dict[str, str]
) -> Iterator[str]:
    query = "SELECT number, at, principal, cause FROM revisions WHERE leaf = ?"
    found = connection.execute(query, (position,)).fetchone()
    if found is None:
        yield f"revision {leaf.revision} is missing"
        return
    yield from _differences(
        f"revision {leaf.revision}",
        zip(("number", "at", "principal", "cause"), found, strict=True),
        {"number": leaf.revision, "at": leaf.at, "principal": leaf.principal, "cause": leaf.cause},
    )
    changes = connection.execute(
        "SELECT mesh, kind, parent, name, body FROM changes JOIN objects ON objects.id = changes.object "
        "WHERE revision = ? ORDER BY changes.id",
        (leaf.revision,),
    ).fetchall()
    stored = [(_path(*key), body) for *key, body in changes]
    if rows.changes_digest(stored) != leaf.digest:
        yield f"revision {leaf.revision}: its changes are not those that were committed"
    yield from _touched_faults(leaf, stored, bodies)
    release = connection.execute(
        "SELECT mesh, stack, number, body FROM releases WHERE revision = ?", (leaf.revision,)
    ).fetchone()
    name, digest = (
        (None, None) if release is None else (rows.release_name(*release[:3]), rows.text_digest(release[3]))
    )
    if name != leaf.release:
        yield f"revision {leaf.revision}: its release is {name}, recorded was {leaf.release}"
    elif digest != leaf.release_digest:
        yield f"revision {leaf.revision}: the content of release {name} is not what was applied"
    build = connection.execute(
        "SELECT mesh, stack, series, number, body FROM builds WHERE revision = ?", (leaf.revision,)
    ).fetchone()
    if (None if build is None else rows.build_digest(build)) != leaf.build_digest:
        yield f"revision {leaf.revision}: the verified build is not the one that was recorded"


def _touched_faults(leaf: audit.Leaf, stored: list[tuple[str, str | None]], bodies: dict[str, str]) -> Iterator[str]:
    """Whether what a leaf tells of objects is what was done; leaves of older versions tell nothing."""
    became = {path: "" if body is None else rows.text_digest(body) for path, body in stored}
    told = {one.object: one for one in leaf.changes}
    if leaf.changes and {path: one.after for path, one in told.items()} != became:
        yield f"revision {leaf.revision}: its changes are not those that its leaf tells"
    for path, one in told.items():
        if one.before != bodies.get(path, ""):
            yield f"revision {leaf.revision}: {path} was not before it what its leaf tells"
    bodies.update(became)


def _status_faults(connection: sqlite3.Connection, position: int, leaf: audit.Leaf) -> Iterator[str]:
    query = "SELECT mesh, stack, number, status, at, principal FROM statuses WHERE leaf = ?"
    found = connection.execute(query, (position,)).fetchone()
    if found is None:
        yield f"the move of release {leaf.release} to {leaf.cause!r} is missing"
        return
    mesh, stack, number, status, at, principal = found
    name = rows.release_name(mesh, stack, number)
    kept = {"release": name, "status": status, "at": at, "principal": principal}
    said = {"release": leaf.release, "status": leaf.cause, "at": leaf.at, "principal": leaf.principal}
    yield from _differences(f"the move of release {leaf.release}", iter(kept.items()), said)
    if rows.status_digest(name, status) != leaf.digest:
        yield f"the move of release {leaf.release} is not the one that was recorded"


def _inspection_faults(connection: sqlite3.Connection, position: int, leaf: audit.Leaf) -> Iterator[str]:
    query = "SELECT mesh, stack, number, body FROM inspections WHERE leaf = ?"
    found = connection.execute(query, (position,)).fetchone()
    if found is None:
        yield f"a verification of release {leaf.release} is missing"
        return
    name = rows.release_name(*found[:3])
    if name != leaf.release:
        yield f"a verification is of release {name}, recorded was {leaf.release}"
    if rows.text_digest(found[3]) != leaf.digest:
        yield f"a verification of release {leaf.release} is not the one that was recorded"


def _kept_whole_faults(connection: sqlite3.Connection, position: int, leaf: audit.Leaf) -> Iterator[str]:
    """Of what is kept as one text, which says all that its columns say."""
    found = connection.execute(f"SELECT * FROM {_TABLES[leaf.kind]} WHERE leaf = ?", (position,)).fetchone()  # noqa: S608 - constants
    if found is None:
        yield f"the {leaf.kind} of {leaf.cause!r} is missing"
        return
    *columns, text = found[1:]
    if rows.text_digest(text) != leaf.digest:
        yield f"the {leaf.kind} of {leaf.cause!r} is not the one that was recorded"
        return
    said = msgspec.json.decode(text)
    names = ("number",) if leaf.kind == "use" else ("mesh", "stack", "number")
    if sorted(map(str, columns)) != sorted(str(said[name]) for name in names):
        yield f"the {leaf.kind} of {leaf.cause!r} is filed under {columns}"


def _key_faults(connection: sqlite3.Connection, position: int, leaf: audit.Leaf) -> Iterator[str]:
    query = "SELECT id, secret, principal, created_at FROM access_keys WHERE leaf = ?"
    found = connection.execute(query, (position,)).fetchone()
    if found is None:
        yield f"access key {leaf.key} is missing"
        return
    key_id, secret, principal, at = found
    kept = {"id": key_id, "at": at, "principal": principal}
    said = {"id": leaf.key, "at": leaf.at, "principal": leaf.principal}
    yield from _differences(f"access key {leaf.key}", iter(kept.items()), said)
    if rows.key_digest(AccessKey(id=key_id, secret=secret, principal=principal, created_at=at)) != leaf.digest:
        yield f"access key {leaf.key} is not the one that was created"


def _session_faults(connection: sqlite3.Connection, position: int, leaf: audit.Leaf) -> Iterator[str]:
    query = "SELECT id, secret, token, principal, created_at, expires_at FROM sessions WHERE leaf = ?"
    found = connection.execute(query, (position,)).fetchone()
    # One that is not there may be forgotten: nobody can use it, and what it was is in the leaf (`Forgotten`).
    if found is not None:
        kept = {"id": found[0], "at": found[4], "expires": found[5]}
        yield from _differences(
            f"session {leaf.key}", iter(kept.items()), {"id": leaf.key, "at": leaf.at, "expires": leaf.expires}
        )
        if rows.session_digest(*found) != leaf.digest:
            yield f"session {leaf.key} is not the one that was begun"


def _revocation_faults(connection: sqlite3.Connection, position: int, leaf: audit.Leaf) -> Iterator[str]:
    found = connection.execute(
        "SELECT subject, at, principal FROM revocations WHERE leaf = ?", (position,)
    ).fetchone()
    if found is None:
        yield f"the revocation of {leaf.subject} is missing"
        return
    subject, at, principal = found
    if rows.revocation_digest(Revocation(subject=subject, at=at, principal=principal)) != leaf.digest:
        yield f"the revocation of {leaf.subject} is not the one that was recorded"


def _identity_faults(connection: sqlite3.Connection, position: int, leaf: audit.Leaf) -> Iterator[str]:
    found = connection.execute("SELECT run FROM identities WHERE leaf = ?", (position,)).fetchone()
    if found is None:
        yield f"the identity of {leaf.subject} is missing"
    elif found[0] != leaf.subject or rows.text_digest(found[0]) != leaf.digest:
        yield f"the identity of {leaf.subject} is not the one that was recorded"


def _differences(
    what: str, kept: Iterator[tuple[str, str | int]], said: dict[str, str | int | None]
) -> Iterator[str]:
    for name, value in kept:
        if value != said[name]:
            yield f"{what}: {name} is {value!r}, recorded was {said[name]!r}"


def _path(mesh: str, kind: str, parent: str, name: str) -> str:
    """The object's path; something else for columns that are no object's, of which its path would not tell."""
    try:
        key = rows.key_of(mesh, kind, parent, name)
    except ValueError:
        return f"unknown kind {kind}"
    if bool(parent) != bool(key.kind.parent) or (key.kind is Kind.MESH and name != mesh):
        return f"{kind} {name!r} of {parent!r} in {mesh!r}"
    return key.path


def _ending_faults(connection: sqlite3.Connection, frontier: audit.Frontier) -> Iterator[Fault]:
    """Whether the log ends where the last append left it."""
    size, hashes = connection.execute("SELECT size, hashes FROM frontier").fetchone() or (None, b"")
    if size != frontier.size:
        yield Fault(None, f"the log was left with {size} leaves and has {frontier.size}")
    elif hashes != b"".join(frontier.hashes):
        yield Fault(None, "the log does not have the root that the last append left")


def _unrecorded(connection: sqlite3.Connection, told: dict[str, set[int]]) -> Iterator[Fault]:
    """What is in the tables and has no leaf that tells of it."""
    for kind, table in _TABLES.items():
        for (position,) in connection.execute(f"SELECT leaf FROM {table}"):  # noqa: S608 - constants
            if position not in told[kind]:
                yield Fault(None, f"a row of {table} (leaf {position}) was never recorded in the log")
    for query, what in (
        ("SELECT revision FROM changes WHERE revision NOT IN (SELECT number FROM revisions)", "changes"),
        ("SELECT revision FROM releases WHERE revision NOT IN (SELECT number FROM revisions)", "a release"),
        ("SELECT revision FROM builds WHERE revision NOT IN (SELECT number FROM revisions)", "a build"),
    ):
        for (revision,) in connection.execute(query):
            yield Fault(None, f"{what} of revision {revision} were never recorded in the log")
    for (revision,) in connection.execute(
        "SELECT revision FROM changes WHERE object NOT IN (SELECT id FROM objects)"
    ):
        yield Fault(None, f"a change of revision {revision} is of an object that is not there")
    for (name,) in connection.execute("SELECT name FROM objects WHERE id NOT IN (SELECT object FROM changes)"):
        yield Fault(None, f"an object {name!r} is there that no commit ever changed")
