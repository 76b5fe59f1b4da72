"""Keys, sessions and revocations in SQLite: who may sign, looked up on the path of every request.

The one rule: a row is never changed, so that what was read once holds; only revocations are looked for anew, whenever
anything was committed by whatever process.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from meshwright import audit
from meshwright.errors import RefusedError
from meshwright.store import rows
from meshwright.store.appending import append
from meshwright.store.contract import AccessKey, Identity, Revocation, Session, is_revoked
from meshwright.store.reading import readable

if TYPE_CHECKING:
    import sqlite3

    from meshwright.store.connections import Database, Watch
    from meshwright.trust.principals import Principal

SESSIONS_KEPT = 24 * 3600 * 1000
"""For how many milliseconds after its end a session is kept, so that it can be told from one that never was."""
_FORGOTTEN_AT_ONCE = 500
_CLAIMS = 40
"""Claims of a token that the audit log tells at most."""
_CLAIM_LENGTH = 256
_FLEETING = frozenset({"exp", "iat", "nbf", "jti", "nonce", "auth_time", "at_hash", "c_hash"})
"""Claims that are of one token and of no build."""
_CACHED = 10_000
"""Sessions in memory at most."""

_KEYS = "SELECT id, secret, principal, created_at FROM access_keys"
_FORGET = """
    DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < ? ORDER BY expires_at LIMIT ?)
