"""The SQLite file: durable, private, append-only, ours alone, and usable again after a failure."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshwright.errors import StorageError
from meshwright.model import State
from meshwright.release import Status
from meshwright.store import schema
from meshwright.store.contract import AccessKey, Head
from meshwright.store.sqlite import SqliteStore, connect
from stored import commit_one, node, release

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database may be made, its folder too."""
    return tmp_path / "new" / "meshwright.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """An empty store."""
    with closing(connect(path)) as made:
        yield made


def commit(store: SqliteStore, number: int) -> None:
    """Make revision `number`."""
    commit_one(store, number - 1, puts=(node("n", number),), deletes=(), principal="p", cause="c", at=1)


def raw(path: Path, *statements: str) -> None:
    """Run SQL behind the store's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_what_is_acknowledged_is_on_disk(store: SqliteStore) -> None:
    """The settings that durability rests on, as SQLite itself tells them."""
    assert store.durability() == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 4_000,
    }


def test_nobody_waits_for_a_lock_longer_than_alone(path: Path) -> None:
    """Writers of one process wait for another's together, not one after the other; afterwards all is as ever."""
    with closing(connect(path, busy_seconds=0.5)) as store, closing(sqlite3.connect(path)) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        refused: list[str] = []

        def probe() -> None:
            try:
                store.probe()
            except StorageError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=probe) for _ in range(8)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 2.5, "eight times half a second is four"
        assert len(refused) == 8
        assert all("Another process holds it" in one for one in refused)
        other.execute("ROLLBACK")
        store.probe()
        assert store.durability()["busy_timeout"] == 500


@pytest.mark.parametrize("gone", ["meshwright.db", "meshwright.db-wal"])
def test_nothing_is_acknowledged_that_only_a_deleted_file_holds(store: SqliteStore, path: Path, gone: str) -> None:
    """It would be there until the server ends. Back in its place, the very same file is written again."""
    commit(store, 1)
    file = path.with_name(gone)
    file.rename(path.with_name("elsewhere"))
    with pytest.raises(StorageError, match="was moved, deleted or replaced"):
        commit(store, 2)
    file.write_bytes(path.with_name("elsewhere").read_bytes())
    with pytest.raises(StorageError, match="was moved, deleted or replaced"):
        commit(store, 2)
    path.with_name("elsewhere").rename(file)
    commit(store, 2)
    assert store.head().revision == 2


def test_the_files_are_their_owner_s_alone(store: SqliteStore, path: Path) -> None:
    """They hold secrets: the folder, the database and what SQLite lays beside it."""
    commit(store, 1)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()} == {
        "meshwright.db": 0o600,
        "meshwright.db-wal": 0o600,
        "meshwright.db-shm": 0o600,
    }


def test_a_copy_that_lost_its_mode_is_made_private_again(store: SqliteStore, path: Path) -> None:
    """As after a backup was put back."""
    store.close()
    path.chmod(0o644)
    connect(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE revisions SET principal = 'x'", "revisions"),
        ("DELETE FROM revisions", "revisions"),
        ("UPDATE changes SET body = NULL", "changes"),
        ("DELETE FROM changes", "changes"),
        ("UPDATE objects SET name = 'x'", "objects"),
        ("UPDATE releases SET number = 9", "releases"),
        ("DELETE FROM statuses", "statuses"),
        ("UPDATE leaves SET entry = ''", "leaves"),
        ("DELETE FROM leaves", "leaves"),
        ("UPDATE access_keys SET principal = 'administrator'", "access_keys"),
        ("UPDATE settings SET value = 'x'", "settings"),
    ],
)
def test_what_was_recorded_cannot_be_rewritten(store: SqliteStore, path: Path, statement: str, table: str) -> None:
    """Triggers refuse it, to whatever program."""
    commit_one(store, 0, puts=(node("n"),), deletes=(), principal="p", cause="c", at=1, release=release(1, 1))
    store.mark("shop", "cart", 1, Status.PROPAGATED, principal="p", at=1)
    store.add_key(AccessKey(id="a", secret="b", principal="c", created_at=1))
    store.keep("account", "000000000000")
    with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"):
        raw(path, statement)


def test_a_newer_schema_is_refused_and_left_alone(store: SqliteStore, path: Path) -> None:
    """With both versions and what to do."""
    store.close()
    raw(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StorageError, match=rf"version 99.*up to {len(schema.MIGRATIONS)}.*newer Meshwright"):
        connect(path)
    assert path.read_bytes() == before


