"""Kill -9 and a log cut off anywhere: no acknowledged revision is missing, none is half there.

A few rounds by default, many with MESHWRIGHT_PROVE=1.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from meshwright.model import Key, Kind, State
from meshwright.release import Status
from meshwright.store.contract import Head, Revision
from meshwright.store.sqlite import SqliteStore, connect
from settings import PROVE
from stored import node, release

pytestmark = pytest.mark.timeout(1200)
ROUNDS = 60 if PROVE else 3
CUTS = 600 if PROVE else 25

_WRITER = """
import sys
from meshwright.store.sqlite import connect
from test_store_crash import commit

store = connect(sys.argv[1], fold_bytes=int(sys.argv[2]))
while True:
    print(commit(store).number, flush=True)
"""


def commit(store: SqliteStore) -> Revision:
    """The next revision of a history in which every revision says what it must hold."""
    number = store.head().revision + 1
    return store.commit(
        number - 1,
        puts=tuple(node(f"n{(number + step) % 9}", number) for step in range(1 + number % 5)),
        deletes=(Key("shop", Kind.VIRTUAL_NODE, f"n{(number + 7) % 9}"),),
        principal=f"p{number}",
        cause=f"c{number}",
        at=number,
        release=release((number + 1) // 2, number, stack="odd") if number % 2 else None,
    )


def expected(number: int, before: State) -> State:
    """What revision `number` leaves of the state before it."""
    puts = (node(f"n{(number + step) % 9}", number) for step in range(1 + number % 5))
    return before.drop(Key("shop", Kind.VIRTUAL_NODE, f"n{(number + 7) % 9}")).put(*puts)


def assert_whole(store: SqliteStore, states: dict[int, State]) -> int:
    """The store is at some revision of the history and holds all of it; which one it is."""
    newest = store.head().revision
    for number in range(1, newest + 1):
        if number not in states:
            states[number] = expected(number, states[number - 1])
    assert store.head() == Head(newest, states[newest])
    assert store.state_at(newest // 2) == states[newest // 2]
    assert store.verify().faults == ()
    assert store.checkpoint().size == newest
    assert [one.cause for one in store.revisions(limit=newest)] == [f"c{number}" for number in range(1, newest + 1)]
    assert len(store.releases("shop", "odd", limit=newest + 1)) == (newest + 1) // 2
    return newest


def killed(path: Path, fold_bytes: int, seconds: float) -> list[int]:
    """Let a process commit for some time after its first acknowledgement, kill it, and say what it acknowledged."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(fold_bytes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        first = writer.stdout.readline()
        timer = threading.Timer(seconds, writer.kill)
        timer.start()
        told = [first, *writer.stdout]
        timer.join()
        errors = writer.stderr.read()
    assert writer.returncode == -signal.SIGKILL, errors
    return [int(line) for line in told if line.endswith("\n")]


@pytest.mark.parametrize("fold_bytes", [10**9, 250_000])
def test_killing_the_writer_loses_nothing_that_it_acknowledged(tmp_path: Path, fold_bytes: int) -> None:
    """Again and again on one database, with a log that is folded often and with one that never is."""
    chance = random.Random(fold_bytes)  # noqa: S311 - moments to kill at, no secrets
    path = tmp_path / "meshwright.db"
    states = {0: State()}
    before = 0
    for _ in range(ROUNDS):
        acknowledged = killed(path, fold_bytes, chance.uniform(0.0, 0.25))
        assert acknowledged == list(range(before + 1, before + 1 + len(acknowledged)))
        for cut in range(4 if fold_bytes == 10**9 else 0):
            assert opened_copy(path, tmp_path / f"cut{cut}", chance, states) <= acknowledged[-1] + 1
        with closing(connect(path, fold_bytes=fold_bytes)) as store:
            before = assert_whole(store, states)
            # One more may be there: committed, and killed before it could say so.
            assert acknowledged[-1] <= before <= acknowledged[-1] + 1
        if before > 1500:
            path.unlink()
            states, before = {0: State()}, 0


def opened_copy(path: Path, folder: Path, chance: random.Random, states: dict[int, State]) -> int:
    """Copy the database with its log cut off somewhere and perhaps garbage after that; which revision it opens to."""
    folder.mkdir(exist_ok=True)
    copy = folder / "meshwright.db"
    shutil.copyfile(path, copy)
    log = path.with_name("meshwright.db-wal").read_bytes()
    cut = log[: chance.randint(0, len(log))]
    tail = chance.choice([b"", chance.randbytes(chance.randint(1, 9000)), bytes(chance.randint(1, 9000)), log[:5000]])
    copy.with_name("meshwright.db-wal").write_bytes(cut + tail)
    with closing(connect(copy)) as store:
        newest = assert_whole(store, states)
        # And it goes on from there.
        assert commit(store).number == newest + 1
        assert store.verify().faults == ()
    shutil.rmtree(folder)
    return newest


@pytest.mark.parametrize("fold_bytes", [10**9, 400_000])
def test_a_log_cut_off_anywhere_opens_to_a_committed_prefix(tmp_path: Path, fold_bytes: int) -> None:
    """At any byte, with garbage, zeros or an older log's bytes after it, folded before or not."""
    chance = random.Random(fold_bytes)  # noqa: S311 - places to cut at, no secrets
    path = tmp_path / "live" / "meshwright.db"
    states = {0: State()}
    with closing(connect(path, fold_bytes=fold_bytes)) as store:
        for _ in range(60):
            commit(store)
        found = {opened_copy(path, tmp_path / "copy", chance, states) for _ in range(CUTS)}
        assert assert_whole(store, states) == 60
    assert len(found) > 5
    assert max(found) <= 60
    if fold_bytes < 10**9:
        assert min(found) > 0  # what was folded is in the database, whatever becomes of the log


def test_a_status_that_was_acknowledged_survives_a_cut_after_it(tmp_path: Path) -> None:
    """Moves of a status are as durable as commits: the log as it was at the acknowledgement is enough."""
    path = tmp_path / "live" / "meshwright.db"
    with closing(connect(path)) as store:
        commit(store)
        store.mark("shop", "odd", 1, Status.PROPAGATED, principal="server", at=2)
        copy = tmp_path / "copy"
        shutil.copytree(path.parent, copy)
    (copy / "meshwright.db-shm").unlink()
    with closing(connect(copy / "meshwright.db")) as store:
        (found,) = store.releases("shop", "odd")
        assert found.status is Status.PROPAGATED
        assert store.verify().faults == ()
