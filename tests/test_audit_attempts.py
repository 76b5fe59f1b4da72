"""Every attempt of somebody known is in the audit log, refused ones too, and nobody fills the disk with them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import boto3
import grpc
import msgspec
import pytest
from botocore.exceptions import ClientError

from ads_client import AdsClient
from live import Live, live
from meshwright.api.attempts import BURST, EVERY, Attempt, Attempts
from meshwright.api.metrics import Metrics
from meshwright.audit import Leaf
from meshwright.model import Key, Kind
from meshwright.model.differing import differing
from meshwright.plan import decoded, differences
from meshwright.snapshot.resources import CLUSTER
from meshwright.store.contract import AccessKey, Session
from meshwright.store.sqlite import connect
from meshwright.trust.credentials import Credentials
from meshwright.trust.principals import Principal
from processes import until
from serving import KEY, Serving, now, serving
from trusting import authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.store.contract import Store

MESHES = "/v20190125/meshes"
RELEASES = "/meshwright/v1/meshes/shop/stacks/cart/releases"
FAULT = "/meshwright/v1/meshes/shop/extensions/fault/slow"
ALLOW = {"egressFilter": {"type": "ALLOW_ALL"}}
TRUST = """
version: 1
users:
  reader:
    permissions: [reading]
  other:
    permissions: [reading]
policies:
  reading: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "appmesh:Describe*", Resource: "*"}}
