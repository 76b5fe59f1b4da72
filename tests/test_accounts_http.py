"""Several accounts over HTTP, through our own endpoints too: each sees and changes what is its own or shared."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import pytest

from live import command, live
from meshwright.model.identity import Key, Kind
from meshwright.model.state import State
from meshwright.plan import decoded, diff
from meshwright.release import ApplyRequest
from meshwright.remote import Client, Credentials
from meshwright.store.contract import AccessKey, Session
from meshwright.trust.principals import Principal
from serving import KEY, Serving, now, serving
from trusting import authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.trust.authorization import Authority
    from serving import Answer

Wire = dict[str, Any]
HOME, OWNER, CONSUMER, STRANGER = "000000000000", "111111111111", "222222222222", "333333333333"
EVERYTHING = '[{Version: "2012-10-17", Statement: {Effect: Allow, Action: "*", Resource: "*"}}]'
TRUST = "version: 1\nroles:\n" + "".join(
    f'  of-{account}: {{account: "{account}", stack: "*", owns: ["mesh/**"], may_extend: ["mesh/**"], '
    f"permissions: {EVERYTHING}, assume: []}}\n"
    for account in (OWNER, CONSUMER, STRANGER)
)
SHARED = f'shares: [{{mesh: shop, owner: "{OWNER}", with: ["{CONSUMER}"]}}]'
OURS = "/meshwright/v1"
MESHES = "/v20190125/meshes"


class World:
    """A server with sessions of every account, and what is shared now."""

    def __init__(self, api: Serving, allowed: list[Authority]) -> None:
        self.api = api
        self._allowed = allowed
        for account in (OWNER, CONSUMER, STRANGER):
            at, key_id = now(), f"ASIA{account}"
            principal = Principal(account=account, kind="role", name=f"of-{account}", session="s", key_id=key_id)
            api.store.add_session(
                Session(
                    key_id=key_id,
                    secret="s",
                    token="t",
                    principal=principal,
                    created_at=at,
                    expires_at=at + 900_000,
                )
            )

    def unshare(self) -> None:
        """From now on nothing is shared."""
        self._allowed[0] = authority(TRUST)

    def ask(self, account: str, method: str, target: str, body: Wire | None = None) -> Answer:
        """What `account` is answered."""
        sent = b"" if body is None else json.dumps(body).encode()
        if account == HOME:
            return self.api.ask(method, target, sent, key=KEY)
        key = AccessKey(id=f"ASIA{account}", secret="s", principal="", created_at=0)
        return self.api.ask(method, target, sent, key=key, x_amz_security_token="t")

    def release(self, account: str, mesh: str, stack: str, **nodes: Wire) -> Answer:
        """What the release of a stack of virtual nodes is answered."""
        items = [
            {"object": f"mesh/{mesh}/virtualNode/{name}", "spec": spec, "tags": {"of": account}}
            for name, spec in nodes.items()
        ]
        return self.ask(account, "POST", f"{OURS}/meshes/{mesh}/stacks/{stack}/releases", {"resources": items})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """OWNER's mesh `shop`, shared with CONSUMER; HOME has one of that name that is not."""
    allowed = [authority(TRUST + SHARED)]
    with serving(tmp_path, authority=lambda: allowed[0], sharing=lambda: allowed[0].sharing) as api:
        one = World(api, allowed)
        for account in (HOME, OWNER):
            assert one.ask(account, "PUT", MESHES, {"meshName": "shop"}).status == 200
        yield one


def test_a_consumer_releases_into_a_shared_mesh_what_is_its_own(world: World) -> None:
    """The objects are its account's; the mesh of the same name is not touched."""
    answer = world.release(CONSUMER, f"shop@{OWNER}", "cart", cart={})
    assert answer.status == 201, answer.body
    described = world.ask(CONSUMER, "GET", f"{MESHES}/shop/virtualNodes/cart?meshOwner={OWNER}")
    metadata = json.loads(described.body)["metadata"]
    assert (metadata["meshOwner"], metadata["resourceOwner"]) == (OWNER, CONSUMER)
    assert metadata["arn"] == f"arn:aws:appmesh:us-east-1:{CONSUMER}:mesh/shop@{OWNER}/virtualNode/cart"
    assert world.ask(HOME, "GET", f"{MESHES}/shop/virtualNodes/cart").status == 404
    again = world.release(CONSUMER, f"shop@{OWNER}", "cart", cart={"backends": []}, other={})
    assert again.status == 201, again.body
    emptied = world.release(CONSUMER, f"shop@{OWNER}", "cart")
    assert emptied.status == 201, emptied.body
    assert json.loads(world.ask(OWNER, "GET", f"{MESHES}/shop/virtualNodes").body)["virtualNodes"] == []


