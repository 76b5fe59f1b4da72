"""Pending releases, decisions about them, grants and their uses in SQLite, each with a leaf of the audit log.

The one rule: a row says what its leaf says, digest by digest; that something is decided or used is one row more, of
which there can be one.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, TypeVar

import msgspec

from meshwright import audit
from meshwright.errors import RefusedError, RevisionConflictError
from meshwright.store import rows
from meshwright.store.appending import append
from meshwright.store.approvals import Decision, Grant, Pending, Use
from meshwright.store.reading import readable

if TYPE_CHECKING:
    from meshwright.store.connections import Database

    T = TypeVar("T", bound=msgspec.Struct)

MOST_OPEN = 100
"""Pending releases of one stack."""

_PENDING = """
    SELECT pending.body, decisions.body FROM pending LEFT JOIN decisions USING (mesh, stack, number)
    WHERE mesh = ? AND stack = ?
"""
_WAITING = f"{_PENDING} AND json_extract(pending.body, '$.expires_at') > ? AND decisions.body IS NULL"
"""Those that somebody may approve after a moment."""
_GRANTS = "SELECT grants.body, uses.body FROM grants LEFT JOIN uses USING (number) WHERE mesh = ? AND stack = ?"


class Approvals:
    """The part of a store that knows what waits and what was granted."""

    _database: Database

    def add_pending(self, pending: Pending, trail: audit.Trail | None = None) -> tuple[Pending, bool]:
        """As `Store.add_pending`."""
        place = pending.mesh, pending.stack
        with self._database.write() as connection:
            waiting = [one for one, _ in _pending(connection, _WAITING, (*place, pending.at), MOST_OPEN)]
            mine = [one for one in waiting if one.principal.identity == pending.principal.identity]
            for one in mine:
                same = (one.plan, one.kind, one.canary) == (pending.plan, pending.kind, pending.canary)
                if same and _build(one) == _build(pending):
                    return one, False
            if len(waiting) - len(mine) >= MOST_OPEN:
                raise RefusedError(
                    f"{len(waiting)} releases of stack {pending.stack!r} wait for approval, the most that may. "
                    "Withdraw some of them. Nothing was changed."
                )
            query = "SELECT coalesce(max(number), 0) + 1 FROM pending WHERE mesh = ? AND stack = ?"
            number = int(connection.execute(query, place).fetchone()[0])
            kept = msgspec.structs.replace(pending, number=number)
            for one in mine:
                decide(connection, _withdrawn(one, kept), trail)
            text = rows.plain_text(kept)
            cause = f"ask approval of {rows.pending_name(*place, number)}"
            leaf = _leaf("pending", kept.principal.arn, cause, text, kept.at, trail)
            values = (append(connection, leaf), *place, number, text)
            connection.execute("INSERT INTO pending VALUES (?, ?, ?, ?, ?)", values)
        return kept, True

    def pending(
        self, mesh: str, stack: str, limit: int = 100, before: int | None = None
    ) -> tuple[tuple[Pending, Decision | None], ...]:
        """As `Store.pending`."""
        older = "" if before is None else " AND number < ?"
        with self._database.read() as connection:
            values = (mesh, stack) if before is None else (mesh, stack, before)
            return _pending(connection, f"{_PENDING}{older}", values, limit)

    def withdraw(self, decision: Decision, trail: audit.Trail | None = None) -> None:
        """As `Store.withdraw`."""
        with self._database.write() as connection:
            try:
                decide(connection, decision, trail)
            except RevisionConflictError as error:
                raise RefusedError(f"{error} Nothing was changed.") from None

    def add_grant(self, grant: Grant, trail: audit.Trail | None = None) -> Grant:
        """As `Store.add_grant`."""
        with self._database.write() as connection:
            number = int(connection.execute("SELECT coalesce(max(number), 0) + 1 FROM grants").fetchone()[0])
            kept = msgspec.structs.replace(grant, number=number)
            text = rows.plain_text(kept)
            cause = f"grant {number} to {kept.grantee} for {rows.stack_name(kept.mesh, kept.stack)}"
            values = (append(connection, _leaf("grant", kept.principal, cause, text, kept.at, trail)), number)
            connection.execute("INSERT INTO grants VALUES (?, ?, ?, ?, ?)", (*values, kept.mesh, kept.stack, text))
        return kept

    def grants(self, mesh: str, stack: str) -> tuple[tuple[Grant, Use | None], ...]:
        """As `Store.grants`."""
        with self._database.read() as connection, readable(f"a grant for stack {stack!r} in mesh {mesh!r}"):
            found = connection.execute(f"{_GRANTS} ORDER BY number DESC", (mesh, stack))
            return tuple((_of(Grant, grant), None if use is None else _of(Use, use)) for grant, use in found)


def decide(connection: sqlite3.Connection, decision: Decision, trail: audit.Trail | None) -> None:
    """Write what became of a pending release.

    Raises:
        RevisionConflictError: somebody else has decided it.
    """
    name = rows.pending_name(decision.mesh, decision.stack, decision.number)
    text, verb = rows.plain_text(decision), "approve" if decision.verdict == "approved" else "withdraw"
    became = None
    if decision.release is not None:
        became = rows.release_name(decision.mesh, decision.stack, decision.release)
    leaf = _leaf("decision", decision.principal, f"{verb} {name}", text, decision.at, trail, became)
    values = (append(connection, leaf), decision.mesh, decision.stack, decision.number, text)
    _once(connection, "INSERT INTO decisions VALUES (?, ?, ?, ?, ?)", values, f"{name} is decided already.")


def use(connection: sqlite3.Connection, one: Use, trail: audit.Trail | None) -> None:
    """Write what a grant was used for.

    Raises:
        RevisionConflictError: it was used already.
    """
    text, name = rows.plain_text(one), rows.release_name(one.mesh, one.stack, one.release)
    leaf = _leaf("use", one.principal, f"use grant {one.number} for {name}", text, one.at, trail, name)
    values = (append(connection, leaf), one.number, text)
    _once(connection, "INSERT INTO uses VALUES (?, ?, ?)", values, f"Grant {one.number} was used already.")


def _once(connection: sqlite3.Connection, statement: str, values: tuple[object, ...], told: str) -> None:
    try:
        connection.execute(statement, values)
    except sqlite3.IntegrityError as error:
        # Another process was faster: whoever asked decides anew, and the transaction with the leaf is undone.
        raise RevisionConflictError(told) from error


def _leaf(
    kind: audit.LeafKind,
    principal: str,
    cause: str,
    text: str,
    at: int,
    trail: audit.Trail | None,
    release: str | None = None,
) -> audit.Leaf:
    digest = rows.text_digest(text)
    return audit.Leaf(kind=kind, at=at, principal=principal, cause=cause, digest=digest, by=trail, release=release)


def _build(one: Pending) -> tuple[str, ...]:
    """Which build's it is, as far as that was proved: a newer one that asks the same comes in its own name."""
    return tuple(one.principal.build.get(name, "") for name in ("repository", "build_id", "build_number"))


def _withdrawn(one: Pending, newer: Pending) -> Decision:
    return Decision(
        mesh=one.mesh,
        stack=one.stack,
        number=one.number,
        verdict="withdrawn",
        principal=newer.principal.arn,
        identity=newer.principal.identity,
        at=newer.at,
        reason=f"{newer.title} takes its place",
    )


def _pending(
    connection: sqlite3.Connection, query: str, values: tuple[str | int, ...], limit: int
) -> tuple[tuple[Pending, Decision | None], ...]:
    """What `query` finds, newest first; the first two of `values` are mesh and stack."""
    with readable(f"a pending release of stack {values[1]!r} in mesh {values[0]!r}"):
        found = connection.execute(f"{query} ORDER BY number DESC LIMIT ?", (*values, limit))
        return tuple((_of(Pending, one), None if over is None else _of(Decision, over)) for one, over in found)


def _of(wanted: type[T], text: str) -> T:
    return msgspec.json.decode(text, type=wanted)