"""
READER = AccessKey(id="AKIAREADER", secret="r", principal="reader", created_at=1)
OTHER = AccessKey(id="AKIAOTHER", secret="o", principal="other", created_at=1)


def leaves(store: Store, kind: str = "") -> list[Leaf]:
    """The leaves of a kind, or all."""
    found = [msgspec.json.decode(one.text, type=Leaf) for one in store.leaves(0, 10_000)]
    return [one for one in found if kind in {"", one.kind}]


def put(server: Serving, target: str, body: object, key: AccessKey = KEY) -> Any:
    """A signed PUT."""
    return server.ask("PUT", target, json.dumps(body).encode(), key=key)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    """A server with two users who may describe and nothing else."""
    decided = authority(TRUST)
    with serving(tmp_path, authority=lambda: decided) as running:
        running.store.add_key(READER)
        running.store.add_key(OTHER)
        yield running


def attempts(server: Serving, count: int) -> list[Leaf]:
    """All attempts, once there are so many."""
    until(lambda: len(leaves(server.store, "attempt")) >= count)
    return leaves(server.store, "attempt")


def test_a_write_tells_whose_it_is_and_what_it_did_by_digests(server: Serving) -> None:
    """Credential, address and request; each object before and after, and which fields an update changed."""
    put(server, MESHES, {"meshName": "shop", "spec": ALLOW, "tags": [{"key": "a", "value": "b"}]})
    answer = put(server, f"{MESHES}/shop", {"spec": {"egressFilter": {"type": "DROP_ALL"}}})
    server.ask("DELETE", f"{MESHES}/shop")
    created, updated, deleted = leaves(server.store, "revision")
    assert updated.by is not None
    assert (updated.by.key, updated.by.source) == (KEY.id, "127.0.0.1")
    assert updated.by.request == answer.headers["x-amzn-requestid"]
    assert (updated.cause, updated.principal) == ("UpdateMesh", "arn:aws:iam::000000000000:user/administrator")
    (first,), (second,), (third,) = created.changes, updated.changes, deleted.changes
    assert {first.object, second.object, third.object} == {"mesh/shop"}
    assert first.before == third.after == ""
    assert (first.after, second.after) == (second.before, third.before)
    assert first.fields == third.fields == ()
    assert second.fields == ("spec.egressFilter.type",)
    with closing(sqlite3.connect(server.store._database.path)) as connection:
        stored = connection.execute("SELECT body FROM changes WHERE revision = 2").fetchone()[0]
    assert second.after == hashlib.sha256(stored.encode()).hexdigest()
    assert server.store.verify().faults == ()


def test_writes_of_one_transaction_follow_each_other(tmp_path: Path) -> None:
    """Whatever other process wrote in between: what was before is what the log says."""
    with serving(tmp_path) as server:
        put(server, MESHES, {"meshName": "shop"})

        def update(number: int) -> None:
            for round_ in range(10):
                kind = "ALLOW_ALL" if (number + round_) % 2 else "DROP_ALL"
                assert put(server, f"{MESHES}/shop", {"spec": {"egressFilter": {"type": kind}}}).status == 200

        threads = [threading.Thread(target=update, args=(number,)) for number in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        told = [one.changes[0] for one in leaves(server.store, "revision")]
        assert [one.before for one in told[1:]] == [one.after for one in told[:-1]]
        assert server.store.verify().faults == ()


@pytest.mark.parametrize(
    ("method", "target", "body", "error", "about"),
    [
        ("PUT", MESHES, {"meshName": "evil"}, "AccessDeniedException", "mesh/evil"),
        ("DELETE", f"{MESHES}/shop", None, "AccessDeniedException", "mesh/shop"),
        ("GET", MESHES, None, "AccessDeniedException", None),
        ("GET", "/meshwright/v1/status", None, "AccessDeniedException", "*"),
        ("POST", RELEASES, {"resources": []}, "AccessDeniedException", "mesh/shop/stack/cart"),
        ("PUT", FAULT, {"spec": {}}, "BadRequestException", "mesh/shop/meshwright/fault/slow"),
        ("PUT", f"{MESHES}/shop/nonsense", {}, "UnknownOperationException", f"PUT {MESHES}/shop/nonsense"),
        ("PUT", MESHES, {"meshName": 5}, "BadRequestException", f"PUT {MESHES}"),
    ],
)
def test_a_refusal_is_told_with_who_and_why(
    server: Serving, method: str, target: str, body: object, error: str, about: str | None
) -> None:
    """Of a write whatever the reason is; of a read where the caller may not."""
    put(server, MESHES, {"meshName": "shop"})
    raw = b"" if body is None else json.dumps(body).encode()
    answer = server.ask(method, target, raw, key=READER)
    assert answer.code == error
    (found,) = attempts(server, 1)
    assert (found.outcome, found.error) == ("refused", error)
    assert found.principal == "arn:aws:iam::000000000000:user/reader"
    assert found.by is not None
    assert (found.by.key, found.by.request) == (READER.id, answer.headers["x-amzn-requestid"])
    assert found.digest == hashlib.sha256(raw).hexdigest()
    assert found.reason
    assert answer.message.startswith(found.reason)
    assert about in {None, found.target}
    assert server.store.verify().faults == ()


def test_what_nobody_has_to_answer_for_leaves_nothing(server: Serving) -> None:
    """What was read, what is not there, and whoever is not known."""
    put(server, MESHES, {"meshName": "shop"})
    assert server.ask("GET", f"{MESHES}/shop", key=READER).status == 200
    assert server.ask("GET", f"{MESHES}/other", key=READER).status == 404
    assert server.ask("PUT", MESHES, b"{}", key=None).status == 403
    assert put(server, MESHES, {"meshName": "x"}, msgspec.structs.replace(READER, secret="no")).status == 403
    assert put(server, MESHES, {"meshName": "x"}, msgspec.structs.replace(READER, id="AKIANOBODY")).status == 403
    assert put(server, MESHES, {"meshName": "x"}, READER).status == 403
    assert [one.target for one in attempts(server, 1)] == ["mesh/x"]


def test_a_write_that_found_nothing_to_change_is_told_too(server: Serving) -> None:
    """It was allowed, and changed nothing: a repetition, or what is so already."""
    body = {"meshName": "shop", "clientToken": "once"}
    put(server, MESHES, body)
    put(server, MESHES, body)
    revocation = json.dumps({"subject": f"key:{OTHER.id}"}).encode()
    for _ in range(2):
        assert server.ask("POST", "/meshwright/v1/revocations", revocation).status == 200
    found = attempts(server, 2)
    assert [(one.cause, one.outcome, one.error) for one in found] == [
        ("CreateMesh", "allowed", None),
        ("post_revocation", "allowed", None),
    ]
    (revoked,) = leaves(server.store, "revocation")
    assert revoked.by is not None
    assert (revoked.by.key, revoked.subject) == (KEY.id, f"key:{OTHER.id}")


def test_who_may_not_become_a_role_is_told(server: Serving) -> None:
    """STS asked with a signature; who only asks who they are reads."""
    sts = boto3.session.Session().client(
        "sts",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=READER.id,
        aws_secret_access_key=READER.secret,
    )
    assert sts.get_caller_identity()["Arn"] == "arn:aws:iam::000000000000:user/reader"
    role = "arn:aws:iam::000000000000:role/deployer"
    with pytest.raises(ClientError, match="AccessDenied"):
        sts.assume_role(RoleArn=role, RoleSessionName="mine")
    (found,) = attempts(server, 1)
    assert (found.cause, found.outcome, found.error, found.target) == ("AssumeRole", "refused", "AccessDenied", role)
    assert found.reason is not None
    assert "there is no such role" in found.reason


def test_a_server_that_is_stopped_writes_down_what_it_refused_last(tmp_path: Path) -> None:
    """The answer was sent, and the leaf is there when the process has ended."""
    with live(tmp_path / "data") as running:
        with pytest.raises(ClientError, match="NotFoundException"):
            client_of(running).delete_mesh(meshName="none")
        assert running.end() == 0
    with closing(connect(tmp_path / "data" / "meshwright.db")) as store:
        (found,) = leaves(store, "attempt")
        assert (found.cause, found.error, found.target) == ("DeleteMesh", "NotFoundException", "mesh/none")
        assert store.verify().faults == ()


NODE = "arn:aws:appmesh:us-east-1:000000000000:mesh/shop/virtualNode/web"


async def test_a_proxy_that_may_not_be_a_node_is_told(tmp_path: Path) -> None:
    """Its stream is signed and refused: a read that its caller may not do."""
    trust = tmp_path / "trust.yaml"
    trust.write_text(TRUST)
    with live(tmp_path / "data", "--trust", str(trust)) as running:
        appmesh = client_of(running)
        await asyncio.to_thread(appmesh.create_mesh, meshName="shop")
        await asyncio.to_thread(appmesh.create_virtual_node, meshName="shop", virtualNodeName="web", spec={})
        with closing(connect(tmp_path / "data" / "meshwright.db")) as store:
            store.add_key(READER)
        key = Credentials(key_id=READER.id, secret=READER.secret)
        client = AdsClient(f"127.0.0.1:{running.xds}", {"id": NODE}, delta=True, only="", key=key)
        async with client:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await client.say(CLUSTER)
                await client.hear()
            assert await client.call.code() is not grpc.StatusCode.OK
        assert await asyncio.to_thread(running.end) == 0
    with closing(connect(tmp_path / "data" / "meshwright.db")) as store:
        found = leaves(store, "attempt")[0]
        assert (found.cause, found.outcome) == ("StreamAggregatedResources", "refused")
        assert (found.error, found.target) == ("AccessDeniedException", "mesh/shop/virtualNode/web")
        assert found.by is not None
        assert (found.by.key, found.by.source) == (READER.id, "127.0.0.1")
        assert store.verify().faults == ()


def client_of(running: Live) -> Any:
    """A stock client with the administrator's key."""
    return boto3.session.Session().client(
        "appmesh",
        endpoint_url=running.api,
        region_name="us-east-1",
        aws_access_key_id=running.key.id,
        aws_secret_access_key=running.key.secret,
    )


