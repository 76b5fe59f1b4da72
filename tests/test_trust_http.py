"""Two teams in one mesh, over real HTTP with stock boto3: each changes what is its own, and nothing else."""

from __future__ import annotations

import contextlib
import functools
import json
from typing import TYPE_CHECKING, Any

import boto3
import msgspec
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from meshwright.store.contract import AccessKey, Session
from meshwright.trust.sigv4 import Request, sign
from serving import KEY, Serving, now, serving
from trusting import authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Answer

TRUST = """
version: 1
environments: {test: {mesh: shop}}
policies:
  all: {Version: "2012-10-17", Statement: {Effect: Allow, Action: ["appmesh:*", "meshwright:*"], Resource: "*"}}
  endpoints: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "meshwright:*", Resource: "*"}}
  untagged:
    Version: "2012-10-17"
    Statement: {Effect: Allow, Action: ["appmesh:Create*", "appmesh:Update*", "appmesh:Describe*"], Resource: "*"}
  by-tag:
    Version: "2012-10-17"
    Statement:
      - {Effect: Allow, Action: "appmesh:Create*", Resource: "*",
         Condition: {StringEquals: {"aws:RequestTag/team": "${aws:PrincipalTag/team}"},
                     "ForAllValues:StringEquals": {"aws:TagKeys": [team]}}}
      - {Effect: Allow, Action: ["appmesh:Update*", "appmesh:TagResource", "appmesh:UntagResource"], Resource: "*",
         Condition: {StringEquals: {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}}
      - {Effect: Allow, Action: "appmesh:TagResource", Resource: "*",
         Condition: {StringEquals: {"aws:RequestTag/team": "${aws:PrincipalTag/team}"},
                     "Null": {"aws:ResourceTag/team": true}}}
users:
  caller: {stack: cart, owns: ["virtualNode/cart-*"], permissions: [endpoints]}
  cart:
    stack: cart
    owns: ["virtualNode/cart-*", "virtualRouter/cart", "virtualRouter/cart/route/*", "virtualService/cart.*",
           "virtualGateway/edge/gatewayRoute/cart"]
    may_extend: [mesh]
    permissions: [all]
  pay:
    stack: pay
    owns: ["virtualNode/pay-*", "virtualRouter/pay", "virtualRouter/pay/route/*", "virtualRouter/cart/route/pay-*"]
    may_extend: [mesh]
    permissions: [all]
  guest:
    stack: guest
    owns: ["virtualRouter/cart/route/guest-*"]
    may_extend: ["virtualRouter/cart"]
    permissions: [all]
  plain: {stack: plain, owns: ["virtualNode/plain-*"], may_extend: [mesh], permissions: [untagged]}
  tagged:
    tags: {team: tagged}
    stack: tagged
    owns: ["virtualNode/tagged-*"]
    may_extend: [mesh]
    permissions: [by-tag]
  reader: {permissions: [all]}
"""
NAMES = ("cart", "pay", "caller", "guest", "plain", "tagged", "reader", "nobody")
KEYS = {
    name: AccessKey(id=f"AKIA{name.upper():A<12}", secret=f"secret-of-{name}", principal=name, created_at=0)
    for name in NAMES
}
ARN = "arn:aws:appmesh:us-east-1:000000000000:mesh/shop"
NODE: dict[str, Any] = {
    "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
    "serviceDiscovery": {"dns": {"hostname": "a.example"}},
}
ROUTER: dict[str, Any] = {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]}


def route(*nodes: str) -> dict[str, Any]:
    """A route's spec."""
    targets = [{"virtualNode": one, "weight": 1} for one in nodes]
    return {"httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": targets}}}


@functools.cache
def session() -> Any:
    """One session for all clients: each reads the service's model once."""
    return boto3.session.Session(region_name="us-east-1")


def client(running: Serving, name: str = "") -> Any:
    """The stock client of a user, or of the administrator."""
    key = KEYS[name] if name else KEY
    return session().client(
        "appmesh",
        endpoint_url=running.url,
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Serving]:
    """A server on which the administrator has made the mesh, and both teams their node and router."""
    decides = authority(TRUST)
    with serving(tmp_path, authority=lambda: decides) as running:
        for key in KEYS.values():
            running.store.add_key(key)
        admin = client(running)
        admin.create_mesh(meshName="shop")
        for team in ("cart", "pay"):
            one = client(running, team)
            one.create_virtual_node(meshName="shop", virtualNodeName=f"{team}-v1", spec=NODE)
            one.create_virtual_router(meshName="shop", virtualRouterName=team, spec=ROUTER)
        yield running


