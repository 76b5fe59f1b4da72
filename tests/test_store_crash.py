"""Kill -9 and a log cut off anywhere: no acknowledged revision is missing, none is half there, and no batch either.

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
from meshwright.store.contract import Answered, Draft, Head, Revision
from meshwright.store.sqlite import SqliteStore, connect
from settings import PROVE
from stored import node, release

pytestmark = pytest.mark.timeout(1200)
ROUNDS = 60 if PROVE else 3
CUTS = 600 if PROVE else 25

_WRITER = """
import sys
from meshwright.store.sqlite import connect
from test_store_crash import commit_batch

store = connect(sys.argv[1], fold_bytes=int(sys.argv[2]))
while True:
    print(commit_batch(store, int(sys.argv[3]))[-1].number, flush=True)
"""


def commit_batch(store: SqliteStore, most: int) -> tuple[Revision, ...]:
    """The next revisions of a history in which every revision, and every batch, says what it must hold."""
    number = store.head().revision
    return store.commit_all(number, tuple(map(drafted, range(number + 1, batch_end(number, most) + 1))))


def batch_end(number: int, most: int) -> int:
    """The last revision of the batch that follows revision `number`."""
    return number + 1 + number * 13 % most


def is_whole(number: int, most: int) -> bool:
    """Whether a batch ends at this revision."""
    at = 0
    while at < number:
        at = batch_end(at, most)
    return at == number


def commit(store: SqliteStore) -> Revision:
    """The next revision of that history, alone."""
    return commit_batch(store, 1)[0]


def drafted(number: int) -> Draft:
    """What revision `number` is made of."""
    return Draft(
        puts=tuple(node(f"n{(number + step) % 9}", number) for step in range(1 + number % 5)),
        deletes=(Key("shop", Kind.VIRTUAL_NODE, f"n{(number + 7) % 9}"),),
        principal=f"p{number}",
        cause=f"c{number}",
        at=number,
        release=release((number + 1) // 2, number, stack="odd") if number % 2 else None,
        answered=Answered(scope="1", token=f"t{number}", digest="d", status=200, body=f"b{number}", at=number),
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
    answers = [store.answered("1", f"t{number}") for number in range(1, newest + 2)]
    assert [one and one.body for one in answers] == [*(f"b{number}" for number in range(1, newest + 1)), None]
    return newest


def killed(path: Path, fold_bytes: int, seconds: float, most: int) -> list[int]:
    """Let a process commit for some time after its first acknowledgement, kill it, and say what it acknowledged."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(fold_bytes), str(most)],
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


_ENOUGH = 180_000
"""Bytes of a log that hold several commits."""


@pytest.mark.parametrize(("fold_bytes", "most"), [(10**9, 1), (250_000, 1), (10**9, 9), (250_000, 9)])
def test_killing_the_writer_loses_nothing_that_it_acknowledged(tmp_path: Path, fold_bytes: int, most: int) -> None:
    """Again and again on one database, with a log that is folded often and with one that never is, batched or not."""
    chance = random.Random(fold_bytes + most)  # noqa: S311 - moments to kill at, no secrets
    path = tmp_path / "meshwright.db"
    states = {0: State()}
    before = 0
    for _ in range(ROUNDS):
        acknowledged = killed(path, fold_bytes, chance.uniform(0.0, 0.25), most)
        for one in acknowledged:
            before = batch_end(before, most)
            assert one == before
        for cut in range(4 if fold_bytes == 10**9 else 0):
            found = opened_copy(path, tmp_path / f"cut{cut}", chance, states, most)
            assert found <= batch_end(before, most)
        with closing(connect(path, fold_bytes=fold_bytes)) as store:
            # One more may be there: committed, and killed before it could say so.
            assert assert_whole(store, states) in {before, batch_end(before, most)}
            before = store.head().revision
        if before > 1500:
            path.unlink()
            states, before = {0: State()}, 0


def opened_copy(path: Path, folder: Path, chance: random.Random, states: dict[int, State], most: int) -> int:
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
        assert is_whole(newest, most), "half a batch"
        # And it goes on from there.
        assert commit(store).number == newest + 1
        assert store.verify().faults == ()
    shutil.rmtree(folder)
    return newest


@pytest.mark.parametrize(("fold_bytes", "most"), [(10**9, 1), (1_400_000, 1), (10**9, 9), (250_000, 9)])
def test_a_log_cut_off_anywhere_opens_to_a_committed_prefix(tmp_path: Path, fold_bytes: int, most: int) -> None:
    """At any byte, with garbage, zeros or an older log's bytes after it, folded before or not, batched or not."""
    chance = random.Random(fold_bytes + most)  # noqa: S311 - places to cut at, no secrets
    path = tmp_path / "live" / "meshwright.db"
    states = {0: State()}
    with closing(connect(path, fold_bytes=fold_bytes)) as store:
        log = path.with_name("meshwright.db-wal")
        # A log that was folded a moment ago has nothing to cut off.
        while store.head().revision < 60 or log.stat().st_size < _ENOUGH:
            last = commit_batch(store, most)[-1].number
        found = {opened_copy(path, tmp_path / "copy", chance, states, most) for _ in range(CUTS)}
        assert assert_whole(store, states) == last
    assert len(found) > (5 if most == 1 else 2)
    assert max(found) <= last
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