def test_another_program_s_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """With tables of its own, or marked as somebody's."""
    for name, statement in (("tables.db", "CREATE TABLE t (x)"), ("marked.db", "PRAGMA application_id = 7")):
        path = tmp_path / name
        raw(path, statement)
        path.chmod(0o644)
        before = path.read_bytes()
        with pytest.raises(StorageError, match="another program"):
            connect(path)
        assert path.read_bytes() == before
        assert path.stat().st_mode & 0o777 == 0o644


def test_what_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    """A text, a folder, a folder that cannot be made, and nothing at all where nothing may be made."""
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to look like one to a careless reader\n" * 20)
    with pytest.raises(StorageError, match=r"notes\.txt.*not a (SQLite )?database"):
        connect(text)
    with pytest.raises(StorageError, match="is a folder"):
        connect(tmp_path)
    with pytest.raises(StorageError, match="Not a directory"):
        connect(text / "inside" / "meshwright.db")
    with pytest.raises(StorageError, match="no database"):
        connect(tmp_path / "absent.db", create=False)
    assert not (tmp_path / "absent.db").exists()


def test_a_start_that_was_cut_off_is_completed_by_the_next(path: Path) -> None:
    """The file was made, and nothing in it."""
    path.parent.mkdir()
    path.touch(0o600)
    with closing(connect(path)) as store:
        commit(store, 1)
        assert store.head().revision == 1


def test_a_migration_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """One that fails leaves the version before it."""
    with closing(sqlite3.connect(tmp_path / "half.db", isolation_level=None)) as connection:
        schema.migrate(connection)
        before = connection.execute("SELECT * FROM sqlite_schema ORDER BY name").fetchall()
        connection.execute("PRAGMA user_version = 0")
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            schema.migrate(connection)
        assert not connection.in_transaction
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)
        assert connection.execute("SELECT * FROM sqlite_schema ORDER BY name").fetchall() == before