def recorded(running: Serving) -> list[str]:
    """The audit log without what was refused, which is written down a moment later."""
    texts = (entry.text for entry in running.store.leaves(0, 10_000))
    return [text for text in texts if json.loads(text)["kind"] != "attempt"]


@contextlib.contextmanager
def denied(running: Serving, *words: str) -> Iterator[None]:
    """What happens inside is refused with AccessDeniedException and these words, and leaves nothing behind."""
    before, leaves = running.store.head(), recorded(running)
    with pytest.raises(ClientError) as caught:
        yield
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    message = caught.value.response["Error"]["Message"]
    for word in words:
        assert word in message
    assert (running.store.head().revision, recorded(running)) == (before.revision, leaves)


def test_who_is_not_declared_may_do_nothing(shop: Serving) -> None:
    """A key alone opens nothing, not even for reading."""
    nobody = client(shop, "nobody")
    because = "because no identity-based policy allows the appmesh:ListMeshes action"
    with denied(shop, "User: arn:aws:iam::000000000000:user/nobody is not authorized to perform:", because):
        nobody.list_meshes()
    with denied(shop):
        nobody.describe_virtual_node(meshName="shop", virtualNodeName="absent")
    for path in ("/status", "/openapi.json", "/meshes/shop", "/meshes/shop/stacks/cart/releases"):
        answer = shop.ask("GET", f"/meshwright/v1{path}", key=KEYS["nobody"])
        assert (answer.status, answer.code) == (403, "AccessDeniedException")


def test_a_team_changes_its_own_and_not_the_other_s(shop: Serving) -> None:
    """Update, delete, tag, untag: refused for the other team's objects, with whose they are."""
    cart, pay = (client(shop, team) for team in ("cart", "pay"))
    pay.update_virtual_node(meshName="shop", virtualNodeName="pay-v1", spec=NODE)
    pay.tag_resource(resourceArn=f"{ARN}/virtualNode/pay-v1", tags=[{"key": "a", "value": "b"}])
    with denied(shop, "belongs to stack 'pay'", "acts for stack 'cart'"):
        cart.update_virtual_node(meshName="shop", virtualNodeName="pay-v1", spec=NODE)
    with denied(shop, "appmesh:DeleteVirtualNode"):
        cart.delete_virtual_node(meshName="shop", virtualNodeName="pay-v1")
    with denied(shop, "appmesh:TagResource"):
        cart.tag_resource(resourceArn=f"{ARN}/virtualNode/pay-v1", tags=[{"key": "team", "value": "cart"}])
    with denied(shop, "appmesh:UntagResource"):
        cart.untag_resource(resourceArn=f"{ARN}/virtualNode/pay-v1", tagKeys=["a"])
    assert cart.describe_virtual_node(meshName="shop", virtualNodeName="pay-v1")["virtualNode"]["spec"]
    cart.delete_virtual_router(meshName="shop", virtualRouterName="cart")


def test_nobody_creates_under_another_s_names(shop: Serving) -> None:
    """A free name of the other team's stays free."""
    with denied(shop, "nothing that user/cart owns matches mesh/shop/virtualNode/pay-v2"):
        client(shop, "cart").create_virtual_node(meshName="shop", virtualNodeName="pay-v2", spec=NODE)
    with denied(shop):
        client(shop, "cart").create_virtual_node(meshName="shop", virtualNodeName="cart-a/b", spec=NODE)
    with denied(shop):
        client(shop, "cart").create_mesh(meshName="other")


def test_what_is_created_belongs_to_the_team(shop: Serving) -> None:
    """And the principal stands in the revision as an ARN."""
    stacks = {one.key.name: one.stack for one in shop.store.head().state}
    assert stacks == {"shop": "", "cart-v1": "cart", "cart": "cart", "pay-v1": "pay", "pay": "pay"}
    newest = shop.store.revisions(shop.store.head().revision - 1)[0]
    assert newest.principal == "arn:aws:iam::000000000000:user/pay"