def test_a_flood_of_refusals_is_counted_and_keeps_nobody_else_out(tmp_path: Path) -> None:
    """So many leaves at once of one user and no more; the rest is one number, and all of it adds up."""
    decided, at = authority(TRUST), now()
    with serving(tmp_path, authority=lambda: decided, now=lambda: at) as server:
        server.store.add_key(READER)
        server.store.add_key(OTHER)
        for number in range(3 * BURST):
            put(server, MESHES, {"meshName": f"m{number}"}, READER)
        put(server, MESHES, {"meshName": "other"}, OTHER)
        found = attempts(server, BURST + 1)
        assert [one.target for one in found if one.left_out is None] == [
            *(f"mesh/m{number}" for number in range(BURST)),
            "mesh/other",
        ]
        assert f"attempts_left_out_total {2 * BURST}.0" in server.ask("GET", "/metrics").body.decode()
    with closing(connect(tmp_path / "meshwright.db")) as store:
        (last,) = [one for one in leaves(store, "attempt") if one.left_out]
        assert (last.left_out, last.cause, last.principal[-6:]) == (2 * BURST, "left out", "reader")
        assert store.verify().faults == ()


def test_who_was_left_out_is_told_when_there_is_room_again(tmp_path: Path) -> None:
    """With the next leaf of the same user, or by one of its own when nothing more comes."""
    clock = [1_000]
    scope: dict[str, Any] = {"method": "PUT", "path": "/", "state": {"refused": ("E", "why")}}

    async def scenario(store: Store) -> None:
        made = Attempts(store, lambda: clock[0], Metrics())

        def note(name: str) -> None:
            principal = Principal(account="0" * 12, kind="user", name=name)
            scope["state"]["attempt"] = Attempt(principal, "AKIA", "", "", b"")
            made.note(scope, 403)

        for _ in range(BURST + 5):
            note("loud")
        clock[0] += EVERY
        note("loud")
        await asyncio.to_thread(until, lambda: len(leaves(store)) > BURST)
        assert [one.left_out for one in leaves(store)] == [None] * BURST + [5]
        for _ in range(3):
            note("loud")
        clock[0] += EVERY
        await asyncio.to_thread(until, lambda: len(leaves(store)) > BURST + 1)
        assert [(one.cause, one.left_out) for one in leaves(store)[BURST + 1 :]] == [("left out", 3)]
        await made.close()

    with closing(connect(tmp_path / "meshwright.db")) as store:
        asyncio.run(asyncio.wait_for(scenario(store), 60))