def test_extensions_of_a_shared_mesh_are_its_owner_s(world: World) -> None:
    """A consumer reads them, and puts none; whom it is not shared with learns nothing."""
    place = f"{OURS}/meshes/shop@{OWNER}/extensions/zonePolicy/all"
    body = {"spec": {"preferSameZone": True}}
    assert world.ask(CONSUMER, "PUT", place, body).status == 403
    made = world.ask(OWNER, "PUT", place, body)
    assert made.status == 201, made.body
    assert json.loads(made.body)["metadata"]["mesh_owner"] == OWNER
    assert world.ask(CONSUMER, "GET", place).status == 200
    assert world.ask(CONSUMER, "PUT", place, {"spec": {"preferSameZone": False}}).status == 403
    assert world.ask(HOME, "GET", f"{OURS}/meshes/shop/extensions/zonePolicy/all").status == 404
    world.unshare()
    assert world.ask(CONSUMER, "GET", place).status == 404
    assert world.ask(CONSUMER, "DELETE", place).status == 404
    assert world.ask(CONSUMER, "PUT", place, body).status == 404
    assert world.ask(OWNER, "DELETE", place).status == 200


def test_the_owner_s_release_does_not_take_a_consumer_s_object(world: World) -> None:
    """Nor the other way round."""
    assert world.release(CONSUMER, f"shop@{OWNER}", "cart", cart={}).status == 201
    answer = world.release(OWNER, f"shop@{OWNER}", "theirs", cart={"backends": []})
    assert answer.status in {403, 422}
    assert world.release(OWNER, f"shop@{OWNER}", "theirs", own={}).status == 201
    answer = world.release(CONSUMER, f"shop@{OWNER}", "cart", cart={}, own={"backends": []})
    assert answer.status in {403, 422}


def test_a_stranger_s_release_is_refused_whether_or_not_there_is_such_a_mesh(world: World) -> None:
    """In the same words, and nothing is written."""
    before = world.api.store.head().revision
    for mesh in (f"shop@{OWNER}", "shop", f"none@{OWNER}", "none"):
        answer = world.release(STRANGER, mesh, "cart", cart={})
        name, _, owner = mesh.partition("@")
        assert (answer.status, answer.code) == (403, "AccessDeniedException")
        assert f":{owner or HOME}:mesh/{name}/stack/cart because the resource belongs to another" in answer.message
    assert world.api.store.head().revision == before


def test_after_the_share_ends_the_consumer_has_no_api_and_its_objects_stay(world: World) -> None:
    """Through App Mesh's API and through ours."""
    world.release(CONSUMER, f"shop@{OWNER}", "cart", cart={})
    before = world.api.store.head().state
    world.unshare()
    at = f"{MESHES}/shop/virtualNodes/cart?meshOwner={OWNER}"
    assert world.ask(CONSUMER, "GET", at).status == 404
    assert world.ask(CONSUMER, "DELETE", at).status == 404
    assert world.release(CONSUMER, f"shop@{OWNER}", "cart").status == 403
    assert json.loads(world.ask(CONSUMER, "GET", MESHES).body)["meshes"] == []
    assert world.ask(OWNER, "GET", at).status == 200
    assert world.api.store.head().state == before


def test_one_mesh_has_one_name_in_our_endpoints(world: World) -> None:
    """The home account's with its owner written is the bare one."""
    bare, written = (world.ask(HOME, "GET", f"{OURS}/meshes/{mesh}") for mesh in ("shop", f"shop@{HOME}"))
    assert bare.body == written.body
    assert [one["object"] for one in json.loads(bare.body)["resources"]] == ["mesh/shop"]
    foreign = json.loads(world.ask(OWNER, "GET", f"{OURS}/meshes/shop@{OWNER}").body)
    assert [one["object"] for one in foreign["resources"]] == [f"mesh/shop@{OWNER}"]


def test_our_endpoints_show_nobody_s_tags_to_others(world: World) -> None:
    """The consumer sees the owner's objects without their tags, a stranger nothing at all."""
    world.release(OWNER, f"shop@{OWNER}", "theirs", own={})
    world.release(CONSUMER, f"shop@{OWNER}", "cart", cart={})
    for account, mine in ((OWNER, "own"), (CONSUMER, "cart")):
        found = json.loads(world.ask(account, "GET", f"{OURS}/meshes/shop@{OWNER}").body)["resources"]
        tagged = {one["object"].rpartition("/")[2] for one in found if one["tags"]}
        assert tagged == {mine}
    for account in (OWNER, CONSUMER, STRANGER):
        assert world.ask(account, "GET", f"{OURS}/status").status == 403
        assert world.ask(account, "GET", f"{OURS}/revisions/1/propagation").status == 403
    assert world.ask(STRANGER, "GET", f"{OURS}/meshes/shop@{OWNER}").status == 403
    assert world.ask(STRANGER, "GET", f"{OURS}/meshes/shop@{OWNER}/stacks/cart/releases").status == 403
    assert world.ask(CONSUMER, "GET", f"{OURS}/meshes/shop").status == 403