def test_a_router_is_extended_by_grant_only(shop: Serving) -> None:
    """Owning a route's name is not enough: its router must be one's own, or granted."""
    cart, pay, guest = (client(shop, team) for team in ("cart", "pay", "guest"))
    with denied(shop, "mesh/shop/virtualRouter/cart: it belongs to stack 'cart'", "may_extend"):
        pay.create_route(meshName="shop", virtualRouterName="cart", routeName="pay-in", spec=route("pay-v1"))
    guest.create_route(meshName="shop", virtualRouterName="cart", routeName="guest-in", spec=route("pay-v1"))
    with denied(shop, "belongs to stack 'guest'"):
        cart.delete_route(meshName="shop", virtualRouterName="cart", routeName="guest-in")
    with denied(shop, "appmesh:UpdateVirtualRouter"):
        guest.update_virtual_router(meshName="shop", virtualRouterName="cart", spec=ROUTER)
    cart.create_route(meshName="shop", virtualRouterName="cart", routeName="all", spec=route("cart-v1"))


def test_to_extend_a_mesh_is_not_to_own_it(shop: Serving) -> None:
    """The mesh's spec, tags and end are its owner's."""
    cart = client(shop, "cart")
    with denied(shop, "appmesh:UpdateMesh"):
        cart.update_mesh(meshName="shop", spec={"egressFilter": {"type": "ALLOW_ALL"}})
    with denied(shop, "appmesh:TagResource"):
        cart.tag_resource(resourceArn=ARN, tags=[{"key": "team", "value": "cart"}])
    with denied(shop, "appmesh:DeleteMesh"):
        cart.delete_mesh(meshName="shop")


def test_a_policy_without_ownership_changes_nothing(shop: Serving) -> None:
    """`appmesh:*` on everything, and nothing owned: read, and no more."""
    reader = client(shop, "reader")
    assert reader.describe_mesh(meshName="shop")["mesh"]["meshName"] == "shop"
    with denied(shop, "appmesh:UpdateVirtualNode"):
        reader.update_virtual_node(meshName="shop", virtualNodeName="cart-v1", spec=NODE)
    with denied(shop):
        reader.create_virtual_node(meshName="shop", virtualNodeName="x", spec=NODE)


def test_tags_on_creation_need_leave_to_tag(shop: Serving) -> None:
    """Without `appmesh:TagResource` an object is created without tags or not at all."""
    plain = client(shop, "plain")
    with denied(shop, "appmesh:TagResource"):
        plain.create_virtual_node(
            meshName="shop", virtualNodeName="plain-v1", spec=NODE, tags=[{"key": "a", "value": "b"}]
        )
    plain.create_virtual_node(meshName="shop", virtualNodeName="plain-v1", spec=NODE)


def test_conditions_on_tags_decide(shop: Serving) -> None:
    """RequestTag, TagKeys and ResourceTag, before and after; a tag cannot be put on to get in."""
    tagged, admin = client(shop, "tagged"), client(shop)
    mine = [{"key": "team", "value": "tagged"}]
    with denied(shop):
        tagged.create_virtual_node(meshName="shop", virtualNodeName="tagged-1", spec=NODE)
    with denied(shop):
        other = [{"key": "team", "value": "pay"}]
        tagged.create_virtual_node(meshName="shop", virtualNodeName="tagged-1", spec=NODE, tags=other)
    with denied(shop):
        more = [*mine, {"key": "cost", "value": "1"}]
        tagged.create_virtual_node(meshName="shop", virtualNodeName="tagged-1", spec=NODE, tags=more)
    tagged.create_virtual_node(meshName="shop", virtualNodeName="tagged-1", spec=NODE, tags=mine)
    tagged.update_virtual_node(meshName="shop", virtualNodeName="tagged-1", spec=NODE)
    arn = f"{ARN}/virtualNode/tagged-1"
    admin.tag_resource(resourceArn=arn, tags=[{"key": "team", "value": "pay"}])
    with denied(shop):
        tagged.update_virtual_node(meshName="shop", virtualNodeName="tagged-1", spec=NODE)
    with denied(shop):
        tagged.tag_resource(resourceArn=arn, tags=mine)