def test_a_database_that_cannot_be_written_loses_none(tmp_path: Path) -> None:
    """They wait, and are written when it can be."""
    scope: dict[str, Any] = {"method": "PUT", "path": "/", "state": {"refused": ("E", "why")}}
    principal = Principal(account="0" * 12, kind="user", name="one")
    scope["state"]["attempt"] = Attempt(principal, "AKIA", "", "", b"")

    async def scenario(store: Store, lock: sqlite3.Connection) -> None:
        made = Attempts(store, now, Metrics())
        lock.execute("BEGIN IMMEDIATE")
        made.note(scope, 403)
        await asyncio.sleep(0)
        await made.close()
        assert leaves(store) == []
        lock.execute("ROLLBACK")
        await made.close()
        assert [one.kind for one in leaves(store)] == ["attempt"]

    with (
        closing(connect(tmp_path / "meshwright.db", busy_seconds=0.05)) as store,
        closing(sqlite3.connect(tmp_path / "meshwright.db", isolation_level=None)) as lock,
    ):
        asyncio.run(scenario(store, lock))


def test_a_session_tells_what_its_token_proved_and_a_write_which_build_it_is_of(server: Serving) -> None:
    """Claims once, with the session; the verified build with each write, the claimed one with a release."""
    claims = {"sub": "repo:acme/cart", "aud": ["a", "b"], "run": 7, "exp": 9, "jti": "x", "long": "y" * 1000}
    principal = Principal(
        account="000000000000",
        kind="user",
        name="administrator",
        claims=claims,
        build={"repository": "acme/cart", "build_number": "7"},
    )
    session = Session(key_id="ASIABUILD", secret="s", token="t", principal=principal, created_at=0, expires_at=2**42)
    server.store.add_session(session)
    (begun,) = leaves(server.store, "session")
    assert begun.claims == {"sub": "repo:acme/cart", "aud": '["a","b"]', "run": "7", "long": "y" * 256}
    key = AccessKey(id=session.key_id, secret=session.secret, principal="", created_at=0)
    body = {
        "resources": [{"object": "mesh/shop", "spec": {}, "tags": {}}],
        "build": {"ci": "travis", "build_number": "8"},
    }
    server_answer = server.ask(
        "POST", RELEASES, json.dumps(body).encode(), key=key, x_amz_security_token=session.token
    )
    assert server_answer.status == 201, server_answer.body
    (released,) = leaves(server.store, "revision")
    assert released.claimed == {"ci": "travis", "build_number": "8"}
    assert released.by is not None
    assert released.by.key == "ASIABUILD"
    assert released.by.verified == {"repository": "acme/cart", "build_number": "7"}


def test_the_paths_are_those_of_a_plan() -> None:
    """Told without making documents, and the same but for what is new or gone as a whole."""
    key = Key("shop", Kind.ROUTE, "r", "router")

    def route(weight: int, **more: Any) -> Any:
        targets = [{"virtualNode": "a", "weight": weight}, {"virtualNode": "b", "weight": 100 - weight}]
        spec = {"httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": targets}, **more}}
        return decoded(key, spec, {"team": str(weight)}, "cart")

    old, new = route(10), route(20)
    assert differing(old, old) == []
    assert differing(old, new) == [one.path for one in differences(old, new)]
    assert "spec.httpRoute.action.weightedTargets[0].weight" in differing(old, new)
    timeout = {"perRequest": {"unit": "s", "value": 1}}
    assert differing(old, route(10, timeout=timeout)) == ["spec.httpRoute.timeout"]
    assert differing(old, msgspec.structs.replace(old, stack="other")) == ["stack"]
