"""Whoever edits the database behind the log's back is found out, and told which leaf and which revision."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from meshwright.release import Inspection, Status
from meshwright.store.contract import AccessKey
from meshwright.store.sqlite import connect
from stored import commit_one, node, release

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with eight leaves: revisions 1 to 5, a key (leaf 1), a release and its move (leaves 5 and 6)."""
    path = tmp_path / "meshwright.db"
    with closing(connect(path)) as store:
        commit_one(store, 0, puts=(node("a"), node("b")), deletes=(), principal="first", cause="Create", at=1)
        store.add_key(AccessKey(id="AKIAX", secret="s3cret", principal="build", created_at=2))
        for number in (1, 2, 3):
            commit_one(store, number, puts=(node("a", number),), deletes=(), principal="two", cause="Update", at=3)
        commit_one(
            store, 4, puts=(), deletes=(node("b").key,), principal="build", cause="r", at=4, release=release(1, 5)
        )
        store.mark("shop", "cart", 1, Status.PROPAGATED, principal="server", at=5)
        assert store.verify().faults == ()
    return path


def tamper(path: Path, *statements: str) -> list[tuple[int | None, str]]:
    """Drop the triggers, run the statements, and verify."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
    with closing(connect(path)) as store:
        return [(fault.position, fault.message) for fault in store.verify().faults]


@pytest.mark.parametrize(
    ("statement", "position", "message"),
    [
        ("UPDATE revisions SET principal = 'two' WHERE number = 1", 0, "principal is 'two', recorded was 'first'"),
        ("UPDATE revisions SET cause = 'Other' WHERE number = 3", 3, "revision 3: cause is 'Other'"),
        ("UPDATE revisions SET at = 9 WHERE number = 2", 2, "revision 2: at is 9, recorded was 3"),
        (
            "UPDATE changes SET body = replace(body, 'a-1.shop', 'evil.shop') WHERE revision = 2",
            2,
            "revision 2: its changes are not those",
        ),
        ("UPDATE changes SET body = 'no JSON' WHERE revision = 5", 5, "revision 5: its changes are not those"),
        (
            "UPDATE changes SET body = CAST(x'ff' AS TEXT) WHERE revision = 4",
            4,
            "revision 4: its changes are not those",
        ),
        ("UPDATE objects SET kind = 'bogus' WHERE name = 'b'", 0, "revision 1: its changes are not those"),
        ("UPDATE changes SET body = NULL WHERE revision = 4", 4, "revision 4: its changes are not those"),
        ("DELETE FROM changes WHERE revision = 5", 5, "revision 5: its changes are not those"),
        ("UPDATE objects SET name = 'c' WHERE name = 'b'", 0, "revision 1: its changes are not those"),
        ("UPDATE releases SET body = replace(body, 'c0ffee', 'badbad')", 5, "content of release shop/cart#1 is not"),
        ("DELETE FROM releases", 5, "revision 5: its release is None, recorded was shop/cart#1"),
        ("UPDATE statuses SET status = 'verified'", 6, "status is 'verified', recorded was 'propagated'"),
        ("DELETE FROM statuses", 6, "move of release shop/cart#1 to 'propagated' is missing"),
        ("UPDATE access_keys SET principal = 'admin'", 1, "access key AKIAX: principal is 'admin'"),
        ("UPDATE access_keys SET secret = 'mine'", 1, "access key AKIAX is not the one that was created"),
        ("DELETE FROM access_keys", 1, "access key AKIAX is missing"),
        ("DELETE FROM revisions WHERE number = 5", 5, "revision 5 is missing"),
        ("UPDATE leaves SET entry = replace(entry, 'two', 'six') WHERE position = 3", 3, "the leaf or one before it"),
        ("UPDATE leaves SET entry = 'not JSON' WHERE position = 4", 4, "the leaf cannot be read"),
        ("DELETE FROM leaves WHERE position = 2", 3, "leaf 2 is missing before it"),
        ("UPDATE leaves SET root = zeroblob(32) WHERE position = 2", 2, "the leaf or one before it"),
    ],
)
def test_an_edit_is_found_at_its_leaf(path: Path, statement: str, position: int, message: str) -> None:
    """Whatever table it is in, and the leaf is the first that is named."""
    faults = tamper(path, statement)
    assert faults
    found = [(at, text) for at, text in faults if message in text]
    assert found, faults
    assert found[0][0] == position


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (("DELETE FROM leaves WHERE position = 6",), "was left with 7 leaves and has 6"),
        (("UPDATE frontier SET hashes = zeroblob(length(hashes))",), "root that the last append left"),
        (("UPDATE frontier SET size = 9",), "was left with 9 leaves and has 7"),
        (
            (
                "INSERT INTO leaves VALUES (7, '{}', zeroblob(32))",
                "INSERT INTO access_keys VALUES (7, 'AKIAEVIL', 'x', 'administrator', 9)",
            ),
            "a row of access_keys (leaf 7) was never recorded",
        ),
        (("INSERT INTO changes VALUES (99, 77, 1, NULL)",), "changes of revision 77 were never recorded"),
        (("INSERT INTO statuses VALUES (0, 'shop', 'cart', 1, 'verified', 9, 'six')",), "a row of statuses (leaf 0)"),
    ],
)
def test_what_has_no_leaf_of_its_own_is_found_too(path: Path, statements: tuple[str, ...], message: str) -> None:
    """Rows slipped in, leaves cut off, an end that does not fit."""
    assert any(message in text for _, text in tamper(path, *statements))


def test_one_changed_leaf_is_one_changed_root_in_the_report(path: Path) -> None:
    """Every later root differs too; saying so would hide the place."""
    faults = tamper(path, "UPDATE leaves SET entry = replace(entry, 'two', 'six') WHERE position = 2")
    assert [at for at, text in faults if "root does not follow" in text] == [2]


def test_a_log_rewritten_whole_is_found_by_a_checkpoint_kept_elsewhere(path: Path, tmp_path: Path) -> None:
    """Someone with the database alone can make it sound again; not against what was noted before."""
    with closing(connect(path)) as store:
        earlier = store.checkpoint()
    with closing(connect(tmp_path / "forged.db")) as forged:
        for number in range(7):
            commit_one(forged, number, puts=(), deletes=(), principal="six", cause="nothing", at=1)
        assert forged.verify().faults == ()
        (fault,) = forged.verify(earlier).faults
        assert "first 7 leaves are not those of the earlier checkpoint" in fault.message


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE inspections SET body = replace(body, 'failed', 'verified')", "is not the one that was recorded"),
        ("UPDATE inspections SET number = 2", "a verification is of release shop/cart#2, recorded was shop/cart#1"),
        ("DELETE FROM inspections", "a verification of release shop/cart#1 is missing"),
    ],
)
def test_an_edit_of_what_a_verification_saw_is_found_at_its_leaf(path: Path, statement: str, message: str) -> None:
    """Nobody makes a bad release good afterwards."""
    with closing(connect(path)) as store:
        store.note_inspection("shop", "cart", 1, Inspection(at=6, principal="two", judgement="failed"))
        assert store.verify().faults == ()
    assert any(at == 8 and message in text for at, text in tamper(path, statement))