def release(running: Serving, name: str, stack: str, *nodes: str, mesh: str = "shop") -> Answer:
    """Release a stack that is these virtual nodes."""
    resources = [{"object": f"mesh/{mesh}/virtualNode/{one}", "spec": NODE, "tags": {}} for one in nodes]
    body = json.dumps({"resources": resources}).encode()
    return running.ask("POST", f"/meshwright/v1/meshes/{mesh}/stacks/{stack}/releases", body, key=KEYS[name])


def test_a_release_is_refused_whole_with_every_foreign_object_named(shop: Serving) -> None:
    """Two foreign objects among three: nothing is written, both are named, and the audit log does not grow."""
    before, leaves = shop.store.head().revision, recorded(shop)
    answer = release(shop, "cart", "cart", "cart-v1", "pay-v1", "zoo-v1")
    assert (answer.status, answer.code) == (403, "AccessDeniedException")
    assert "virtualNode/pay-v1" in answer.message
    assert "virtualNode/zoo-v1" in answer.message
    assert "virtualNode/cart-v1 " not in answer.message
    assert (shop.store.head().revision, recorded(shop)) == (before, leaves)
    assert shop.store.releases("shop", "cart") == ()


def test_a_release_changes_what_the_team_owns(shop: Serving) -> None:
    """Created, adopted, deleted: all of it under the team's names, in its stack's own release."""
    client(shop).create_virtual_node(meshName="shop", virtualNodeName="cart-old", spec=NODE)
    client(shop, "cart").delete_virtual_router(meshName="shop", virtualRouterName="cart")
    answer = release(shop, "cart", "cart", "cart-v1", "cart-v2", "cart-old")
    assert answer.status == 201, answer.body
    stacks = {one.key.name: one.stack for one in shop.store.head().state if one.key.name.startswith("cart")}
    assert stacks == {"cart-v1": "cart", "cart-v2": "cart", "cart-old": "cart"}
    made = shop.store.releases("shop", "cart")[0]
    assert made.principal == "arn:aws:iam::000000000000:user/cart"
    assert release(shop, "cart", "cart", "cart-v1").status == 201
    assert {one.key.name for one in shop.store.head().state if one.stack == "cart"} == {"cart-v1"}


def test_a_release_leaves_alone_what_the_team_made_apart_from_releases(shop: Serving) -> None:
    """It belongs to the stack, and a release deletes only what an earlier one put there, until one has named it."""
    ours = client(shop, "cart")
    ours.delete_virtual_router(meshName="shop", virtualRouterName="cart")
    ours.create_virtual_node(meshName="shop", virtualNodeName="cart-hot", spec=NODE)
    assert release(shop, "cart", "cart", "cart-v1").status == 201
    assert release(shop, "cart", "cart", "cart-v2").status == 201
    stacks = {one.key.name: one.stack for one in shop.store.head().state if one.key.name.startswith("cart")}
    assert stacks == {"cart-hot": "cart", "cart-v2": "cart"}
    newest = shop.store.release("shop", "cart", 2)
    assert newest is not None
    assert [one.key.name for one in newest.content] == ["cart-v2"]
    named = release(shop, "cart", "cart", "cart-v2", "cart-hot")
    assert [change["object"] for change in json.loads(named.body)["release"]["changes"]] == [
        "mesh/shop/virtualNode/cart-hot"
    ]
    assert release(shop, "cart", "cart", "cart-v2").status == 201
    assert {one.key.name for one in shop.store.head().state if one.stack == "cart"} == {"cart-v2"}


def test_unowned_objects_are_adopted_under_own_names_only(shop: Serving) -> None:
    """An object of nobody is not anybody's who asks first."""
    client(shop).create_virtual_node(meshName="shop", virtualNodeName="platform", spec=NODE)
    client(shop, "cart").delete_virtual_router(meshName="shop", virtualRouterName="cart")
    answer = release(shop, "cart", "cart", "cart-v1", "platform")
    assert answer.status == 403
    assert "virtualNode/platform" in answer.message


