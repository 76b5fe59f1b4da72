"""No edit of the database goes unseen: 10,000 entries, 1,000 random edits, also by whoever recomputes every root."""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from proofbundle import merkle

from forging import TABLES, clumsy, opened, thorough
from meshwright.audit import Checkpoint, Leaf, Trail, consistency_proof, inclusion_proof, leaf_hash
from meshwright.model import Key, Kind
from meshwright.model.state import State
from meshwright.plan import diff
from meshwright.release import Build, Inspection, Status
from meshwright.store.approvals import Decision, Grant, Pending, Use
from meshwright.store.contract import AccessKey, Draft, Identity, Session
from meshwright.store.sqlite import connect
from meshwright.trust.principals import Principal
from settings import PROVE
from stored import node, release

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.store.contract import Store

ENTRIES = 10_000 if PROVE else 600
SEEDS = range(20)
EDITS = 25 if PROVE else 1
"""Of each kind, for each seed: 500 clumsy and 500 thorough ones in all under `make prove`, 20 and 20 in the check."""
KEYS = (
    Key.of_mesh("shop"),
    *(Key("shop", Kind.VIRTUAL_NODE, f"n{number}") for number in range(20)),
    *(Key("shop", Kind.ROUTE, f"r{number}", "router") for number in range(10)),
)
"""Objects of every form of path; what is in them is nobody's business here."""
TRAIL = Trail(key="ASIA1", source="10.0.0.1", request="r", verified={"build_number": "7"})


def fill(store: Store, entries: int) -> list[Checkpoint]:
    """A log of so many entries of every kind, and checkpoints of it on the way."""
    noted, at, releases = [], 1_000, 0
    while store.checkpoint().size < entries:
        at += 10
        revision = store.head().revision
        drafts = [draft(revision + number, at) for number in range(1, 8)]
        releases += 1
        made = release(releases, revision + 8)
        build = Build(repository="acme/cart", branch="main", build_number=str(releases))
        drafts.append(
            Draft(principal="build", cause="release", at=at, release=replace(made, verified=build), trail=TRAIL)
        )
        store.commit_all(revision, tuple(drafts))
        store.mark("shop", "cart", releases, Status.PROPAGATED, principal="server", at=at)
        store.note_inspection("shop", "cart", releases, Inspection(at=at, principal="b", judgement="inconclusive"))
        if releases % 5 == 0:
            store.add_key(AccessKey(id=f"AKIA{at}", secret=f"s{at}", principal="user", created_at=at))
            store.add_session(session(at), TRAIL)
            store.revoke(f"session:ASIA{at}", at, "administrator", TRAIL)
            store.add_identity(Identity(run=f"job {at}", subject="repo:acme/cart", claims={"job_id": "7"}, at=at))
        if releases % 5 == 1:
            decided(store, at, releases)
        refused = Leaf(
            kind="attempt", at=at, principal="x", cause="CreateMesh", digest="00", by=TRAIL, outcome="refused"
        )
        store.record([replace(refused, target=f"mesh/{at}/{number}") for number in range(3)])
        if releases % 7 == 0:
            noted.append(store.checkpoint())
    return [*noted, store.checkpoint()]


def decided(store: Store, at: int, release_number: int) -> None:
    """A release that waited and was withdrawn, and a grant that was used."""
    author = Principal(account="0" * 12, kind="user", name=f"author{at}")
    waits = Pending(
        mesh="shop",
        stack="cart",
        at=at,
        expires_at=at + 1,
        kind="apply",
        plan=diff(State(), State(), "cart", "shop"),
        principal=author,
    )
    pending, _ = store.add_pending(waits, TRAIL)
    decision = Decision(
        mesh="shop",
        stack="cart",
        number=pending.number,
        verdict="withdrawn",
        principal=author.arn,
        identity=author.identity,
        at=at,
    )
    store.withdraw(decision, TRAIL)
    leave = Grant(
        mesh="shop",
        stack="cart",
        grantee="user/x",
        reason="fire",
        principal="a",
        identity="a",
        at=at,
        expires_at=at + 1,
    )
    number = store.add_grant(leave, TRAIL).number
    use = Use(number=number, principal="x", at=at, reason="fire", mesh="shop", stack="cart", release=release_number)
    revision = store.head().revision
    store.commit_all(revision, (Draft(principal="x", cause="release", at=at, use=use, trail=TRAIL),))


