"""What the server remembers between requests never outlives what it was true of."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from typing import TYPE_CHECKING

import msgspec
import pytest

from meshwright.api.identifiers import RandomIds
from meshwright.api.turns import Turns
from meshwright.model.identity import Key, Kind
from meshwright.model.specs import TagRef
from meshwright.model.state import State
from meshwright.store import sqlite
from meshwright.store.contract import AccessKey, Session
from meshwright.trust.deeds import Deed
from meshwright.trust.principals import Principal
from serving import KEY, now, serving
from stored import commit_one, node
from trusting import WIDE, authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.store.sqlite import SqliteStore
    from serving import Serving

MESHES = "/v20190125/meshes"
NODES = f"{MESHES}/shop/virtualNodes"
BUILD = AccessKey(id="AKIABUILD", secret="build-secret", principal="build", created_at=0)


@pytest.fixture
def other(tmp_path: Path, server: Serving) -> Iterator[SqliteStore]:
    """Another process, as far as the server can tell: a store of its own on the same file."""
    del server
    with contextlib.closing(sqlite.connect(tmp_path / "meshwright.db")) as store:
        yield store


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    """A server with a mesh and a node."""
    with serving(tmp_path) as running:
        running.store.add_key(BUILD)
        for target, body in ((MESHES, {"meshName": "shop"}), (NODES, {"virtualNodeName": "cart", "spec": {}})):
            assert running.ask("PUT", target, json.dumps(body).encode()).status == 200
        yield running


def _put(store: SqliteStore, version: int, name: str = "cart", tags: tuple[TagRef, ...] = ()) -> None:
    resource = msgspec.structs.replace(node(name, version), tags=tags)
    revision = store.head().revision
    commit_one(store, revision, puts=(resource,), principal="someone", cause="test", at=now())


def _listed(server: Serving) -> list[str]:
    return [one["virtualNodeName"] for one in json.loads(server.ask("GET", NODES).body)["virtualNodes"]]


def test_a_key_that_another_process_revokes_is_refused_at_once(server: Serving, other: SqliteStore) -> None:
    """The key and its owner were in memory."""
    for _ in range(3):
        assert server.ask("GET", NODES, key=BUILD).status == 200
    other.revoke(f"key:{BUILD.id}", now(), "someone")
    assert server.ask("GET", NODES, key=BUILD).code == "UnrecognizedClientException"
    assert server.ask("GET", NODES).status == 200


def test_a_key_that_another_process_makes_works_at_once(server: Serving, other: SqliteStore) -> None:
    """It was asked for before it was there."""
    fresh = AccessKey(id="AKIAFRESH", secret="fresh-secret", principal="build", created_at=0)
    assert server.ask("GET", NODES, key=fresh).code == "UnrecognizedClientException"
    other.add_key(fresh)
    assert server.ask("GET", NODES, key=fresh).status == 200


def test_what_another_process_changes_is_described_and_listed_at_once(server: Serving, other: SqliteStore) -> None:
    """Answers and pages were in memory."""
    for version in (7, 8):
        assert server.ask("GET", f"{NODES}/cart").status == server.ask("GET", NODES).status == 200
        _put(other, version)
        assert json.loads(server.ask("GET", f"{NODES}/cart").body)["metadata"]["version"] == version
        assert json.loads(server.ask("GET", NODES).body)["virtualNodes"][0]["version"] == version
    _put(other, 1, "another")
    assert _listed(server) == ["another", "cart"]
    key = Key("shop", Kind.VIRTUAL_NODE, "cart")
    commit_one(other, other.head().revision, deletes=(key,), principal="someone", cause="test", at=now())
    assert server.ask("GET", f"{NODES}/cart").status == 404
    assert [one["virtualNodeName"] for one in json.loads(server.ask("GET", NODES).body)["virtualNodes"]] == [
        "another"
    ]


def test_a_target_is_another_with_another_query_or_method(server: Serving) -> None:
    """What a GET means is remembered by path and query; a body is no part of it and is not overlooked."""
    assert json.loads(server.ask("GET", f"{MESHES}?limit=1").body)["meshes"]
    assert server.ask("GET", f"{MESHES}?limit=0").status == 400
    assert server.ask("GET", f"{NODES}/cart").status == 200
    assert server.ask("GET", f"{NODES}/cart", b'{"nonsense": 1}').status == 400
    assert server.ask("DELETE", f"{NODES}/cart").status == 200
    assert server.ask("GET", f"{NODES}/cart").status == 404


def test_an_expired_session_is_refused_although_it_was_known(tmp_path: Path) -> None:
    """By the server's clock, which is moved."""
    late = [0]
    with serving(tmp_path, now=lambda: now() + late[0]) as running:
        principal = Principal(account="000000000000", kind="user", name="build")
        session = Session(
            key_id="ASIATEST", secret="s", token="t", principal=principal, created_at=now(), expires_at=now() + 60_000
        )
        running.store.add_session(session)
        key = AccessKey(id="ASIATEST", secret="s", principal="build", created_at=0)
        for _ in range(2):
            assert running.ask("GET", MESHES, key=key, x_amz_security_token="t").status == 200
        late[0] = 61_000
        assert running.ask("GET", MESHES, key=key, x_amz_security_token="t").code == "ExpiredTokenException"