@pytest.mark.parametrize("stack", ["pay", "*", "cart2", "CART", "cart."])
def test_nobody_releases_another_s_stack(shop: Serving, stack: str) -> None:
    """Not even an empty one, which would delete everything of it; the log keeps no trace."""
    before = recorded(shop)
    for nodes in ((), ("cart-v1",)):
        assert release(shop, "cart", stack, *nodes).status in {400, 403}
    target = f"/meshwright/v1/meshes/shop/stacks/{stack}/rollbacks"
    assert shop.ask("POST", target, b'{"to": 1}', key=KEYS["cart"]).status in {400, 403}
    assert recorded(shop) == before


def test_nobody_verifies_another_s_stack_but_who_acts_for_none(shop: Serving) -> None:
    """A team says of its own release that it is good, and one who verifies for all of each."""
    assert release(shop, "cart", "cart", "cart-v1").status == 201
    target = "/meshwright/v1/meshes/shop/stacks/cart/releases/1/verifications"
    body = json.dumps({"expected": {"cart-v1": 0}}).encode()
    before = recorded(shop)
    answer = shop.ask("POST", target, body, key=KEYS["pay"])
    assert (answer.status, recorded(shop)) == (403, before)
    assert b"acts for stack 'pay' and not for stack 'cart'" in answer.body
    for name in ("cart", "reader"):
        answer = shop.ask("POST", target, body, key=KEYS[name])
        assert (answer.status, json.loads(answer.body)["inspection"]["judgement"]) == (201, "inconclusive")


def test_a_stack_s_name_means_one_mesh(shop: Serving) -> None:
    """Objects of a stack of the same name in another mesh are another stack's."""
    admin = client(shop)
    admin.create_mesh(meshName="other")
    answer = shop.ask(
        "POST",
        "/meshwright/v1/meshes/other/stacks/cart/releases",
        json.dumps({"resources": [{"object": "mesh/other/virtualNode/cart-v1", "spec": NODE, "tags": {}}]}).encode(),
        key=KEY,
    )
    assert answer.status == 201, answer.body
    with denied(shop, "belongs to stack 'cart'"):
        client(shop, "cart").update_virtual_node(meshName="other", virtualNodeName="cart-v1", spec=NODE)
    assert release(shop, "cart", "cart", mesh="other").status == 403
    assert release(shop, "cart", "cart", "cart-v2", mesh="other").status == 403


def test_nobody_records_a_release_of_what_runs_in_a_mesh_where_they_own_nothing(shop: Serving) -> None:
    """It would change no object, and be what drift of another team's stack is measured by from then on."""
    admin = client(shop)
    admin.create_mesh(meshName="other")
    body = json.dumps({"resources": [{"object": "mesh/other/virtualNode/a", "spec": NODE, "tags": {}}]}).encode()
    target = "/meshwright/v1/meshes/other/stacks/cart"
    assert shop.ask("POST", f"{target}/releases", body).status == 201
    changed = {**NODE, "serviceDiscovery": {"dns": {"hostname": "b.example"}}}
    admin.update_virtual_node(meshName="other", virtualNodeName="a", spec=changed)
    before = recorded(shop)
    answer = shop.ask("POST", f"{target}/releases", body.replace(b"a.example", b"b.example"), key=KEYS["cart"])
    assert (answer.status, answer.code) == (403, "AccessDeniedException"), answer.body
    assert "owns nothing in mesh 'other'" in answer.message
    assert shop.ask("POST", f"{target}/rollbacks", b'{"to": 1}', key=KEYS["cart"]).status == 403
    assert recorded(shop) == before


def test_nobody_records_a_release_of_objects_that_they_may_not_update(shop: Serving) -> None:
    """It changes none of them, and would move what their drift is measured by."""
    node = {"object": "mesh/shop/virtualNode/cart-v2", "spec": NODE, "tags": {}}
    body = json.dumps({"resources": [node]}).encode()
    target = "/meshwright/v1/meshes/shop/stacks/cart"
    assert shop.ask("POST", f"{target}/releases", body, key=KEYS["cart"]).status == 201
    changed = {**NODE, "serviceDiscovery": {"dns": {"hostname": "b.example"}}}
    client(shop, "cart").update_virtual_node(meshName="shop", virtualNodeName="cart-v2", spec=changed)
    drifted = body.replace(b"a.example", b"b.example")
    before = recorded(shop)
    answer = shop.ask("POST", f"{target}/releases", drifted, key=KEYS["caller"])
    assert (answer.status, answer.code) == (403, "AccessDeniedException"), answer.body
    assert "appmesh:UpdateVirtualNode" in answer.message
    assert recorded(shop) == before
    assert shop.ask("POST", f"{target}/releases", drifted, key=KEYS["cart"]).status == 201
    # What is recorded already moves nothing.
    assert shop.ask("POST", f"{target}/releases", drifted, key=KEYS["caller"]).status == 200