def draft(number: int, at: int) -> Draft:
    """A revision: mostly an object put, now and then one deleted that may not be there."""
    one = replace(node("", number), key=KEYS[number % len(KEYS)])
    gone = number % 9 == 0
    return Draft(
        puts=() if gone else (one,),
        deletes=(one.key,) if gone else (),
        principal="arn:aws:iam::000000000000:user/one",
        cause="UpdateVirtualNode",
        at=at,
        trail=TRAIL,
    )


def session(at: int) -> Session:
    """A session that nothing has forgotten yet."""
    principal = Principal(account="0" * 12, kind="role", name="deployer", session="s", claims={"sub": "a"})
    return Session(
        key_id=f"ASIA{at}", secret="s", token="t", principal=principal, created_at=at, expires_at=at + 3_600_000
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Checkpoint]]:
    """The database, folded into one file, and what was noted of it elsewhere."""
    path = tmp_path_factory.mktemp("original") / "meshwright.db"
    with closing(connect(path)) as store:
        noted = fill(store, ENTRIES)
        assert store.verify(*noted).faults == ()
    with closing(opened(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for table in TABLES:
            assert connection.execute(f"SELECT 1 FROM {table}").fetchone(), table  # noqa: S608 - our own names
    return path, noted


@pytest.mark.prove
@pytest.mark.parametrize("seed", SEEDS)
def test_every_clumsy_edit_is_found(original: tuple[Path, list[Checkpoint]], tmp_path: Path, seed: int) -> None:
    """Of whatever row of whatever table that the log vouches for, without any checkpoint."""
    rng = random.Random(seed)  # noqa: S311 - a seeded choice of edits
    for _ in range(EDITS):
        path = tmp_path / "edited.db"
        shutil.copy(original[0], path)
        done = clumsy(path, rng)
        with closing(connect(path)) as store:
            assert store.verify().faults, done


@pytest.mark.prove
@pytest.mark.parametrize("seed", SEEDS)
def test_every_thorough_forgery_is_found_by_what_was_noted_elsewhere(
    original: tuple[Path, list[Checkpoint]], tmp_path: Path, seed: int
) -> None:
    """The log alone is without a fault then; the checkpoints tell between which two of them it was rewritten."""
    rng, (first, noted) = random.Random(1_000 + seed), original  # noqa: S311 - as above
    for _ in range(EDITS):
        path = tmp_path / "forged.db"
        shutil.copy(first, path)
        done = thorough(path, rng, noted[-1].size)
        with closing(connect(path)) as store:
            told = [one.message for one in store.verify(*noted).faults]
        assert told, done
        assert [one for one in told if "earlier checkpoint" not in one] == [], done


@pytest.mark.parametrize("place", [0, 1, 17, ENTRIES // 2, ENTRIES - 1])
def test_the_first_bad_entry_is_named(original: tuple[Path, list[Checkpoint]], tmp_path: Path, place: int) -> None:
    """Edited, or gone; and of a forgery, the stretch between two checkpoints that it lies in."""
    path = tmp_path / "edited.db"
    for statement, message in (
        ("UPDATE leaves SET entry = replace(entry, '\"at\":', '\"at\":9') WHERE position = ?", "was changed"),
        ("DELETE FROM leaves WHERE position = ?", ""),
    ):
        shutil.copy(original[0], path)
        with closing(opened(path)) as connection:
            connection.execute("DROP TRIGGER leaves_keep_UPDATE")
            connection.execute("DROP TRIGGER leaves_keep_DELETE")
            connection.execute(statement, (place,))
        with closing(connect(path)) as store:
            faults = store.verify().faults
        named = [one.position for one in faults if one.position is not None and message in one.message]
        if message:
            assert min(named) == place
        else:
            told = [one.message for one in faults]
            assert any(f"leaf {place} is missing" in one or "was left with" in one for one in told)


def test_an_independent_implementation_agrees_on_the_whole_log(original: tuple[Path, list[Checkpoint]]) -> None:
    """On the root after every noted size, and on proofs of inclusion and consistency, made and checked."""
    path, noted = original
    with closing(connect(path)) as store:
        entries = [one.text.encode() for one in store.leaves(0, 100_000)]
    assert len(entries) == noted[-1].size
    leaves = [leaf_hash(one) for one in entries]
    for one in noted if len(noted) < 10 else noted[:: len(noted) // 10]:
        assert merkle.merkle_tree_hash(entries[: one.size]).hex() == one.root
    size, root = len(entries), bytes.fromhex(noted[-1].root)
    for index in (0, 1, size // 3, size - 1):
        proof = inclusion_proof(leaves, index)
        assert list(proof) == merkle.inclusion_proof(entries, index)
        assert merkle.verify_inclusion(entries[index], index, size, list(proof), root)
    old = noted[0]
    proof = consistency_proof(leaves, old.size)
    assert list(proof) == merkle.consistency_proof(entries, old.size)
    assert merkle.verify_consistency(old.size, size, list(proof), bytes.fromhex(old.root), root)


@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
def test_a_log_without_its_triggers_is_not_sound(
    original: tuple[Path, list[Checkpoint]], tmp_path: Path, verb: str
) -> None:
    """Nothing was changed yet, but nothing would keep anybody from it by mistake."""
    path = tmp_path / "open.db"
    shutil.copy(original[0], path)
    with closing(opened(path)) as connection:
        connection.execute(f"DROP TRIGGER leaves_keep_{verb}")
    with closing(connect(path)) as store:
        (fault,) = store.verify().faults
    assert f"leaves_keep_{verb} is missing" in fault.message


def test_a_session_that_was_taken_away_is_told_from_one_that_was_forgotten(tmp_path: Path) -> None:
    """Old ones go when a new one is begun; by then they have ended for a day."""
    with closing(connect(tmp_path / "meshwright.db")) as store:
        for at in (1_000, 200_000_000):
            store.add_session(session(at))
        assert store.session("ASIA1000") is None
        assert store.verify().faults == ()
    with closing(opened(tmp_path / "meshwright.db")) as connection:
        connection.execute("DELETE FROM sessions")
    with closing(connect(tmp_path / "meshwright.db")) as store:
        (fault,) = store.verify().faults
    assert "session ASIA200000000 is missing" in fault.message


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ("DELETE FROM identities", "the identity of job 7 is missing"),
        ("UPDATE identities SET run = 'job 8'", "the identity of job 7 is not the one that was recorded"),
        ("INSERT INTO identities VALUES (99, 'job 9')", "a row of identities (leaf 99) was never recorded"),
    ],
)
def test_an_identity_that_was_edited_is_named(tmp_path: Path, edit: str, told: str) -> None:
    """Who takes one away could have a second one given to the same run."""
    path = tmp_path / "identities.db"
    with closing(connect(path)) as store:
        given = Identity(run="job 7", subject="repo:acme/cart", claims={}, at=1)
        assert store.add_identity(given, TRAIL)
        assert not store.add_identity(given, TRAIL)
        assert store.verify().faults == ()
    with closing(opened(path)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE tbl_name = 'identities'").fetchall()
        for name in [name for name, sql in triggers if "TRIGGER" in (sql or "")]:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(edit)
    with closing(connect(path)) as store:
        assert any(told in one.message for one in store.verify().faults)