def test_a_release_takes_no_object_that_its_account_could_not_update(world: World) -> None:
    """Not even one of no stack, and as it is: becoming a stack's is no operation, and would be asked of nobody."""
    at = f"{MESHES}/shop/virtualNodes?meshOwner={OWNER}"
    for account, name in ((OWNER, "owners"), (CONSUMER, "consumers")):
        assert world.ask(account, "PUT", at, {"virtualNodeName": name, "spec": {}}).status == 200
    before = world.api.store.head()
    for account, name in ((CONSUMER, "owners"), (OWNER, "consumers")):
        items = [{"object": f"mesh/shop@{OWNER}/virtualNode/{name}", "spec": {}}]
        target = f"{OURS}/meshes/shop@{OWNER}/stacks/cart/releases"
        answer = world.ask(account, "POST", target, {"resources": items})
        assert (answer.status, answer.code) == (422, "RefusedException"), answer.body
        assert f"cannot be updated by account {account}" in answer.message
    assert world.api.store.head().revision == before.revision


def test_releases_and_drift_show_nobody_s_tags_to_others(world: World) -> None:
    """What was released is told with the tags of one's own account's objects."""
    assert world.release(OWNER, f"shop@{OWNER}", "theirs", own={}, gone={}).status == 201
    gone = f"{MESHES}/shop/virtualNodes/gone?meshOwner={OWNER}"
    assert world.ask(OWNER, "DELETE", gone).status == 200
    arn = f"arn:aws:appmesh:us-east-1:{OWNER}:mesh/shop/virtualNode/own"
    body = {"tags": [{"key": "secret", "value": "drifted"}]}
    assert world.ask(OWNER, "PUT", f"/v20190125/tag?resourceArn={quote(arn, safe='')}", body).status == 200
    at = f"{OURS}/meshes/shop@{OWNER}/stacks/theirs"
    for account, shown in ((OWNER, True), (CONSUMER, False)):
        release, drift = (world.ask(account, "GET", f"{at}/{what}") for what in ("releases/1", "drift"))
        assert (release.status, drift.status) == (200, 200), (release.body, drift.body)
        content = {one["object"]: one["tags"] for one in json.loads(release.body)["content"]}
        tags = {"of": OWNER} if shown else {}
        assert content == {f"mesh/shop@{OWNER}/virtualNode/{name}": tags for name in ("own", "gone")}
        assert (b"drifted" in drift.body) is shown
        assert b"gone" in drift.body


def test_a_release_is_repeated_by_its_own_account_alone(world: World) -> None:
    """The key of another account is another key."""
    answers = []
    for account in (OWNER, CONSUMER, OWNER):
        key = AccessKey(id=f"ASIA{account}", secret="s", principal="", created_at=0)
        body = json.dumps({"resources": []}).encode() if account == CONSUMER else _mesh_node()
        answers.append(
            world.api.ask(
                "POST",
                f"{OURS}/meshes/shop@{OWNER}/stacks/theirs/releases",
                body,
                key=key,
                x_amz_security_token="t",
                idempotency_key="k",
            )
        )
    assert answers[0].status == 201, answers[0].body
    assert answers[2].body == answers[0].body
    assert answers[1].body != answers[0].body


def _mesh_node() -> bytes:
    item = {"object": f"mesh/shop@{OWNER}/virtualNode/own", "spec": {}, "tags": {}}
    return json.dumps({"resources": [item]}).encode()


def test_our_client_plans_and_applies_into_a_shared_mesh(world: World) -> None:
    """By the mesh's name with its owner, as `meshwright.yaml` would say it: read, plan, apply, read again."""
    mesh = f"shop@{OWNER}"
    credentials = Credentials(key_id=f"ASIA{CONSUMER}", secret="s", session_token="t", source="the test")
    ours = Client(world.api.url, credentials)
    key = Key(mesh, Kind.VIRTUAL_NODE, "cart")
    desired = State([decoded(key, {}, {"team": "cart"}, "cart")])
    plan = diff(ours.read(mesh).state, desired, "cart", mesh)
    assert [one.key for one in plan.changes] == [key]
    outcome = ours.apply(mesh, "cart", ApplyRequest(plan=plan))
    assert outcome["release"]["title"] == "cart#1"
    observed = ours.read(mesh)
    assert diff(observed.state, desired, "cart", mesh).empty
    assert observed.stacks == ("cart",)
    assert ours.drift(mesh, "cart")["differences"] == []
    assert ours.propagation(mesh, "cart", 1)["state"] == "no-proxies"


def test_a_server_is_of_the_account_that_its_database_is_of(tmp_path: Path) -> None:
    """Another one would take the first one's meshes for its own."""
    folder = tmp_path / "data"
    with live(folder) as server:
        made = Serving(server.api, cast("Any", None)).ask("PUT", MESHES, b'{"meshName": "shop"}', key=server.key)
        assert made.status == 200
        server.end()
    said = subprocess.run(
        [sys.executable, "-m", "meshwright.cli", *command(folder, "--account", OWNER)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert said.returncode == 2
    assert f"mesh 'shop' of account {HOME}" in said.stderr