def test_a_first_answer_is_for_whoever_it_was_given_to(shop: Serving) -> None:
    """Another principal's key is another key: it is told nothing of the first answer, and cannot use the key up."""
    body = json.dumps({"resources": [{"object": "mesh/shop/virtualNode/cart-v1", "spec": NODE}]}).encode()
    client(shop, "cart").delete_virtual_router(meshName="shop", virtualRouterName="cart")
    target = "/meshwright/v1/meshes/shop/stacks/cart/releases"
    mine = shop.ask("POST", target, body, key=KEYS["cart"], idempotency_key="one")
    assert mine.status == 201, mine.body
    before = recorded(shop)
    theirs = shop.ask("POST", target, body, key=KEYS["caller"], idempotency_key="one")
    assert (theirs.status, json.loads(theirs.body)["changed"]) == (200, False), "decided anew: it runs already"
    other = shop.ask("POST", target, b'{"resources": []}', key=KEYS["caller"], idempotency_key="one")
    assert (other.status, other.code) == (403, "AccessDeniedException"), other.body
    assert shop.ask("POST", target, body, key=KEYS["cart"], idempotency_key="one").body == mine.body
    assert recorded(shop) == before


@pytest.mark.parametrize("call", ["releases", "rollbacks"])
def test_a_first_answer_is_for_sessions_that_may_do_what_it_tells_of(tmp_path: Path, call: str) -> None:
    """A session that was made narrower than its role is refused what the role's other session did."""
    text = """
version: 1
environments: {test: {mesh: shop}}
roles:
  cart:
    stack: cart
    owns: ["virtualNode/cart-*"]
    may_extend: [mesh]
    permissions: [{Version: "2012-10-17", Statement: {Effect: Allow, Action: "*", Resource: "*"}}]
"""
    narrow = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "meshwright:*", "Resource": "*"}}'
    decides = authority(text)
    with serving(tmp_path, authority=lambda: decides) as running:
        client(running).create_mesh(meshName="shop")
        wide = msgspec.structs.replace(decides.session("cart", "s"), issued_at=1)
        sessions = {}
        for name, policies in (("WIDE", ()), ("NARROW", (narrow,))):
            sessions[name] = Session(
                key_id=f"ASIA{name}",
                secret="s",
                token="t",
                principal=msgspec.structs.replace(wide, key_id=f"ASIA{name}", policies=policies),
                created_at=now(),
                expires_at=now() + 900_000,
            )
            running.store.add_session(sessions[name])

        def ask(name: str, call: str, body: dict[str, Any], key: str) -> Answer:
            target, sent = f"/meshwright/v1/meshes/shop/stacks/cart/{call}", json.dumps(body).encode()
            head = {"host": running.url.removeprefix("http://"), "idempotency-key": key}
            request = Request.of("POST", target, head.items(), sent)
            signed = sign(request, f"ASIA{name}", "s", "us-east-1", "appmesh", now(), "t")
            return running.send("POST", target, head | signed, sent)

        first = {"resources": [{"object": "mesh/shop/virtualNode/cart-v1", "spec": NODE}]}
        assert ask("WIDE", "releases", first, "one").status == 201
        assert ask("WIDE", "releases", {"resources": []}, "two").status == 201
        body: dict[str, Any] = first if call == "releases" else {"to": 1}
        key = "one" if call == "releases" else "three"
        mine = ask("WIDE", call, body, key)
        assert mine.status == 201, mine.body
        before = recorded(running)
        theirs = ask("NARROW", call, body, key)
        assert (theirs.status, theirs.code) == (403, "AccessDeniedException"), theirs.body
        assert "no session policy allows the appmesh:CreateVirtualNode action" in theirs.message
        assert ask("WIDE", call, body, key).body == mine.body
        assert recorded(running) == before
