"""Group commit: writes at once share a sync, and nobody is told anything that is not on disk."""

from __future__ import annotations

import asyncio
import sqlite3
import struct
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshwright.api import writing
from meshwright.api.writing import Writer
from meshwright.errors import (
    ConflictException,
    MeshwrightError,
    RevisionConflictError,
    StorageError,
    TooManyRequestsException,
)
from meshwright.model import Kind, State
from meshwright.store.contract import Answered, Draft, Head
from meshwright.store.sqlite import SqliteStore, connect
from processes import DEADLINE
from settings import examples
from stored import commit_one, node, release

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from meshwright.store.contract import Revision

    Decide = Callable[[Head], Draft | None]


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other things must not cut batches short."""
    monkeypatch.setattr(writing, "DECIDING_SECONDS", 10.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "meshwright.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """An empty store that waits for others a fifth of a second, not ten."""
    with closing(connect(path, busy_seconds=0.2)) as made:
        yield made


class Told:
    """What the writer tells whoever publishes."""

    def __init__(self) -> None:
        self.batches: list[tuple[Head, tuple[Draft, ...]]] = []

    def __call__(self, head: Head, drafts: tuple[Draft, ...]) -> None:
        """A batch is on disk."""
        self.batches.append((head, drafts))

    @property
    def sizes(self) -> list[int]:
        """How many drafts each batch had."""
        return [len(drafts) for _, drafts in self.batches]


@pytest.fixture
def told() -> Told:
    """Filled as the writer commits."""
    return Told()


@pytest.fixture
async def writer(store: SqliteStore, told: Told) -> AsyncIterator[Writer]:
    """A writer on the store."""
    made = Writer(store, told)
    yield made
    await made.close()


class Held:
    """The database in the middle of another process's write."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")

    def let_go(self) -> None:
        """The other process gives up."""
        self._connection.execute("ROLLBACK")
        self._connection.close()


def creates(name: str, *, token: str = "") -> Decide:
    """A node that must not be there yet."""

    def decide(head: Head) -> Draft:
        if node(name).key in head.state:
            raise ConflictException(f"{name} exists")
        return draft(name, token=token)

    return decide


def draft(*names: str, version: int = 1, token: str = "") -> Draft:
    """A revision that puts these nodes."""
    kept = Answered(scope="1", token=token, digest="d", status=200, body=names[0], at=7) if token else None
    return Draft(
        puts=tuple(node(name, version) for name in names), principal="p", cause=names[0], at=7, answered=kept
    )


async def begun(*writes: Awaitable[Revision | None]) -> list[asyncio.Task[Revision | None]]:
    """The writes as tasks that have all been asked for, in this order."""
    tasks = [asyncio.ensure_future(write) for write in writes]
    await asyncio.sleep(0)
    return tasks


async def test_a_lone_write_is_committed_at_once_and_published_before_it_is_answered(
    writer: Writer, store: SqliteStore, told: Told
) -> None:
    """It waits for nobody."""
    revision = await writer.write(creates("a"))
    assert revision is not None
    assert (revision.number, revision.puts, revision.cause) == (1, (node("a"),), "a")
    assert store.head() == Head(1, State([node("a")]))
    assert told.batches == [(store.head(), (draft("a"),))]


async def test_what_comes_while_a_batch_is_written_is_one_batch_each_write_a_revision_and_a_leaf(
    writer: Writer, store: SqliteStore, told: Told, path: Path
) -> None:
    """In the order in which it was asked for, in one transaction of the database's log."""
    held = Held(path)
    first = await begun(writer.write(creates("first")))
    rest = await begun(*(writer.write(creates(f"n{number}")) for number in range(20)))
    before = transactions(path)
    held.let_go()
    found = [one.number for one in await asyncio.gather(*first, *rest) if one is not None]
    assert found == list(range(1, 22))
    assert told.sizes == [1, 20]
    assert transactions(path) - before == 2
    assert [one.cause for one in store.revisions()] == ["first", *(f"n{number}" for number in range(20))]
    assert store.checkpoint().size == 21
    assert store.verify().faults == ()
    assert told.batches[-1][0] == store.head()


