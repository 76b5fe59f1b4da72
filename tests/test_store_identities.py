"""Sessions, revocations and kept answers: durable, audited where it matters, cheap to ask for."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from meshwright.audit import Leaf
from meshwright.errors import RefusedError, StorageError
from meshwright.model import State
from meshwright.store import schema
from meshwright.store.appending import ANSWERS_KEPT
from meshwright.store.contract import AccessKey, Answered, Draft, Head, Revocation, Session
from meshwright.store.identities import SESSIONS_KEPT
from meshwright.store.sqlite import SqliteStore, connect
from meshwright.trust.principals import Ancestor, Principal
from stored import node, release

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 24 * 3600 * 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "meshwright.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """An empty store."""
    with closing(connect(path)) as made:
        yield made


@pytest.fixture
def other(path: Path, store: SqliteStore) -> Iterator[SqliteStore]:
    """The same database, as another process has it."""
    del store
    with closing(connect(path)) as made:
        yield made


def session(name: str, at: int = 1000, role: str = "deployer", **members: object) -> Session:
    """An hour of a role."""
    principal = Principal(
        account="111111111111",
        kind="role",
        name=role,
        session=name,
        key_id=f"ASIA{name}",
        tags={"team": "cart", "ü": "ñ"},
        issuer="github",
        claims={"sub": "repo:acme/cart", "ref": ["a", 1, None, 1.5]},
        policies=('{"Version":"2012-10-17","Statement":[]}',),
        issued_at=at,
        expires_at=at + 3_600_000,
    )
    return Session(
        key_id=f"ASIA{name}",
        secret=f"secret-{name}",
        token=f"token-{name}",
        principal=msgspec.structs.replace(principal, **members),
        created_at=at,
        expires_at=at + 3_600_000,
    )


def answered(token: str, at: int = 0, body: str = "{}") -> Answered:
    """What was answered."""
    return Answered(scope="111111111111", token=token, digest="d" * 64, status=200, body=body, at=at)


def commit(store: SqliteStore, at: int, *answers: Answered) -> None:
    """A revision for each answer, or one without."""
    drafts = tuple(Draft(principal="p", cause="c", at=at, answered=one) for one in answers or (None,))
    store.commit_all(store.head().revision, drafts)


def test_a_session_is_read_back_whole_by_every_process_and_its_secrets_stay_out_of_the_log(
    store: SqliteStore, other: SqliteStore, path: Path
) -> None:
    """Before and after a restart."""
    one = session("X")
    assert store.session("ASIAX") is None
    other.add_session(one)
    for kept in (store, other):
        assert kept.session("ASIAX") == one
        assert kept.session("ASIAX") == one
        assert not kept.revoked(one)
    with closing(connect(path)) as again:
        assert again.session("ASIAX") == one
    with pytest.raises(RefusedError, match="'ASIAX' is there already"):
        store.add_session(one)
    (leaf,) = (msgspec.json.decode(entry.text, type=Leaf) for entry in store.leaves())
    assert (leaf.kind, leaf.principal, leaf.key, leaf.at, leaf.expires) == (
        "session",
        "arn:aws:sts::111111111111:assumed-role/deployer/X",
        "ASIAX",
        1000,
        3_601_000,
    )
    assert not [entry for entry in store.leaves() if "secret-" in entry.text or "token-" in entry.text]
    assert "secret" not in repr(one)
    assert "token" not in repr(one)
    assert store.verify().faults == ()


def test_sessions_are_paged_in_the_order_of_their_ids(store: SqliteStore) -> None:
    """Whatever is forgotten meanwhile, no page has one twice."""
    made = {name: session(name) for name in "CABED"}
    for one in made.values():
        store.add_session(one)
    assert store.sessions(limit=2) == (made["A"], made["B"])
    assert store.sessions(after="ASIAB", limit=9) == (made["C"], made["D"], made["E"])
    assert store.sessions(after="ASIAE") == ()


def test_a_session_is_forgotten_a_day_after_its_end_and_the_log_stays_sound(
    store: SqliteStore, other: SqliteStore, path: Path
) -> None:
    """Until then an expired one can be told from one that never was."""
    old = session("OLD", 1000)
    store.add_session(old)
    store.add_session(session("LATER", old.expires_at + SESSIONS_KEPT))
    assert other.session("ASIAOLD") == old
    store.add_session(session("MUCHLATER", old.expires_at + SESSIONS_KEPT + 1))
    assert [one.key_id for one in store.sessions()] == ["ASIALATER", "ASIAMUCHLATER"]
    with closing(connect(path)) as again:
        assert again.session("ASIAOLD") is None
    assert store.checkpoint().size == 3
    assert store.verify().faults == ()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sessions SET expires_at = 9",
        "UPDATE sessions SET principal = '{}'",
        "UPDATE revocations SET at = 0",
        "DELETE FROM revocations",
    ],
)
def test_what_decides_who_may_sign_is_never_changed(store: SqliteStore, path: Path, statement: str) -> None:
    """A session may only go, which helps nobody to sign; a revocation stays."""
    store.add_session(session("X"))
    store.revoke("session:ASIAX", 2000, "admin")
    with (
        closing(sqlite3.connect(path)) as connection,
        pytest.raises(sqlite3.IntegrityError, match=r"never changed|append-only"),
    ):
        connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE sessions SET expires_at = expires_at + 1", "session ASIAX: expires is 3601001"),
        ("UPDATE sessions SET principal = replace(principal, 'deployer', 'root')", "session ASIAX is not the one"),
        ("UPDATE sessions SET secret = 'mine'", "session ASIAX is not the one that was begun"),
        ("UPDATE sessions SET token = 'mine'", "session ASIAX is not the one that was begun"),
        ("UPDATE sessions SET id = 'ASIAY'", "session ASIAX: id is 'ASIAY', recorded was 'ASIAX'"),
        (
            "INSERT INTO sessions SELECT 'ASIAZ', 0, secret, token, principal, 1, 2 FROM sessions",
            "(leaf 0) was never",
        ),
        ("DELETE FROM revocations", "the revocation of session:ASIAX is missing"),
        ("UPDATE revocations SET at = 1", "the revocation of session:ASIAX is not the one"),
        ("UPDATE revocations SET subject = 'role:x'", "the revocation of session:ASIAX is not the one"),
    ],
)
def test_whoever_edits_a_session_or_a_revocation_is_found_out(path: Path, statement: str, message: str) -> None:
    """A session that was made up, prolonged or raised in rank, and a revocation that was taken back."""
    with closing(connect(path)) as store:
        store.add_key(AccessKey(id="AKIA", secret="s", principal="p", created_at=1))
        store.add_session(session("X"))
        store.revoke("session:ASIAX", 2000, "admin")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
    with closing(connect(path)) as store:
        assert any(message in fault.message for fault in store.verify().faults), store.verify().faults


def test_a_key_and_a_session_are_revoked_at_once_for_every_process_and_for_good(
    store: SqliteStore, other: SqliteStore, path: Path
) -> None:
    """Once more changes nothing, and what is not there cannot be revoked."""
    key = AccessKey(id="AKIAX", secret="s", principal="writer", created_at=1)
    store.add_key(key)
    store.add_session(session("X"))
    store.add_session(session("Y"))
    assert not any(one.revoked(found) for one in (store, other) for found in (key, session("X"), session("Y")))
    other.revoke("key:AKIAX", 2000, "admin")
    assert store.revoked(key)
    store.revoke("session:ASIAX", 2001, "admin")
    store.revoke("session:ASIAX", 2002, "somebody")
    with closing(connect(path)) as again:
        for kept in (store, other, again):
            assert kept.revoked(key)
            assert kept.revoked(session("X"))
            assert not kept.revoked(session("Y"))
            assert kept.key("AKIAX") == key
    assert store.revocations() == (
        Revocation(subject="key:AKIAX", at=2000, principal="admin"),
        Revocation(subject="session:ASIAX", at=2001, principal="admin"),
    )
    for subject, message in (
        ("key:AKIAY", "no access key 'AKIAY'"),
        ("session:ASIAZ", "no session 'ASIAZ'"),
        ("user:writer", "'user:writer' cannot be revoked"),
        ("role:", "'role:' cannot be revoked"),
        ("AKIAX", "'AKIAX' cannot be revoked"),
    ):
        with pytest.raises(RefusedError, match=message):
            store.revoke(subject, 3000, "admin")
    leaves = [msgspec.json.decode(entry.text, type=Leaf) for entry in store.leaves(after=3)]
    assert [(leaf.kind, leaf.subject, leaf.principal) for leaf in leaves] == [
        ("revocation", "key:AKIAX", "admin"),
        ("revocation", "session:ASIAX", "admin"),
    ]
    assert store.verify().faults == ()


def test_a_role_s_sessions_are_revoked_up_to_a_moment(store: SqliteStore, other: SqliteStore) -> None:
    """Those issued later work, until it is said again; an earlier moment takes nothing back."""
    early, late = session("EARLY", 1000), session("LATE", 3000)
    other_role = session("OTHER", 1000, role="reader")
    store.revoke("role:deployer", 2000, "admin")
    for kept in (store, other):
        assert [kept.revoked(one) for one in (early, late, other_role)] == [True, False, False]
        assert kept.revoked(session("SAME", 2000))
    store.revoke("role:deployer", 1500, "admin")
    assert len(store.revocations()) == 1
    other.revoke("role:deployer", 3000, "admin")
    for kept in (store, other):
        assert [kept.revoked(one) for one in (early, late, other_role)] == [True, True, False]
    assert store.verify().faults == ()


def test_what_a_session_was_obtained_with_takes_it_along(store: SqliteStore) -> None:
    """A key, a session and a role further up, and no others."""
    chain = (Ancestor("AKIAX"), Ancestor("ASIAP", "first", 500))
    one, unrelated = session("X", ancestors=chain), session("Y")
    store.add_key(AccessKey(id="AKIAX", secret="s", principal="writer", created_at=1))
    assert not store.revoked(one)
    store.revoke("role:first", 499, "admin")
    assert not store.revoked(one)
    store.revoke("role:first", 500, "admin")
    assert store.revoked(one)
    by_key = session("Z", ancestors=chain[:1])
    assert not store.revoked(by_key)
    store.revoke("key:AKIAX", 1, "admin")
    assert store.revoked(by_key)
    assert not store.revoked(unrelated)


def test_a_damaged_session_is_named(store: SqliteStore, path: Path) -> None:
    """After an edit by hand."""
    store.add_session(session("X"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TRIGGER sessions_keep_UPDATE")
        connection.execute("UPDATE sessions SET principal = '{}'")
    with pytest.raises(StorageError, match="session 'ASIAX' in a form that cannot be read"):
        store.session("ASIAX")


def test_an_answer_is_kept_with_its_revision_and_forgotten_after_a_day(
    store: SqliteStore, other: SqliteStore
) -> None:
    """As long as no newer one has its token; other accounts' tokens are others."""
    first = answered("t1", body='{"meshName":"ü"}')
    commit(store, 0, first, answered("t2"))
    assert store.head().revision == 2
    for kept in (store, other):
        assert kept.answered("111111111111", "t1") == first
        assert kept.answered("222222222222", "t1") is None
        assert kept.answered("111111111111", "t9") is None
    commit(store, ANSWERS_KEPT, answered("t3", at=ANSWERS_KEPT))
    assert store.answered("111111111111", "t1") == first
    commit(store, ANSWERS_KEPT + 60_000)
    assert [store.answered("111111111111", token) is None for token in ("t1", "t2", "t3")] == [True, True, False]
    assert store.verify().faults == ()