"""
_SESSIONS = "SELECT id, secret, token, principal, created_at, expires_at FROM sessions"


class Identities:
    """The part of a store that knows who may sign."""

    def __init__(self, database: Database, watch: Watch) -> None:
        self._database = database
        self._watch = watch
        self._known_keys: dict[str, AccessKey] = {}
        self._known_sessions: dict[str, Session] = {}
        self._revoking = threading.Lock()
        self._revoked: dict[str, int] = {}
        """Until when what a subject was issued is worth nothing; never changed, but replaced: moments hold it."""
        self._revoked_seen = -1
        self._revoked_last = -1
        """The leaf of the newest revocation that was read."""

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
                (append(connection, leaf), key.id, key.secret, key.principal, key.created_at),
            )

    def key(self, key_id: str) -> AccessKey | None:
        """As `Store.key`."""
        found = self._known_keys.get(key_id)
        if found is None:
            with self._database.read() as connection:
                row = connection.execute(f"{_KEYS} WHERE id = ?", (key_id,)).fetchone()
            if row is None:
                return None
            found = self._known_keys[key_id] = _key(*row)
        return found

    def keys(self) -> tuple[AccessKey, ...]:
        """As `Store.keys`."""
        with self._database.read() as connection:
            return tuple(_key(*row) for row in connection.execute(f"{_KEYS} ORDER BY leaf"))

    def add_session(self, session: Session, trail: audit.Trail | None = None) -> None:
        """As `Store.add_session`."""
        columns = rows.session_columns(session)
        with self._database.write() as connection:
            if connection.execute("SELECT 1 FROM sessions WHERE id = ?", (session.key_id,)).fetchone():
                raise RefusedError(f"A session {session.key_id!r} is there already.")
            leaf = audit.Leaf(
                kind="session",
                at=session.created_at,
                principal=session.principal.arn,
                cause=_cause(session.principal),
                digest=rows.session_digest(*columns),
                key=session.key_id,
                expires=session.expires_at,
                by=trail,
                claims=_told(session.principal),
            )
            connection.execute(
                "INSERT INTO sessions (leaf, id, secret, token, principal, created_at, expires_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (append(connection, leaf), *columns),
            )
            connection.execute(_FORGET, (session.created_at - SESSIONS_KEPT, _FORGOTTEN_AT_ONCE))

    def session(self, key_id: str) -> Session | None:
        """As `Store.session`."""
        found = self._known_sessions.get(key_id)
        if found is None:
            with self._database.read() as connection:
                row = connection.execute(f"{_SESSIONS} WHERE id = ?", (key_id,)).fetchone()
            if row is None:
                return None
            if len(self._known_sessions) >= _CACHED:
                self._known_sessions.clear()
            found = self._known_sessions[key_id] = _session(*row)
        return found

    def sessions(self, after: str = "", limit: int = 100) -> tuple[Session, ...]:
        """As `Store.sessions`."""
        with self._database.read() as connection:
            found = connection.execute(f"{_SESSIONS} WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
            return tuple(_session(*row) for row in found)

    def revoke(self, subject: str, at: int, principal: str, trail: audit.Trail | None = None) -> bool:
        """As `Store.revoke`."""
        kind, _, name = subject.partition(":")
        if kind not in {"key", "session", "role"} or not name:
            raise RefusedError(
                f"{subject!r} cannot be revoked; name key:ID, session:ID or role:NAME. Nothing was changed."
            )
        with self._database.write() as connection:
            _refuse_unknown(connection, kind, name)
            newest = connection.execute("SELECT max(at) FROM revocations WHERE subject = ?", (subject,)).fetchone()[0]
            if newest is not None and (kind != "role" or newest >= at):
                return False
            revocation = Revocation(subject=subject, at=at, principal=principal)
            leaf = audit.Leaf(
                kind="revocation",
                at=at,
                principal=principal,
                cause="revoke",
                digest=rows.revocation_digest(revocation),
                subject=subject,
                by=trail,
            )
            values = (append(connection, leaf), subject, at, principal)
            connection.execute("INSERT INTO revocations VALUES (?, ?, ?, ?)", values)
            return True

    def add_identity(self, given: Identity, trail: audit.Trail | None = None) -> bool:
        """As `Store.add_identity`."""
        with self._database.write() as connection:
            # Writers come one after the other: who looks here has the table to itself.
            if connection.execute("SELECT 1 FROM identities WHERE run = ?", (given.run,)).fetchone():
                return False
            leaf = audit.Leaf(
                kind="identity",
                at=given.at,
                principal=given.subject,
                cause="give identity",
                digest=rows.text_digest(given.run),
                subject=given.run,
                claims={name[:_CLAIM_LENGTH]: text[:_CLAIM_LENGTH] for name, text in given.claims.items()},
                by=trail,
            )
            connection.execute("INSERT INTO identities VALUES (?, ?)", (append(connection, leaf), given.run))
            return True

    def revoked(self, found: AccessKey | Session) -> bool:
        """As `Store.revoked`."""
        return is_revoked(found, self._revocations_at(self._watch.version()))

    def revocations(self) -> tuple[Revocation, ...]:
        """As `Store.revocations`."""
        with self._database.read() as connection:
            found = connection.execute("SELECT subject, at, principal FROM revocations ORDER BY leaf")
            return tuple(Revocation(subject=subject, at=at, principal=by) for subject, at, by in found)

    def _revocations_at(self, version: int) -> dict[str, int]:
        """What is revoked when `version` is the newest of the file."""
        if version == self._revoked_seen:
            return self._revoked
        with self._revoking:
            with self._database.read() as connection:
                found = connection.execute(
                    "SELECT leaf, subject, at FROM revocations WHERE leaf > ? ORDER BY leaf", (self._revoked_last,)
                ).fetchall()
            if found:
                revoked = dict(self._revoked)
                for leaf, subject, at in found:
                    revoked[subject] = max(at, revoked.get(subject, at))
                    self._revoked_last = leaf
                self._revoked = revoked
            self._revoked_seen = version
            return self._revoked


def _cause(principal: Principal) -> str:
    """What a session was obtained with: its name was chosen by whoever asked, and its row is forgotten."""
    if principal.ancestors:
        return f"begin session with {principal.ancestors[-1].key_id}"
    if principal.issuer:
        return f"begin session for {principal.claims.get('sub', '')} of {principal.issuer}"
    return "begin session"


def _told(principal: Principal) -> dict[str, str]:
    """What a token proved, for the audit log: without what is of this one token alone, and bounded."""
    found: dict[str, str] = {}
    for name, value in principal.claims.items():
        if name not in _FLEETING and len(found) < _CLAIMS:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            found[name[:_CLAIM_LENGTH]] = text[:_CLAIM_LENGTH]
    return found


def _refuse_unknown(connection: sqlite3.Connection, kind: str, name: str) -> None:
    table, what = {"key": ("access_keys", "access key"), "session": ("sessions", "session"), "role": ("", "")}[kind]
    if table and not connection.execute(f"SELECT 1 FROM {table} WHERE id = ?", (name,)).fetchone():  # noqa: S608 - two constants
        raise RefusedError(f"There is no {what} {name!r}; nothing was revoked.")


def _key(key_id: str, secret: str, principal: str, created_at: int) -> AccessKey:
    return AccessKey(id=key_id, secret=secret, principal=principal, created_at=created_at)


def _session(key_id: str, secret: str, token: str, principal: str, created_at: int, expires_at: int) -> Session:
    with readable(f"session {key_id!r}"):
        return Session(
            key_id=key_id,
            secret=secret,
            token=token,
            principal=rows.principal_of(principal),
            created_at=created_at,
            expires_at=expires_at,
        )