def transactions(path: Path) -> int:
    """How many transactions are in the write-ahead log: https://www.sqlite.org/fileformat2.html#walformat."""
    log = path.with_name(f"{path.name}-wal").read_bytes()
    page = struct.unpack(">I", log[8:12])[0]
    frames = (log[at : at + 24] for at in range(32, len(log), 24 + page))
    return sum(struct.unpack(">I", frame[4:8])[0] > 0 and frame[8:16] == log[16:24] for frame in frames)


async def test_each_write_is_decided_on_what_those_before_it_leave(writer: Writer, path: Path) -> None:
    """Also when that is not on disk yet."""
    held = Held(path)
    seen: list[tuple[int, int]] = []

    def counts(name: str) -> Decide:
        def decide(head: Head) -> Draft:
            seen.append((head.revision, len(head.state)))
            return draft(name)

        return decide

    tasks = await begun(*(writer.write(counts(name)) for name in "abcd"))
    held.let_go()
    await asyncio.gather(*tasks)
    assert seen == [(0, 0), (1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize("error", [ConflictException("taken"), KeyError("a bug")])
async def test_a_write_that_is_refused_touches_nobody_else(
    writer: Writer, store: SqliteStore, path: Path, error: Exception
) -> None:
    """Whatever its `decide` raises, and None is no write."""

    def raises(head: Head) -> Draft:
        raise error

    held = Held(path)
    tasks = await begun(
        writer.write(creates("a")), writer.write(raises), writer.write(lambda _: None), writer.write(creates("b"))
    )
    held.let_go()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found[1] is error
    assert found[2] is None
    assert [one.number for one in (found[0], found[3]) if not isinstance(one, BaseException) and one] == [1, 2]
    assert store.head() == Head(2, State([node("a"), node("b")]))


async def test_a_refusal_that_rested_on_what_never_got_to_the_disk_is_none(
    writer: Writer, store: SqliteStore, path: Path
) -> None:
    """The name was taken by a draft that the disk then refused."""
    held = Held(path)
    first = await begun(writer.write(creates("x")))
    tasks = await begun(writer.write(creates("a")), writer.write(creates("a")))
    with pytest.raises(StorageError, match="Nothing was changed"):
        await first[0]
    # The second batch fails as well; what was refused in it is decided once more.
    with pytest.raises(StorageError, match="Nothing was changed"):
        await tasks[0]
    held.let_go()
    assert await tasks[1] is not None
    assert store.head() == Head(1, State([node("a")]))


async def test_a_repetition_in_the_same_batch_is_decided_once_the_first_is_on_disk(
    writer: Writer, store: SqliteStore, told: Told, path: Path
) -> None:
    """A client that asks again before it was answered finds the first answer, and makes no second change."""

    def repeated(head: Head) -> Draft | None:
        found = store.answered("1", "t")
        if found is not None:
            answers.append(found.body)
            return None
        return creates("a", token="t")(head)

    def updated(head: Head) -> Draft | None:
        if store.answered("1", "u") is not None:
            answers.append("u")
            return None
        return draft("u", version=head.revision, token="u")

    answers: list[str] = []
    held = Held(path)
    tasks = await begun(writer.write(creates("first")), *(writer.write(one) for one in [repeated, updated] * 3))
    held.let_go()
    found = await asyncio.gather(*tasks)
    assert [one is None for one in found] == [False, False, False, True, True, True, True]
    assert answers == ["a", "u", "a", "u"]
    assert sum(told.sizes) == 3
    assert store.head().revision == 3


async def test_a_locked_database_fails_the_writes_of_its_batch_and_the_next_one_works(
    writer: Writer, store: SqliteStore, told: Told, path: Path
) -> None:
    """The head in memory is what is on disk, all along; no restart is needed."""
    await writer.write(creates("a"))
    for round_ in range(3):
        before = store.head()
        held = Held(path)
        tasks = await begun(*(writer.write(creates(f"r{round_}-{number}")) for number in range(5)))
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in found] == [StorageError] * 5
        assert len({id(one) for one in found}) == 5
        assert store.head() == before
        assert not await writer.works()
        held.let_go()
        made = await writer.write(creates(f"again{round_}"))
        assert made is not None
        assert made.number == before.revision + 1
        assert await writer.works()
    assert sum(told.sizes) == 4
    assert store.verify().faults == ()


async def test_whether_the_disk_can_be_written_is_tried_where_no_write_told(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for many who ask, without a revision, and again after a while."""
    monkeypatch.setattr(writing, "PROBE_SECONDS", 0.0)
    monkeypatch.setattr(writing, "FAILED_SECONDS", 0.0)
    writer = Writer(store, Told())
    before = transactions(path)
    assert all(await asyncio.gather(*(writer.works() for _ in range(50))))
    assert transactions(path) == before + 1
    held = Held(path)
    assert not await writer.works()
    held.let_go()
    assert await writer.works()
    assert store.head().revision == 0
    assert store.verify().faults == ()
    await writer.close()


async def test_what_another_process_committed_first_is_seen_and_nothing_is_lost(
    writer: Writer, store: SqliteStore, path: Path
) -> None:
    """The batch is decided anew on what the other left, in the same order."""
    seen: list[int] = []

    def counts(name: str) -> Decide:
        def decide(head: Head) -> Draft:
            seen.append(head.revision)
            if head.revision == 0:
                # Between the decision and the commit, every time until it was seen.
                with closing(connect(path)) as other:
                    commit_one(other, 0, puts=(node("other"),), deletes=(), principal="q", cause="other", at=1)
            return draft(name)

        return decide

    found = await asyncio.gather(writer.write(counts("a")), writer.write(counts("b")))
    assert [one.number for one in found if one is not None] == [2, 3]
    assert seen == [0, 1, 1, 2]
    assert [one.cause for one in store.revisions()] == ["other", "a", "b"]


async def test_a_write_that_is_always_overtaken_is_told_so(
    writer: Writer, store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its patience, with nothing changed."""
    monkeypatch.setattr(writing, "PATIENCE", 0.3)

    def overtaken(head: Head) -> Draft:
        with closing(connect(path)) as other:
            commit_one(other, head.revision, puts=(), deletes=(), principal="q", cause="other", at=1)
        return draft("a")

    with pytest.raises(RevisionConflictError, match="another writer committed"):
        await writer.write(overtaken)
    assert {one.cause for one in store.revisions()} == {"other"}


async def test_a_slow_decision_is_made_in_a_thread_first_of_its_batch_while_the_loop_goes_on(
    writer: Writer, store: SqliteStore, told: Told, path: Path
) -> None:
    """So a release finds the newest one of its stack on disk, and nobody waits for its reckoning."""
    go_on, loop = threading.Event(), asyncio.get_running_loop()
    reckoning = asyncio.Event()
    numbers: list[int] = []

    def slow(head: Head) -> Draft:
        loop.call_soon_threadsafe(reckoning.set)
        assert go_on.wait(10)
        assert store.head() == head
        newest = next(iter(store.releases("shop", "cart", 1)), None)
        numbers.append(newest.number + 1 if newest else 1)
        return Draft(principal="p", cause="r", at=1, release=release(numbers[-1], head.revision + 1))

    held = Held(path)
    tasks = await begun(
        writer.write(creates("a")),
        writer.write(slow, slow=True),
        writer.write(slow, slow=True),
        writer.write(creates("b")),
    )
    held.let_go()
    await asyncio.wait_for(reckoning.wait(), DEADLINE)
    go_on.set()
    assert [one.number for one in await asyncio.gather(*tasks) if one] == [1, 2, 3, 4]
    assert numbers == [1, 2]
    assert told.sizes[:2] == [1, 1]
    assert [one.number for one in store.releases("shop", "cart")] == [2, 1]


async def test_writes_that_nobody_can_hold_are_told_to_come_again(store: SqliteStore, path: Path) -> None:
    """The queue has an end; what is in it is served."""
    writer = Writer(store, Told(), queue=3)
    held = Held(path)
    tasks = await begun(writer.write(creates("a")))
    tasks += await begun(*(writer.write(creates(name)) for name in "bcd"))
    with pytest.raises(TooManyRequestsException, match="3 writes wait already"):
        await writer.write(creates("e"))
    held.let_go()
    assert len(await asyncio.gather(*tasks)) == 4
    assert await writer.write(creates("e")) is not None
    assert len(store.head().state) == 5
    await writer.close()


async def test_a_write_that_waited_too_long_for_its_turn_is_told_so(
    writer: Writer, store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is not to be had keeps nobody for ever."""
    monkeypatch.setattr(writing, "LONGEST_WAIT", 0.05)
    held = Held(path)
    tasks = await begun(writer.write(creates("a")))
    tasks += await begun(*(writer.write(creates(name)) for name in "bc"))
    found = await asyncio.gather(*tasks, return_exceptions=True)
    held.let_go()
    assert [type(one).__name__ for one in found] == ["StorageError", *["ServiceUnavailableException"] * 2]
    assert store.head().revision == 0


async def test_a_caller_that_goes_away_takes_nothing_along(
    writer: Writer, store: SqliteStore, told: Told, path: Path
) -> None:
    """What was not decided yet is not written; what was is written whole, and published."""
    held = Held(path)
    taken = await begun(writer.write(creates("taken")))
    waiting = await begun(writer.write(creates("waiting")), writer.write(creates("stays")))
    taken[0].cancel()
    waiting[0].cancel()
    await asyncio.wait([*taken, waiting[0]])
    held.let_go()
    revision = await waiting[1]
    assert revision is not None
    assert revision.number == 2
    assert [one.cause for one in store.revisions()] == ["taken", "stays"]
    assert told.batches[-1][0] == store.head()
    assert told.sizes == [1, 1]


async def test_a_draft_that_cannot_be_written_harms_nobody_but_itself(
    writer: Writer, store: SqliteStore, path: Path
) -> None:
    """One that contradicts itself is refused before, one that cannot be encoded gets a transaction of its own."""
    bad = Draft(puts=(node("a\ud800"),), principal="p", cause="bad", at=1)
    twice = Draft(puts=(node("t"), node("t")), principal="p", cause="twice", at=1)
    held = Held(path)
    tasks = await begun(
        writer.write(creates("a")),
        writer.write(creates("b")),
        writer.write(lambda _: bad),
        writer.write(lambda _: twice),
        writer.write(creates("c")),
    )
    held.let_go()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one).__name__ for one in found] == [
        "Revision",
        "Revision",
        "UnicodeEncodeError",
        "ValueError",
        "Revision",
    ]
    assert store.head().state == State([node("a"), node("b"), node("c")])
    assert store.verify().faults == ()


async def test_what_is_on_disk_is_told_although_publishing_it_fails(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    """And the writer goes on."""

    def broken(head: Head, drafts: tuple[Draft, ...]) -> None:
        raise KeyError("publishing")

    writer = Writer(store, broken)
    found = await asyncio.gather(writer.write(creates("a")), writer.write(creates("b")))
    assert [one.number for one in found if one] == [1, 2]
    assert await writer.write(creates("c")) is not None
    assert "writing failed, and goes on" in caplog.text
    await writer.close()


async def test_closing_commits_what_waits_and_takes_no_more(store: SqliteStore) -> None:
    """A server that stops keeps its word."""
    writer = Writer(store, Told())
    tasks = await begun(*(writer.write(creates(name)) for name in "abc"))
    await writer.close()
    assert [one.number for one in await asyncio.gather(*tasks) if one] == [1, 2, 3]
    with pytest.raises(TooManyRequestsException):
        await writer.write(creates("d"))


async def test_refusals_alone_leave_the_loop_to_others(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many of them at once, and a tick of the loop now and then."""
    monkeypatch.setattr(writing, "DECIDING_SECONDS", 0.02)

    def refused(head: Head) -> Draft:
        deadline = loop.time() + 0.002
        while loop.time() < deadline:
            pass
        raise ConflictException("no")

    loop = asyncio.get_running_loop()
    tasks = await begun(*(writer.write(refused) for _ in range(60)))
    ticks = 0
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        ticks += 1
    assert ticks >= 3
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(one) for one in found} == {ConflictException}


_ASKED = st.lists(
    st.tuples(
        st.sampled_from(["create", "update", "delete", "bug", "nothing", "slow", "gone", "other"]),
        st.sampled_from("abcde"),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=_ASKED)
def test_any_mixture_of_writes_is_some_order_of_them_one_after_the_other(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[str, str, int]]
) -> None:
    """With refusals, slow ones, callers that go away and another process that commits in between."""
    path = tmp_path_factory.mktemp("mixture") / "meshwright.db"
    with closing(connect(path)) as store, closing(connect(path)) as other:
        told = Told()
        accepted = asyncio.run(_mixture(store, other, told, asked))
        assert store.head() == other.head() == Head(store.head().revision, _replayed(store))
        numbers = [one.number for one in accepted]
        assert len(set(numbers)) == len(numbers)
        by_number = {one.number: one for one in store.revisions(limit=1000)}
        assert all(by_number[one.number] == one for one in accepted)
        assert store.checkpoint().size == len(by_number)
        assert store.verify().faults == ()


async def _mixture(
    store: SqliteStore, other: SqliteStore, told: Told, asked: list[tuple[str, str, int]]
) -> list[Revision]:
    writer = Writer(store, told, batch=7)

    async def one(what: str, name: str, pause: int) -> Revision | None:
        for _ in range(pause):
            await asyncio.sleep(0)
        if what == "other":
            put = Draft(puts=(node(name, 99),), principal="q", cause="other", at=1)
            with suppress(RevisionConflictError):
                await asyncio.to_thread(lambda: other.commit_all(other.head().revision, (put,)))
            return None
        write = writer.write(lambda head: _decided(what, name, head), slow=what == "slow")
        if what != "gone":
            return await write
        task = asyncio.ensure_future(write)
        await asyncio.sleep(0)
        task.cancel()
        return None

    found = await asyncio.gather(*(one(*each) for each in asked), return_exceptions=True)
    await writer.close()
    for (what, name, _), result in zip(asked, found, strict=True):
        if isinstance(result, BaseException):
            assert isinstance(result, MeshwrightError | KeyError), (what, name, result)
            assert what in {"create", "update", "delete", "bug"}
    return [result for result in found if result is not None and not isinstance(result, BaseException)]


def _decided(what: str, name: str, head: Head) -> Draft | None:
    there = head.state.get(node(name).key)
    if what == "bug":
        raise KeyError(name)
    if what == "nothing":
        return None
    if (what == "create") == (there is not None) and what in {"create", "update", "delete"}:
        raise ConflictException(name)
    if what == "delete":
        return Draft(deletes=(node(name).key,), principal="p", cause=what, at=1)
    return Draft(puts=(node(name, head.revision),), principal="p", cause=what, at=1)


def _replayed(store: SqliteStore) -> State:
    """Every revision one after the other, each of which made sense where it stands."""
    state = State()
    for one in store.revisions(limit=1000):
        if one.cause in {"create", "update", "delete"}:
            keys = [each.key for each in one.puts] + list(one.deletes)
            assert [key in state for key in keys] == [one.cause != "create"]
        state = state.drop(*one.deletes).put(*one.puts)
    assert len(state) == state.count(Kind.VIRTUAL_NODE)
    return state


async def test_who_prepares_for_a_commit_is_told_of_it_while_only_the_disk_is_waited_for(
    store: SqliteStore, told: Told
) -> None:
    """Of a commit that then fails, too; and that it is over is said as soon as it is."""
    foreseen: list[tuple[int, bool, int, int]] = []
    over: list[Callable[[], bool]] = []

    def prepare(head: Head, drafts: tuple[Draft, ...], wanted: Callable[[], bool]) -> None:
        foreseen.append((head.revision, node("a").key in head.state, len(drafts), len(told.batches)))
        over.append(wanted)

    writer = Writer(store, told, foreseen=prepare)
    await writer.write(creates("a"))
    with pytest.raises(ConflictException):
        await writer.write(creates("a"))
    await writer.close()
    assert foreseen == [(1, True, 1, 0)]
    assert [wanted() for wanted in over] == [False]