def test_a_commit_that_is_refused_keeps_no_answer(store: SqliteStore) -> None:
    """Neither of its own nor of the others of its batch."""
    taken = Draft(principal="p", cause="c", at=1, release=release(1, 1))
    store.commit_all(0, (taken,))
    again = Draft(principal="p", cause="c", at=1, release=release(1, 3))
    good = Draft(puts=(node("a"),), principal="p", cause="c", at=1, answered=answered("t1"))
    with pytest.raises(StorageError, match="Nothing was changed"):
        store.commit_all(1, (good, again))
    assert store.answered("111111111111", "t1") is None
    assert store.head() == Head(1, State())
    assert store.checkpoint().size == 1


def test_a_flood_of_old_answers_is_forgotten_bit_by_bit(store: SqliteStore) -> None:
    """No commit has to forget them all."""
    commit(store, 0, *(answered(f"t{number}") for number in range(1200)))
    for left in (700, 200, 0, 0):
        commit(store, DAY + 1)
        assert sum(store.answered("111111111111", f"t{number}") is not None for number in range(1200)) == left


def test_a_batch_of_hundreds_is_written_whole(store: SqliteStore, path: Path) -> None:
    """More rows than one statement takes, an object changed many times, releases and a rollback among them."""
    drafts = [
        Draft(
            puts=tuple(node(f"n{(number + step) % 50}", number) for step in range(4)),
            deletes=(node(f"n{(number + 20) % 50}").key,),
            principal=f"p{number}",
            cause=f"c{number}",
            at=number,
            release=release(number // 100, number) if number % 100 == 0 else None,
        )
        for number in range(1, 451)
    ]
    back = msgspec.structs.replace(release(5, 451), kind="rollback", restores=2)
    drafts.append(Draft(principal="p", cause="rollback", at=451, release=back))
    made = store.commit_all(0, tuple(drafts))
    assert [one.number for one in made] == list(range(1, 452))
    assert store.revisions(limit=1000) == made
    states = [State()]
    for one in made:
        states.append(states[-1].drop(*one.deletes).put(*one.puts))
    assert store.head() == Head(451, states[-1])
    assert [store.state_at(number) for number in (0, 1, 77, 300, 451)] == [
        states[number] for number in (0, 1, 77, 300, 451)
    ]
    assert [(one.number, str(one.status)) for one in store.releases("shop", "cart")] == [
        (5, "applied"),
        (4, "rolled back"),
        (3, "rolled back"),
        (2, "applied"),
        (1, "applied"),
    ]
    assert store.checkpoint().size == 453
    assert store.verify().faults == ()
    with closing(connect(path)) as again:
        assert again.head() == store.head()


def test_a_batch_leaves_the_log_that_its_revisions_would_have_left_one_by_one(
    store: SqliteStore, tmp_path: Path
) -> None:
    """Leaf by leaf and root by root."""
    drafts = tuple(
        Draft(puts=(node(f"n{number % 5}", number),), principal="p", cause=f"c{number}", at=number)
        for number in range(1, 30)
    )
    store.commit_all(0, drafts)
    with closing(connect(tmp_path / "single.db")) as single:
        for number, one in enumerate(drafts):
            single.commit_all(number, (one,))
        assert single.leaves(limit=100) == store.leaves(limit=100)
        assert single.checkpoint() == store.checkpoint()
        assert single.revisions() == store.revisions()


def test_a_database_of_the_first_version_keeps_working(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that is in it, and what it could not do before."""
    newest = len(schema.MIGRATIONS)
    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            schema.migrate(connection)
            assert connection.execute("PRAGMA user_version").fetchone() == (1,)
            for statement in _FIRST_VERSION:
                connection.execute(statement)
    with closing(connect(path)) as store:
        assert store.head() == Head(1, State([node("a")]))
        assert store.key("AKIA1") == AccessKey(id="AKIA1", secret="s", principal="p", created_at=1)
        earlier = store.checkpoint()
        assert earlier.size == 2
        store.add_session(session("X"))
        store.revoke("key:AKIA1", 5, "admin")
        commit(store, 1, answered("t"))
        assert store.head().revision == 2
        assert store.verify(earlier).faults == ()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (newest,)
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        with pytest.raises(StorageError, match=rf"version {newest}.*up to 1.*newer Meshwright"):
            connect(path)


def test_a_migration_that_was_released_is_what_it_was() -> None:
    """Databases out there were made by it."""
    text = "\n".join(one for one in schema.MIGRATIONS[0] if isinstance(one, str))
    assert (
        hashlib.sha256(text.encode()).hexdigest()
        == "b08d4281a4a28d9906ea0003a5d588975c13bce56be87ddb4a1d7acc325f72d9"
    )


_FIRST_VERSION = (
    """INSERT INTO leaves VALUES (0, '{"at":7,"cause":"c",'
    || '"digest":"50dd651b9c232fc5a7ed41c207e2c5bb175bf5a6f53265d4cd5c0b284d0120c5",'
    || '"kind":"revision","principal":"p","revision":1}',
    X'21BFDEA49A5A0391315C25AE78005CAE170DD51B66BFC3F444BA8FC9D9AC918D')""",
    """INSERT INTO leaves VALUES (1, '{"at":1,"cause":"create access key",'
    || '"digest":"9c192abd31e7a89e1b74208012e1228d24ed18af904c74f012c378291c3b3e17",'
    || '"key":"AKIA1","kind":"key","principal":"p"}',
    X'388239A13D7EFB443EE42041D09845EB32A7542A7FABA57EFB8F0B847CEC175D')""",
    "UPDATE frontier SET size = 2, hashes = X'388239A13D7EFB443EE42041D09845EB32A7542A7FABA57EFB8F0B847CEC175D'",
    "INSERT INTO access_keys VALUES (1, 'AKIA1', 's', 'p', 1)",
    "INSERT INTO revisions VALUES (1, 7, 'p', 'c', 0)",
    "INSERT INTO objects VALUES (1, 'shop', 'virtualNode', '', 'a')",
    """INSERT INTO changes VALUES (1, 1, 1,
    '{"spec":{"backends":[],"serviceDiscovery":{"dns":{"hostname":"a-1.shop.local"}}},'
    || '"tags":[{"key":"version","value":"1"}],"stack":"cart","metadata":{"uid":"uid","version":1,"created_at":1,'
    || '"last_updated_at":1,"mesh_owner":"000000000000","resource_owner":"000000000000"}}')""",
)
"""A revision and a key as the program that knew version 1 wrote them."""
