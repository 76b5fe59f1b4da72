"""The audit log answers who did or tried what: by build, object, principal, key and time, in pages."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command_line import Done, commands
from meshwright.audit import KINDS, Leaf, LogSearch, Touched, Trail, terms
from meshwright.cli import audit_log
from meshwright.store import reading, rows, schema
from meshwright.store.contract import AccessKey
from meshwright.store.sqlite import connect
from serving import KEY, Serving, serving
from settings import examples
from trusting import authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MESHES = "/v20190125/meshes"
ENTRIES = "/meshwright/v1/audit/entries"
TRUST = """
version: 1
users:
  auditor: {permissions: [auditing]}
  reader: {permissions: [reading]}
policies:
  auditing: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "meshwright:ListAuditEntries", Resource: "*"}}
  reading: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "appmesh:*", Resource: "*"}}
"""
AUDITOR = AccessKey(id="AKIAAUDITOR", secret="a", principal="auditor", created_at=1)
READER = AccessKey(id="AKIAREADER", secret="r", principal="reader", created_at=1)
USER = "arn:aws:iam::000000000000:user/{}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    """A server with an auditor, and a reader who may only read the API of App Mesh."""
    decided = authority(TRUST)
    with serving(tmp_path, authority=lambda: decided) as running:
        running.store.add_key(AUDITOR)
        running.store.add_key(READER)
        yield running


@pytest.fixture
def command(
    tmp_path: Path, server: Serving, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """The command line against it."""
    return commands(tmp_path / "project", server, monkeypatch, capsys, {})


def put(server: Serving, target: str, body: object, key: AccessKey = KEY) -> Any:
    """A signed PUT."""
    return server.ask("PUT", target, json.dumps(body).encode(), key=key)


def ask(server: Serving, query: str = "", key: AccessKey = AUDITOR) -> Any:
    """What the endpoint answers."""
    answer = server.ask("GET", f"{ENTRIES}{query}", key=key)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def test_whoever_may_finds_what_was_done_and_what_was_refused(server: Serving, command: Callable[..., Done]) -> None:
    """Over the API as on the command line, from the server as from its folder."""
    put(server, MESHES, {"meshName": "shop"})
    put(server, f"{MESHES}/shop", {"spec": {"egressFilter": {"type": "ALLOW_ALL"}}})
    put(server, MESHES, {"meshName": "shopping"})
    assert put(server, MESHES, {"meshName": "evil"}, READER).status == 403
    found: Any = {"entries": []}
    while not found["entries"]:
        found = ask(server, "?outcome=refused")
    (refused,) = found["entries"]
    assert (refused["leaf"]["target"], refused["leaf"]["principal"]) == ("mesh/evil", USER.format("reader"))
    by_object = ask(server, "?object=mesh/shop")["entries"]
    assert [one["leaf"]["cause"] for one in by_object] == ["UpdateMesh", "CreateMesh"]
    arn = "arn:aws:appmesh:us-east-1:000000000000:mesh/shop"
    assert ask(server, f"?object={arn}")["entries"] == by_object
    assert [one["position"] for one in ask(server, "?principal=user/reader")["entries"]] == [refused["position"], 2]
    shown = command("audit", "log", "--object", "mesh/shop")
    assert shown.code == 0
    assert "~ mesh/shop (spec.egressFilter)" in shown.out
    assert "+ mesh/shop\n" in shown.out
    offline = command("audit", "log", "--data-dir", str(server.store._database.path.parent), "--object", arn)
    assert offline.out == shown.out
    refusals = command("audit", "log", "--outcome", "refused", "--format", "json")
    assert [one["leaf"] for one in refusals.json["entries"]] == [refused["leaf"]]
    assert "AccessDenied " in command("audit", "log", "--outcome", "refused").out
    assert command("audit", "log", "--object", "mesh/none").out == "No such entries.\n"


def test_nobody_else_reads_the_log(server: Serving) -> None:
    """It tells of everybody's meshes: the permission is one of its own."""
    answer = server.ask("GET", ENTRIES, key=READER)
    assert (answer.status, answer.code) == (403, "AccessDeniedException")


def test_the_log_is_read_in_pages_that_miss_nothing(server: Serving, command: Callable[..., Done]) -> None:
    """Each begins where the one before it ended; the command reads on by itself."""
    for number in range(7):
        put(server, MESHES, {"meshName": f"m{number}"})
    pages, query = [], ""
    while True:
        page = ask(server, f"?limit=3&kind=revision{query}")
        pages.append([one["position"] for one in page["entries"]])
        if page["next"] is None:
            break
        query = f"&before={page['next']}"
    assert [len(one) for one in pages] == [3, 3, 1]
    every = [position for page in pages for position in page]
    assert every == sorted(every, reverse=True)
    shown = command("audit", "log", "--kind", "revision", "--limit", "2", "--format", "json").json
    assert [one["position"] for one in shown["entries"]] == every[:2]
    assert f"Older ones: --before {shown['next']}" in command("audit", "log", "--limit", "2").out