def test_many_may_open_a_new_database_at_once(path: Path) -> None:
    """One of them makes it, all of them use it."""
    found: list[SqliteStore] = []
    gate = threading.Barrier(6)

    def opened() -> None:
        gate.wait()
        found.append(connect(path))

    threads = [threading.Thread(target=opened) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 6
    commit(found[0], 1)
    assert {one.head().revision for one in found} == {1}
    for one in found:
        one.close()


def test_readers_do_not_wait_for_a_writer(store: SqliteStore, path: Path) -> None:
    """Another process is in the middle of a write: what was committed is read at once."""
    commit(store, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO settings VALUES ('a', 'b')")
        assert store.head().revision == 1
        assert store.state_at(1) == State([node("n")])
        assert store.key("x") is None
        assert store.verify().faults == ()
        other.execute("ROLLBACK")


def test_a_long_log_is_folded_into_the_database(path: Path) -> None:
    """So that it does not grow without end; what was committed stays, readers or none."""
    with closing(connect(path, fold_bytes=200_000)) as store:
        sizes = []
        for number in range(1, 80):
            commit(store, number)
            sizes.append(path.with_name("meshwright.db-wal").stat().st_size)
        assert max(sizes) < 300_000
        assert sizes.count(0) >= 2
        assert store.head() == Head(79, State([node("n", 79)]))
        assert store.state_at(40) == State([node("n", 40)])
        assert store.verify().faults == ()


def test_a_running_store_is_copied_whole(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """As docs/backups.md says: the copy has what only the log file held, is sound, and goes on by itself."""
    commit(store, 1)
    commit(store, 2)
    kept = store.checkpoint()
    into = tmp_path / "backup.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("VACUUM INTO ?", (str(into),))
    commit(store, 3)
    with closing(connect(into)) as copy:
        assert copy.head() == Head(2, State([node("n", 2)]))
        assert copy.verify(kept).faults == ()
        commit(copy, 3)
        assert copy.head().revision == 3


def test_an_object_that_cannot_be_read_is_named(store: SqliteStore, path: Path) -> None:
    """After an edit by hand, on the next start."""
    commit(store, 1)
    store.close()
    raw(path, "DROP TRIGGER changes_keep_UPDATE", """UPDATE changes SET body = '{"spec": {"listener": []}}'""")
    with (
        pytest.raises(StorageError, match=r"mesh/shop/virtualNode/n.*unknown field"),
        closing(connect(path)) as again,
    ):
        again.head()


_DISK_FULL = """
import resource, sys
from meshwright.errors import StorageError
from meshwright.store.sqlite import connect
from stored import commit_one, node

store = connect(sys.argv[1], fold_bytes=int(sys.argv[2]))

def commit(size=1):
    head = store.head()
    puts = tuple(node(f"n{number}", head.revision + 1) for number in range(size))
    return commit_one(store, head.revision, puts=puts, deletes=(), principal="p", cause="c", at=1)

_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
refused = 0
for round in range(3):
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000 * (round + 1), hard))
    try:
        while True:
            head = store.head()
            commit(20)
    except StorageError as error:
        assert "Nothing was changed" in str(error), error
        refused += 1
    assert store.head() == head, "half a commit in memory"
    assert store.state_at(head.revision) == head.state
    assert not store.verify().faults
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert commit().number == head.revision + 1
assert refused == 3
assert not store.verify().faults
print(store.head().revision)
store.close()
"""


@pytest.mark.parametrize("fold_bytes", [10**9, 100_000])
def test_a_full_disk_refuses_the_commit_and_nothing_else(path: Path, tmp_path: Path, fold_bytes: int) -> None:
    """The kernel lets no file grow, the log or what it is folded into: nothing is half there, and it works again."""
    done = subprocess.run(
        [sys.executable, "-c", _DISK_FULL, str(path), str(fold_bytes)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={"PYTHONPATH": str(__file__).rpartition("/")[0]},
    )
    assert done.returncode == 0, done.stderr
    with closing(connect(path)) as store:
        assert store.head().revision == int(done.stdout)
        assert store.verify().faults == ()


_NOT_PERMITTED = """
import os, sys
from pathlib import Path
from meshwright.errors import StorageError
from meshwright.store.sqlite import connect
from stored import commit_one, node

path = Path(sys.argv[1])
for one in (path.parent.parent, path.parent):
    os.chown(one, 65534, 65534) if os.geteuid() == 0 else None
if os.geteuid() == 0:
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)  # the administrator may write anything

def commit(store):
    number = store.head().revision
    commit_one(store, number, puts=(node("n", number),), deletes=(), principal="p", cause="c", at=1)

def permit(folder, file):
    path.parent.chmod(folder)
    for one in path.parent.iterdir():
        one.chmod(file)

store = connect(path)
commit(store)
permit(0o500, 0o400)
commit(store)  # what is open stays open
assert store.head().revision == 2
permit(0o700, 0o600)
store.close()
for folder in (0o500, 0o100):
    path.parent.chmod(folder)
    try:
        connect(path)
    except StorageError as error:
        assert str(path) in str(error) and "permissions" in str(error), error
    else:
        raise AssertionError("opened")
    path.parent.chmod(0o700)
permit(0o700, 0o400)
store = connect(path)  # it can be read
for _ in range(2):
    try:
        commit(store)
    except StorageError as error:
        assert str(path) in str(error) and "permissions" in str(error), error
    else:
        raise AssertionError("written")
    assert store.head().revision == 2
permit(0o700, 0o600)
commit(store)
assert store.head().revision == 3
assert not store.verify().faults
store.close()
"""


def test_a_folder_that_may_not_be_written_is_refused_with_what_to_do() -> None:
    """At the start, by name; a server that runs already goes on, and nothing is lost either way."""
    # Not below pytest's own folder, which nobody but its owner may enter.
    with tempfile.TemporaryDirectory() as owned:
        path = Path(owned, "data", "meshwright.db")
        path.parent.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", _NOT_PERMITTED, str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
            env={"PYTHONPATH": str(__file__).rpartition("/")[0]},
        )
        assert done.returncode == 0, done.stderr


def test_a_folder_that_may_not_be_entered_is_named(tmp_path: Path) -> None:
    """Whether the database is there cannot be known."""
    program = """
import os, sys
from meshwright.errors import StorageError
from meshwright.store.sqlite import connect

os.setgroups([]) if os.geteuid() == 0 else None
os.seteuid(65534) if os.geteuid() == 0 else None
try:
    connect(sys.argv[1])
except StorageError as error:
    assert sys.argv[1] in str(error) and "Permission denied" in str(error), error
else:
    raise AssertionError("opened")
"""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder / "meshwright.db")],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
