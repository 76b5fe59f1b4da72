"""What every store promises, run on every store that there is."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshwright.audit import Checkpoint, Leaf
from meshwright.errors import RefusedError, RevisionConflictError, StorageError
from meshwright.model import State
from meshwright.release import Author, Check, Inspection, Sight, Status
from meshwright.store.contract import AccessKey, Head, Revision, Store
from meshwright.store.sqlite import connect
from settings import examples
from stored import commit_one, node, release
from strategies import states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from meshwright.release import Release

    Opener = Callable[[], Store]


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Opener]:
    """Opens the same store once more, as another process or a restart would."""
    found: list[Store] = []

    def opened() -> Store:
        found.append(connect(tmp_path / "kept" / "meshwright.db"))
        return found[-1]

    yield opened
    for store in found:
        store.close()


@pytest.fixture
def store(reopen: Opener) -> Store:
    """An empty store."""
    return reopen()


def put(store: Store, *names: str, version: int = 1) -> Revision:
    """Commit these nodes on top of what is there."""
    puts = tuple(node(name, version) for name in names)
    return commit_one(
        store, store.head().revision, puts=puts, deletes=(), principal="p", cause="CreateVirtualNode", at=7
    )


def test_an_empty_store_is_at_revision_0_and_sound(store: Store) -> None:
    """Nothing is there, and the log says so."""
    assert store.head() == Head(0, State())
    assert store.state_at(0) == State()
    assert (store.revisions(), store.keys(), store.stacks(), store.leaves()) == ((), (), (), ())
    assert store.checkpoint() == Checkpoint(0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert store.verify().faults == ()


def test_a_commit_becomes_the_next_revision_and_is_read_back_whole(store: Store, reopen: Opener) -> None:
    """By this store, and by one opened after it."""
    first = put(store, "a", "b")
    assert (first.number, first.principal, first.cause, first.at) == (1, "p", "CreateVirtualNode", 7)
    second = commit_one(
        store, 1, puts=(node("a", 2),), deletes=(node("b").key,), principal="q", cause="release shop#1", at=9
    )
    for one in (store, reopen()):
        assert one.revisions() == (first, second)
        assert one.head() == Head(2, State([node("a", 2)]))
        assert one.state_at(1) == State([node("a"), node("b")])
        assert one.author(node("b").key) == Author(principal="q", cause="release shop#1", revision=2, at=9)
        assert one.author(node("c").key) is None


def test_revisions_are_paged_from_the_oldest(store: Store) -> None:
    """`after` leaves out, `limit` bounds."""
    made = [put(store, name) for name in "abcde"]
    assert store.revisions(after=2, limit=2) == tuple(made[2:4])
    assert store.revisions(after=5) == ()


def test_a_commit_against_an_older_revision_is_refused_and_changes_nothing(store: Store) -> None:
    """Compare-and-swap; the error says what to do."""
    put(store, "a")
    before = (store.head(), store.checkpoint())
    for expected in (0, 2):
        with pytest.raises(RevisionConflictError, match=r"revision 1 is the newest.*repeat"):
            commit_one(store, expected, puts=(node("b"),), deletes=(), principal="p", cause="c", at=1)
    assert (store.head(), store.checkpoint()) == before


def test_a_commit_that_contradicts_itself_is_refused(store: Store) -> None:
    """A key twice, or a release of another revision."""
    with pytest.raises(ValueError, match="once"):
        commit_one(store, 0, puts=(node("a"),), deletes=(node("a").key,), principal="p", cause="c", at=1)
    with pytest.raises(ValueError, match="revision 5"):
        commit_one(store, 0, puts=(), deletes=(), principal="p", cause="c", at=1, release=release(1, 5))
    assert store.head().revision == 0


def test_a_revision_that_is_not_there_has_no_state(store: Store) -> None:
    """Neither one to come nor a negative one."""
    for number in (1, -1):
        with pytest.raises(RefusedError, match=rf"no revision {number}; the newest is 0"):
            store.state_at(number)


@settings(
    max_examples=examples(10), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=st.lists(states(), min_size=1, max_size=4))
def test_every_revision_of_any_history_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, history: list[State]
) -> None:
    """Whatever App Mesh accepts goes in and comes out, at each revision, before and after a restart."""
    path = tmp_path_factory.mktemp("history") / "meshwright.db"
    store = connect(path)
    before = State()
    for number, after in enumerate(history):
        puts = tuple(one for one in after if before.get(one.key) != one)
        deletes = tuple(one.key for one in before if one.key not in after)
        commit_one(store, number, puts=puts, deletes=deletes, principal="p", cause="c", at=number)
        assert store.head() == Head(number + 1, after)
        before = after
    for one in (store, connect(path)):
        assert one.head() == Head(len(history), history[-1])
        assert [one.state_at(number) for number in range(len(history) + 1)] == [State(), *history]
        assert one.verify().faults == ()
        one.close()


def listed(one: Release) -> Release:
    """A release as a list of them has it."""
    return msgspec.structs.replace(one, content=())


def test_a_release_is_stored_with_its_revision_and_listed_newest_first(store: Store, reopen: Opener) -> None:
    """Per stack and mesh, metadata unchanged; the content is with the single release."""
    made = [release(1, 1), release(1, 2, stack="web"), release(2, 3), release(1, 4, mesh="other")]
    for number, one in enumerate(made):
        commit_one(store, number, puts=(), deletes=(), principal="build", cause=one.title, at=5, release=one)
    for kept in (store, reopen()):
        assert kept.releases("shop", "cart") == (listed(made[2]), listed(made[0]))
        assert kept.releases("shop", "cart", limit=1) == (listed(made[2]),)
        assert kept.release("shop", "web", 1) == made[1]
        assert kept.release("shop", "web", 2) is None
        assert kept.stacks() == (("other", "cart"), ("shop", "cart"), ("shop", "web"))
        assert kept.stacks("shop") == (("shop", "cart"), ("shop", "web"))
    leaf = msgspec.json.decode(store.leaves(after=2, limit=1)[0].text, type=Leaf)
    assert (leaf.revision, leaf.release, leaf.principal) == (3, "shop/cart#2", "build")


def test_a_release_number_is_given_once(store: Store) -> None:
    """A second one is refused, its revision with it."""
    commit_one(store, 0, puts=(), deletes=(), principal="p", cause="c", at=1, release=release(1, 1))
    with pytest.raises(StorageError, match="Nothing was changed"):
        commit_one(store, 1, puts=(node("a"),), deletes=(), principal="p", cause="c", at=1, release=release(1, 2))
    assert store.head() == Head(1, State())
    assert store.verify().faults == ()
    put(store, "a")


def test_a_status_moves_forward_only_each_move_with_a_leaf(store: Store) -> None:
    """The same status again is nothing; a move that is not allowed, and an unknown release, are refused."""
    commit_one(store, 0, puts=(), deletes=(), principal="p", cause="c", at=1, release=release(1, 1))
    for status in (Status.PROPAGATED, Status.PROPAGATED, Status.VERIFIED, Status.ROLLED_BACK):
        store.mark("shop", "cart", 1, status, principal="server", at=2)
        found = store.release("shop", "cart", 1)
        assert found == msgspec.structs.replace(release(1, 1), status=status)
        assert store.releases("shop", "cart") == (listed(found),)
    assert store.checkpoint().size == 4
    with pytest.raises(RefusedError, match="'rolled back' and cannot become 'verified', only nothing else"):
        store.mark("shop", "cart", 1, Status.VERIFIED, principal="server", at=2)
    with pytest.raises(RefusedError, match="no release shop/cart#2"):
        store.mark("shop", "cart", 2, Status.VERIFIED, principal="server", at=2)
    assert store.checkpoint().size == 4
    assert store.verify().faults == ()


def test_a_release_that_failed_has_arrived_only_where_no_verification_said_otherwise(store: Store) -> None:
    """And only if its status is still the one that was read."""
    released(store, 1)
    store.mark("shop", "cart", 1, Status.FAILED, principal="server", at=2)
    with pytest.raises(RefusedError, match="shop/cart#1 is 'failed' by now, and not 'applied'"):
        store.mark("shop", "cart", 1, Status.PROPAGATED, principal="server", at=3, given=Status.APPLIED)
    store.mark("shop", "cart", 1, Status.PROPAGATED, principal="server", at=3, given=Status.FAILED)
    store.note_inspection("shop", "cart", 1, inspected("failed"))
    with pytest.raises(
        RefusedError, match="shop/cart#1 was judged to have failed by a verification: verify it again"
    ):
        store.mark("shop", "cart", 1, Status.PROPAGATED, principal="server", at=4, given=Status.FAILED)
    assert [one.status for one in store.releases("shop", "cart")] == [Status.FAILED]
    assert store.verify().faults == ()


def test_a_rollback_takes_back_what_came_after_in_its_own_commit(store: Store, reopen: Opener) -> None:
    """No moment between the two, in which a kill would leave a bad release counted as good."""
    for number in range(1, 5):
        commit_one(
            store, number - 1, puts=(), deletes=(), principal="p", cause="c", at=1, release=release(number, number)
        )
    store.mark("shop", "cart", 2, Status.ROLLED_BACK, principal="server", at=2)
    store.mark("shop", "cart", 3, Status.PROPAGATED, principal="server", at=2)
    before = store.checkpoint().size
    back = msgspec.structs.replace(release(5, 5), kind="rollback", restores=1)
    commit_one(store, 4, puts=(), deletes=(), principal="build", cause="rollback", at=1, release=back)
    kept = [(one.number, one.status) for one in reopen().releases("shop", "cart")]
    gone = Status.ROLLED_BACK
    assert kept == [(5, Status.APPLIED), (4, gone), (3, gone), (2, gone), (1, Status.APPLIED)]
    told = [msgspec.json.decode(one.text, type=Leaf) for one in store.leaves(after=before)]
    assert [(one.kind, one.release, one.principal) for one in told] == [
        ("revision", "shop/cart#5", "build"),
        ("status", "shop/cart#3", "build"),
        ("status", "shop/cart#4", "build"),
    ]
    assert store.verify().faults == ()


def test_a_key_of_another_process_is_seen_at_once(store: Store, reopen: Opener) -> None:
    """`trust key create` beside a running server; secrets stay out of representations and of the log."""
    keys = [AccessKey(id=f"AKIA{n}", secret=f"secret-{n}", principal=f"p{n}", created_at=n) for n in range(3)]
    other = reopen()
    for key in keys:
        other.add_key(key)
        assert store.key(key.id) == key
    assert store.keys() == tuple(keys)
    assert store.key("AKIA9") is None
    with pytest.raises(RefusedError, match="'AKIA0' is there already"):
        store.add_key(keys[0])
    assert "secret-0" not in repr(keys[0])
    assert not [entry for entry in store.leaves() if "secret-" in entry.text]
    assert store.verify().faults == ()


def test_a_setting_is_written_once(store: Store, reopen: Opener) -> None:
    """The first value holds, for every process and after a restart."""
    assert store.keep("account", "000000000000") == "000000000000"
    assert reopen().keep("account", "111111111111") == "000000000000"
    assert store.keep("region", "us-east-1") == "us-east-1"


def test_another_process_s_commit_moves_the_head(store: Store, reopen: Opener) -> None:
    """And a commit against what was the head is refused, then works on the new one."""
    other = reopen()
    put(store, "a")
    assert other.head() == store.head()
    put(other, "b")
    with pytest.raises(RevisionConflictError):
        commit_one(store, 1, puts=(), deletes=(), principal="p", cause="c", at=1)
    assert store.head() == other.head() == Head(2, State([node("a"), node("b")]))
    assert put(store, "c").number == 3
    assert other.head() == store.head()


def test_writers_in_many_threads_lose_nothing(store: Store, reopen: Opener) -> None:
    """Two stores, eight threads that repeat what was refused: every commit is there once, in one order."""
    stores = [store, reopen()]
    done: list[int] = []

    def write(writer: int) -> None:
        mine = stores[writer % 2]
        for turn in range(5):
            while True:
                head = mine.head()
                name = f"w{writer}-{turn}"
                try:
                    made = commit_one(
                        mine, head.revision, puts=(node(name),), deletes=(), principal="p", cause=name, at=1
                    )
                except RevisionConflictError:
                    continue
                done.append(made.number)
                assert mine.head().revision >= made.number
                assert node(name).key in mine.head().state
                break

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == list(range(1, 41))
    assert len(store.head().state) == 40
    assert {one.cause for one in store.revisions()} == {f"w{w}-{t}" for w in range(8) for t in range(5)}
    assert store.verify().faults == ()


def test_the_log_proves_what_an_earlier_checkpoint_saw(store: Store) -> None:
    """A checkpoint that was kept elsewhere is a beginning of the log, or it is said."""
    put(store, "a")
    earlier = store.checkpoint()
    put(store, "b")
    assert store.verify(earlier).faults == ()
    assert store.verify().checkpoint == store.checkpoint()
    assert store.leaves(after=1)[0].root == store.checkpoint().root
    (fault,) = store.verify(Checkpoint(1, "0" * 64)).faults
    assert "first 1 leaves are not those" in fault.message
    (fault,) = store.verify(Checkpoint(3, "0" * 64)).faults
    assert "has 3 leaves, the log only 2" in fault.message


def test_a_delete_of_what_is_not_there_is_recorded_all_the_same(store: Store) -> None:
    """The store keeps what it is told; whether it makes sense was judged before."""
    made = commit_one(store, 0, puts=(), deletes=(node("a").key,), principal="p", cause="c", at=1)
    assert store.author(node("a").key) == Author(principal="p", cause="c", revision=made.number, at=1)
    assert store.head() == Head(1, State())


def test_a_closed_store_says_so(store: Store) -> None:
    """Every call, and closing again is nothing."""
    store.close()
    store.close()
    for call in (store.head, store.keys, store.revisions, store.checkpoint, lambda: put(store, "a")):
        with pytest.raises(StorageError, match="was closed"):
            call()
    with pytest.raises(StorageError, match="was closed"):
        store.add_key(AccessKey(id="a", secret="b", principal="c", created_at=1))


def test_what_was_found_out_is_remembered_by_source_until_it_is_forgotten(store: Store, reopen: Opener) -> None:
    """It survives a restart, and is no revision."""
    store.remember("one", {"a": "1", "b": "2"})
    store.remember("other", {"a": "3"})
    store.remember("one", {"a": None, "b": "4", "c": "5", "never": None})
    again = reopen()
    assert dict(again.remembered("one")) == {"b": "4", "c": "5"}
    assert dict(again.remembered("other")) == {"a": "3"}
    assert again.head().revision == 0
    assert again.verify().faults == ()


def inspected(judgement: Any, at: int = 9) -> Inspection:
    """A verification that came to this."""
    sight = Sight(subject="p", outcome="passed", told="acked it", at=at)
    check = Check(
        name="proxies", by="control-plane", outcome="passed", told="1", began_at=1, ended_at=at, sights=(sight,)
    )
    return Inspection(at=at, principal="q", judgement=judgement, checks=(check,))


def test_a_verification_is_kept_with_its_leaf_and_moves_the_release(store: Store, reopen: Opener) -> None:
    """One that says nothing for sure moves nothing; what may not be moves nothing and is not kept."""
    released(store, 1)
    store.mark("shop", "cart", 1, Status.PROPAGATED, principal="server", at=8)
    told = ("inconclusive", "failed", "verified", "verified")
    for judgement in told:
        store.note_inspection("shop", "cart", 1, inspected(judgement))
    for one in (store, reopen()):
        assert [found.judgement for found in one.inspections("shop", "cart", 1)] == list(reversed(told))
        assert one.inspections("shop", "cart", 1, limit=1) == (inspected("verified"),)
        found = one.release("shop", "cart", 1)
        assert found is not None
        assert found.status is Status.VERIFIED
        assert one.verify().faults == ()
    released(store, 2)
    with pytest.raises(RefusedError, match=r"shop/cart#1 is not the newest of its stack, cart#2 is"):
        store.note_inspection("shop", "cart", 1, inspected("failed"))
    with pytest.raises(RefusedError, match=r"shop/cart#2 is 'applied' and cannot become 'verified'"):
        store.note_inspection("shop", "cart", 2, inspected("verified"))
    assert store.inspections("shop", "cart", 2) == ()


def released(store: Store, number: int) -> None:
    """Commit one more release."""
    revision = store.head().revision
    made = release(number, revision + 1)
    commit_one(store, revision, puts=(), deletes=(), principal="p", cause="r", at=7, release=made)