@pytest.mark.parametrize("search", [LogSearch(until=4, since=3), LogSearch(until=4, since=3, key="one")])
def test_a_long_log_is_looked_through_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: LogSearch
) -> None:
    """One search looks at so many entries and no more, and says where it ended."""
    monkeypatch.setattr(reading, "LOOKED_AT", 10)
    with closing(connect(tmp_path / "meshwright.db")) as store:
        by = Trail(key="one")
        store.record([attempt(at, "x", by=by, error="rare" if at == 3 else "usual") for at in range(35)])
        steps = 0
        found: tuple[Any, ...] = ()
        while not found:
            found, following = store.search_log(search, 5)
            steps += 1
            search = msgspec.structs.replace(search, before=following)
    assert steps == 4
    assert [one.position for one in found] == [3]


def attempt(at: int, principal: str = "one", **members: Any) -> Leaf:
    """A leaf."""
    return Leaf(kind="attempt", at=at, principal=principal, cause="CreateMesh", digest="00", **members)


ROLE = "arn:aws:sts::000000000000:assumed-role/{}/job"


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 3,000 entries, an hour apart, each by another build, which is a job of one of ten roles."""
    path = tmp_path_factory.mktemp("long") / "meshwright.db"
    with closing(connect(path)) as store:
        store.record(
            [
                attempt(
                    at * 3_600_000,
                    ROLE.format(f"team-{at % 10}"),
                    by=Trail(key=f"ASIA{at % 100}", verified={"build_number": str(at)}),
                    changes=(Touched(object=f"mesh/shop/virtualRouter/r{at % 30}/route/x{at % 300}"),),
                )
                for at in range(3_000)
            ]
        )
    return path


@pytest.mark.parametrize(
    ("search", "step"),
    [
        (LogSearch(build="7"), 3_000),
        (LogSearch(object="mesh/shop/virtualRouter/r7/route/x7"), 300),
        (LogSearch(object="mesh/shop/virtualRouter/r7"), 30),
        (LogSearch(principal="role/team-7"), 10),
        (LogSearch(principal=ROLE.format("team-7")), 10),
        (LogSearch(principal="role/team-7", build="7"), 3_000),
        (LogSearch(principal="user/nobody"), 0),
        (LogSearch(key="ASIA7"), 100),
        (LogSearch(since=7 * 3_600_000, until=8 * 3_600_000), 3_000),
    ],
)
def test_a_search_goes_by_an_index(long: Path, search: LogSearch, step: int) -> None:
    """SQLite says so of every statement; to find a few takes a tenth of the work that looking at each entry does."""
    asked: list[str] = []
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 100

    with closing(sqlite3.connect(long, isolation_level=None)) as connection:
        connection.set_progress_handler(count, 100)
        reading.entries(connection, LogSearch(until=-1_000_000_000), 1)
        reading.entries(connection, LogSearch(kind="grant"), 1)
        scan, steps = steps, 0
        connection.set_trace_callback(asked.append)
        found, following = reading.entries(connection, search, 1_000)
        connection.set_trace_callback(None)
        assert steps * 10 < scan or len(found) > 30
        plans = [connection.execute(f"EXPLAIN QUERY PLAN {one}").fetchall() for one in asked]
    told = {step[3] for plan in plans for step in plan}
    assert {one for one in told if not one.startswith("SEARCH ")} <= {"SCAN frontier", *CORRELATED}, told
    assert following is None
    assert [one.position for one in found] == (list(range(7, 3_000, step))[::-1] if step else [])


CORRELATED = {f"CORRELATED SCALAR SUBQUERY {number}" for number in range(1, 9)}


def test_a_log_of_an_older_version_is_indexed_when_it_is_opened(long: Path, tmp_path: Path) -> None:
    """And `audit verify` holds the index against the log."""
    path = tmp_path / "meshwright.db"
    shutil.copy(long, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TABLE terms")
        connection.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) - 1}")
    with closing(connect(path)) as store:
        assert store.verify().faults == ()
        ((entry,), following) = store.search_log(LogSearch(build="7"))
        assert (entry.position, following) == (7, None)
        for at in range(3_000, 3_300):
            store.record([attempt(at * 3_600_000, target=f"mesh/shop/virtualNode/n{at}")])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # As a server of that version leaves it that goes on after this one was there.
        late = {one for at in range(3_100, 3_300) for one in ids(connection, at)}
        connection.executemany("DELETE FROM terms WHERE id = ?", [(one,) for one in late])
    with closing(connect(path)) as store:
        assert store.verify().faults == ()
        assert [one.position for one in store.search_log(LogSearch(object="mesh/shop/virtualNode/n3250"))[0]] == [
            3_250
        ]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM terms WHERE id = (SELECT max(id) FROM terms)")
    with closing(connect(path)) as store:
        (fault,) = store.verify().faults
    assert "the index of the log is not what its leaves say" in fault.message


def ids(connection: sqlite3.Connection, position: int) -> list[int]:
    """The numbers of a leaf in the index."""
    (entry,) = connection.execute("SELECT entry FROM leaves WHERE position = ?", (position,)).fetchone()
    return [rows.term_id(one, position) for one in terms(msgspec.json.decode(entry, type=Leaf))]


NAMES = st.sampled_from(["a", "ab", 'q"uote', "ü", "a/b", "1", "12"])
PATHS = NAMES.map("mesh/{}".format) | st.tuples(NAMES, NAMES).map(lambda two: "mesh/{}/route/{}".format(*two))
LEAVES = st.builds(
    Leaf,
    kind=st.sampled_from(["revision", "attempt", "session"]),
    at=st.integers(0, 9),
    principal=NAMES.map("arn:aws:iam::0:user/{}".format)
    | st.tuples(NAMES, NAMES).map(lambda two: "arn:aws:sts::0:assumed-role/{}/{}".format(*two))
    | NAMES
    | st.sampled_from(["user/a", "role/a", "control-plane"]),
    cause=st.just("x"),
    digest=st.just("0"),
    by=st.none() | st.builds(Trail, key=NAMES, verified=st.fixed_dictionaries({}, optional={"build_number": NAMES})),
    claimed=st.fixed_dictionaries({}, optional={"build_number": NAMES}),
    changes=st.lists(st.builds(Touched, object=PATHS), max_size=2).map(tuple),
    objects=st.lists(PATHS, max_size=2).map(tuple),
    target=st.none() | PATHS | st.sampled_from(["/v20190125/meshes", "mesh", "", "a//b"]),
    outcome=st.none() | st.sampled_from(["refused", "allowed"]),
    key=st.none() | NAMES,
    subject=st.none() | NAMES.map("key:{}".format),
    release=st.none() | NAMES,
)
SEARCHES = st.builds(
    LogSearch,
    kind=st.none() | st.sampled_from(["revision", "attempt"]),
    outcome=st.none() | st.sampled_from(["refused", "allowed"]),
    principal=st.none()
    | NAMES.map("user/{}".format)
    | NAMES.map("role/{}".format)
    | NAMES
    | NAMES.map("arn:aws:iam::0:user/{}".format)
    | st.tuples(NAMES, NAMES).map(lambda two: "arn:aws:sts::0:assumed-role/{}/{}".format(*two)),
    key=st.none() | NAMES,
    build=st.none() | NAMES,
    object=st.none() | PATHS | st.sampled_from(["mesh", "mesh/a/route", "/v20190125", "a", "a/"]),
    release=st.none() | NAMES,
    since=st.none() | st.integers(0, 9),
    until=st.none() | st.integers(0, 9),
)


@settings(max_examples=examples(60))
@given(st.lists(LEAVES, max_size=12), SEARCHES)
def test_a_search_finds_what_meets_it_and_nothing_else(leaves: list[Leaf], search: LogSearch) -> None:
    """By whatever terms it is looked up, none is lost."""
    with tempfile.TemporaryDirectory() as folder, closing(connect(Path(folder) / "meshwright.db")) as store:
        store.record(leaves)
        found, following = store.search_log(search, 1000)
        assert following is None
        assert [one.position for one in found] == [
            place for place in reversed(range(len(leaves))) if search.meets(leaves[place])
        ]


def test_conditions_mean_what_they_say() -> None:
    """Names are whole, verified beats claimed, and what is in an object counts."""
    role = "arn:aws:sts::000000000000:assumed-role/deployer/build-7"
    told = attempt(
        5,
        role,
        by=Trail(key="ASIAX", verified={"build_number": "7"}),
        claimed={"build_number": "8"},
        target="mesh/shop/virtualNode/cart",
    )
    meant = ["role/deployer", role], ["role/deploy", "user/deployer", "deployer", "role/build-7"]
    for condition in meant[0]:
        assert LogSearch(principal=condition).meets(told), condition
    for condition in meant[1]:
        assert not LogSearch(principal=condition).meets(told), condition
    assert LogSearch(build="7").meets(told)
    assert not LogSearch(build="8").meets(told)
    assert LogSearch(build="8").meets(msgspec.structs.replace(told, by=None))
    assert LogSearch(object="mesh/shop").meets(told)
    assert not LogSearch(object="mesh/sho").meets(told)
    assert LogSearch(since=5, until=6).meets(told)
    assert not LogSearch(until=5).meets(told)


def test_the_command_knows_every_kind_of_entry() -> None:
    """Without importing them for its help."""
    assert audit_log.KINDS == KINDS


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?kind=nonsense", "kind takes one of revision"),
        ("?outcome=maybe", "outcome takes allowed or refused"),
        ("?limit=1001", "limit takes a number from 1 to 1000"),
        ("?before=0", "before takes a number"),
        ("?since=yesterday", "since takes a number"),
        ("?principle=x", "Did you mean"),
        ("?object=arn:aws:s3:::bucket", "object:"),
        ("?build=", "build takes 1 to 512 characters"),
    ],
)
def test_a_condition_that_is_not_understood_is_refused(server: Serving, query: str, message: str) -> None:
    """The answer would look as if it met it."""
    answer = server.ask("GET", ENTRIES + query, key=AUDITOR)
    assert answer.code == "BadRequestException"
    assert message.lower() in answer.message.lower()