def test_another_trust_file_counts_at_once(tmp_path: Path) -> None:
    """Decisions, and whose a key is, were in memory."""
    held = [authority(WIDE)]
    with serving(tmp_path, authority=lambda: held[0]) as running:
        running.store.add_key(BUILD)
        for _ in range(2):
            assert running.ask("GET", MESHES, key=BUILD).status == 200
        held[0] = authority(WIDE.replace("Allow", "Deny"))
        assert running.ask("GET", MESHES, key=BUILD).code == "AccessDeniedException"
        held[0] = authority(WIDE)
        assert running.ask("GET", MESHES, key=BUILD).status == 200


CONDITIONAL = """
version: 1
users: {build: {stack: "*", owns: ["mesh/**"], permissions: [some]}}
policies:
  some:
    Version: "2012-10-17"
    Statement:
      - {Effect: Allow, Action: "appmesh:Describe*", Resource: "*", Condition: {StringEquals: {"%s": "%s"}}}
"""


def test_a_changed_tag_counts_at_once(tmp_path: Path) -> None:
    """The object's tags decide, as they are now."""
    everybody = authority(CONDITIONAL % ("aws:ResourceTag/team", "cart"))
    with serving(tmp_path, authority=lambda: everybody) as running:
        running.store.add_key(BUILD)
        running.ask("PUT", MESHES, b'{"meshName": "shop"}')
        for version, team in enumerate(("cart", "pay", "cart"), 1):
            _put(running.store, version, tags=(TagRef(key="team", value=team),))
            for _ in range(2):
                answer = running.ask("GET", f"{NODES}/cart", key=BUILD)
                assert answer.status == (200 if team == "cart" else 403)


def test_a_decision_that_a_condition_key_had_a_part_in_is_made_anew() -> None:
    """The caller's address, the time, and tags are asked each time; what asks nothing is decided once."""
    deed = Deed(action="appmesh:DescribeMesh", key=Key.of_mesh("shop"), rule="read")
    decides = authority(CONDITIONAL % ("aws:SourceIp", "10.0.0.1"))
    build = decides.user("build")
    for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1"):
        judged = decides.judge(build, deed, at=0, context={"aws:SourceIp": address})
        assert judged.allowed is (address == "10.0.0.1")
    wide = authority(WIDE)
    first, second = (wide.judge(wide.user("build"), deed, at=at).decision for at in (0, 1))
    assert first is second
    assert not wide.judge(wide.user("nobody"), deed, at=0).allowed


def test_a_session_policy_is_a_part_of_what_is_remembered() -> None:
    """Two sessions of one user, one of them made narrower."""
    deed = Deed(action="appmesh:DescribeMesh", key=Key.of_mesh("shop"), rule="read")
    wide = authority(WIDE)
    narrow = '{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}'
    plain = Principal(account="000000000000", kind="user", name="build")
    narrowed = Principal(account="000000000000", kind="user", name="build", policies=(narrow,))
    for _ in range(2):
        assert wide.judge(plain, deed, at=0).allowed
        assert not wide.judge(narrowed, deed, at=0).allowed


async def test_a_moment_lasts_for_a_turn_of_the_event_loop(tmp_path: Path) -> None:
    """A task that is scheduled after a commit sees it, one that was scheduled before need not."""
    with (
        contextlib.closing(sqlite.connect(tmp_path / "db")) as store,
        contextlib.closing(sqlite.connect(tmp_path / "db")) as another,
    ):
        turns = Turns(store)
        first = turns.moment()
        assert (first.head.state, first.head.revision) == (State(), 0)
        _put(another, 1)
        assert turns.moment() is first
        seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: seen.set_result(turns.moment().head.revision))
        assert await seen == 1
        assert not first.revoked(KEY)


def test_random_ids_are_uuids_of_version_4_each_given_once() -> None:
    """Over several refills."""
    new = RandomIds()
    found = [new() for _ in range(1000)]
    assert len(set(found)) == 1000
    for one in found:
        assert str(uuid.UUID(one)) == one
        assert (uuid.UUID(one).version, uuid.UUID(one).variant) == (4, uuid.RFC_4122)
