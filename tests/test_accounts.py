"""Several accounts in one server: whose mesh is meant, who sees it, and who may do what in it."""

from __future__ import annotations

from typing import Any

import pytest

from ads_client import AdsClient
from handmade import plain
from meshwright import errors
from meshwright.ads.server import AdsServer
from meshwright.ads.wire import node_key
from meshwright.graph import resolve
from meshwright.model.identity import Key, Kind
from meshwright.model.state import State
from meshwright.operations import OPERATIONS, UNLIMITED, Quotas, Sharing, Stamp, decode_request, perform
from meshwright.snapshot.build import build
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import CLUSTER, Redirect
from said import said
from stage import Everybody, Stage

Wire = dict[str, Any]
HOME, OWNER, CONSUMER, STRANGER = "000000000000", "111111111111", "222222222222", "333333333333"
NODE: Wire = {
    "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
    "serviceDiscovery": {"dns": {"hostname": "cart.local"}},
}
ROUTER: Wire = {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]}


def route(node: str) -> Wire:
    """An HTTP route to `node`."""
    targets = [{"virtualNode": node, "weight": 1}]
    return {"httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": targets}}}


class Server:
    """A state that several accounts work on."""

    def __init__(self, owner: str = OWNER, quotas: Quotas = UNLIMITED) -> None:
        self.state = State()
        self.owner = owner
        self.shared: Sharing = frozenset()
        self.quotas = quotas
        self.at = 1_700_000_000_000

    def call(self, account: str, operation: str, body: Wire | None = None, /, **members: str) -> Wire:
        """What `account` is answered; path and query members are keywords."""
        self.at += 1_000
        stamp = Stamp(at=self.at, uid=f"uid-{self.at}", account=account, home=HOME, shared=self.shared)
        request = decode_request(OPERATIONS[operation], members, members, body)
        self.state, response = perform(self.state, request, stamp, self.quotas)
        return said(response)

    def refusal(self, account: str, operation: str, body: Wire | None = None, /, **members: str) -> str:
        """The refusal's name and words; the state is as it was before."""
        before = self.state
        with pytest.raises(errors.ApiError) as caught:
            self.call(account, operation, body, **members)
        assert self.state is before
        assert type(caught.value) in OPERATIONS[operation].errors, "the operation does not declare this error"
        return f"{caught.value.code}: {caught.value}"


def put(server: Server, account: str, kind: str, name: str, spec: Wire, **members: str) -> Wire:
    """Create an object in the mesh `shop` of the server's `owner`."""
    body = {f"{kind[0].lower()}{kind[1:]}Name": name, "spec": spec}
    return server.call(account, f"Create{kind}", body, meshName="shop", meshOwner=server.owner, **members)


@pytest.fixture(params=[OWNER, HOME], ids=["another account's", "the home account's"])
def owner(request: pytest.FixtureRequest) -> str:
    """Whose mesh is shared: it must make no difference whether it is the server's own account's."""
    account: str = request.param
    return account


@pytest.fixture
def server(owner: str) -> Server:
    """Mesh `shop` of one account, shared with another, each with a node of its own in it."""
    one = Server(owner)
    one.call(owner, "CreateMesh", {"meshName": "shop"})
    one.shared = frozenset({(owner, "shop", CONSUMER)})
    put(one, owner, "VirtualNode", "theirs", NODE)
    put(one, CONSUMER, "VirtualNode", "mine", NODE)
    return one


def test_meshes_of_two_accounts_with_one_name_stand_side_by_side() -> None:
    """Each account sees, changes and deletes its own; the keys differ."""
    server = Server()
    for account in (HOME, OWNER, CONSUMER):
        made = server.call(account, "CreateMesh", {"meshName": "shop"})
        assert made["meshName"] == "shop"
        assert made["metadata"]["arn"] == f"arn:aws:appmesh:us-east-1:{account}:mesh/shop"
        assert made["metadata"]["meshOwner"] == made["metadata"]["resourceOwner"] == account
    assert [one.key.mesh for one in server.state] == ["shop", f"shop@{OWNER}", f"shop@{CONSUMER}"]
    server.call(OWNER, "UpdateMesh", {"spec": {"egressFilter": {"type": "ALLOW_ALL"}}}, meshName="shop")
    assert server.call(HOME, "DescribeMesh", meshName="shop")["spec"] == {}
    assert [one["meshOwner"] for one in server.call(OWNER, "ListMeshes")["meshes"]] == [OWNER]
    server.call(HOME, "DeleteMesh", meshName="shop")
    assert "is not present for account 000000000000" in server.refusal(HOME, "DescribeMesh", meshName="shop")
    assert server.call(OWNER, "DescribeMesh", meshName="shop")["metadata"]["version"] == 2


def test_what_a_consumer_creates_is_its_own_and_says_whose_mesh_it_lies_in(server: Server, owner: str) -> None:
    """The ARN carries the mesh's owner exactly where it is not the object's."""
    mine = server.call(owner, "DescribeVirtualNode", meshName="shop", virtualNodeName="mine")["metadata"]
    theirs = server.call(CONSUMER, "DescribeVirtualNode", meshName="shop", virtualNodeName="theirs", meshOwner=owner)[
        "metadata"
    ]
    assert (mine["meshOwner"], mine["resourceOwner"]) == (owner, CONSUMER)
    assert (theirs["meshOwner"], theirs["resourceOwner"]) == (owner, owner)
    assert mine["arn"] == f"arn:aws:appmesh:us-east-1:{CONSUMER}:mesh/shop@{owner}/virtualNode/mine"
    assert theirs["arn"] == f"arn:aws:appmesh:us-east-1:{owner}:mesh/shop/virtualNode/theirs"
    listed = server.call(CONSUMER, "ListVirtualNodes", meshName="shop", meshOwner=owner)["virtualNodes"]
    assert [(one["virtualNodeName"], one["meshName"], one["arn"]) for one in listed] == [
        ("mine", "shop", mine["arn"]),
        ("theirs", "shop", theirs["arn"]),
    ]


def test_meshes_are_listed_with_those_that_are_shared(server: Server, owner: str) -> None:
    """Page by page too, where an own and a shared mesh have one name."""
    server.call(CONSUMER, "CreateMesh", {"meshName": "shop"})
    server.call(CONSUMER, "CreateMesh", {"meshName": "aaa"})
    server.call(STRANGER, "CreateMesh", {"meshName": "shop"})
    found, token = [], None
    while True:
        page = server.call(CONSUMER, "ListMeshes", limit="1", **({"nextToken": token} if token else {}))
        found += [(one["meshName"], one["meshOwner"]) for one in page["meshes"]]
        token = page["nextToken"]
        if token is None:
            break
    assert found[0] == ("aaa", CONSUMER)
    assert sorted(found[1:]) == sorted([("shop", owner), ("shop", CONSUMER)])


@pytest.mark.parametrize(
    ("operation", "body", "members"),
    [
        ("DescribeMesh", None, {}),
        ("ListVirtualNodes", None, {}),
        ("ListRoutes", None, {"virtualRouterName": "r"}),
        ("DescribeVirtualNode", None, {"virtualNodeName": "theirs"}),
        ("DescribeVirtualNode", None, {"virtualNodeName": "nobody"}),
        ("CreateVirtualNode", {"virtualNodeName": "x", "spec": {}}, {}),
        ("CreateVirtualNode", {"virtualNodeName": "theirs", "spec": {}}, {}),
        ("CreateVirtualGateway", {"virtualGatewayName": "g", "spec": ROUTER}, {}),
        ("UpdateVirtualNode", {"spec": {}}, {"virtualNodeName": "theirs"}),
        ("DeleteVirtualNode", None, {"virtualNodeName": "theirs"}),
    ],
)
def test_a_mesh_that_is_not_shared_does_not_exist(
    server: Server, owner: str, operation: str, body: Wire | None, members: Wire
) -> None:
    """The same words as for a mesh that is not there; nothing of what is in it shows."""
    members = {**members, "meshOwner": owner}
    words = server.refusal(STRANGER, operation, body, meshName="shop", **members)
    assert words == f"NotFoundException: Mesh with name shop is not present for account {owner}"
    absent = server.refusal(STRANGER, operation, body, meshName="none", **members)
    assert absent == words.replace("shop", "none")


@pytest.mark.parametrize(
    ("account", "operation", "body", "members", "words"),
    [
        (CONSUMER, "UpdateVirtualNode", {"spec": {}}, {"virtualNodeName": "theirs"}, "VirtualNode with name theirs"),
        (CONSUMER, "DeleteVirtualNode", None, {"virtualNodeName": "theirs"}, "VirtualNode with name theirs"),
        ("owner", "UpdateVirtualNode", {"spec": {}}, {"virtualNodeName": "mine"}, "VirtualNode with name mine"),
        (
            CONSUMER,
            "CreateVirtualGateway",
            {"virtualGatewayName": "g", "spec": ROUTER},
            {},
            "VirtualGateway with name g cannot be created by account 222222222222: Mesh shop is owned by account",
        ),
    ],
)
def test_only_what_one_created_can_one_change(
    server: Server, owner: str, account: str, operation: str, body: Wire | None, members: Wire, words: str
) -> None:
    """And gateways are the mesh owner's alone."""
    caller = owner if account == "owner" else account
    told = server.refusal(caller, operation, body, meshName="shop", meshOwner=owner, **members)
    assert told.startswith(f"ForbiddenException: {words}")


def test_gateways_are_the_owner_s_to_write_and_the_consumer_s_to_read(server: Server, owner: str) -> None:
    """Gateway routes too, even to a consumer's service."""
    put(server, CONSUMER, "VirtualService", "mine.local", {"provider": {"virtualNode": {"virtualNodeName": "mine"}}})
    put(server, owner, "VirtualGateway", "edge", ROUTER)
    target = {"virtualService": {"virtualServiceName": "mine.local"}}
    spec = {"httpRoute": {"match": {"prefix": "/"}, "action": {"target": target}}}
    in_edge = {"meshName": "shop", "meshOwner": owner, "virtualGatewayName": "edge"}
    body = {"gatewayRouteName": "w", "spec": spec}
    assert server.refusal(CONSUMER, "CreateGatewayRoute", body, **in_edge).startswith("ForbiddenException: ")
    server.call(owner, "CreateGatewayRoute", body, **in_edge)
    assert server.refusal(CONSUMER, "DeleteGatewayRoute", gatewayRouteName="w", **in_edge).startswith("Forbidden")
    assert len(server.call(CONSUMER, "ListGatewayRoutes", **in_edge)["gatewayRoutes"]) == 1
    words = server.refusal(
        CONSUMER, "DeleteVirtualService", meshName="shop", meshOwner=owner, virtualServiceName="mine.local"
    )
    assert words.startswith("ResourceInUseException: VirtualService mine.local is being referenced")


def test_the_owner_of_a_mesh_may_delete_what_a_consumer_made(server: Server, owner: str) -> None:
    """Unless somebody still needs it, whoever that is; a mesh is not deleted over a consumer's objects."""
    put(server, owner, "VirtualRouter", "r", ROUTER)
    put(server, owner, "Route", "t", route("mine"), virtualRouterName="r")
    shop = {"meshName": "shop", "meshOwner": owner}
    for account in (owner, CONSUMER):
        words = server.refusal(account, "DeleteVirtualNode", virtualNodeName="mine", **shop)
        assert words.endswith(
            "VirtualNode with name mine cannot be deleted because it is the target of one or more routes."
        )
    server.call(owner, "DeleteRoute", virtualRouterName="r", routeName="t", **shop)
    server.call(owner, "DeleteVirtualRouter", virtualRouterName="r", **shop)
    server.call(owner, "DeleteVirtualNode", virtualNodeName="theirs", **shop)
    assert server.refusal(owner, "DeleteMesh", meshName="shop") == (
        f"ResourceInUseException: Mesh shop for account {owner} has active VirtualNodes, "
        "please delete VirtualNodes before deleting the Mesh"
    )
    gone = server.call(owner, "DeleteVirtualNode", virtualNodeName="mine", **shop)
    assert gone["metadata"]["resourceOwner"] == CONSUMER
    server.call(owner, "DeleteMesh", meshName="shop")


def test_a_consumer_does_not_touch_the_mesh_itself(server: Server, owner: str) -> None:
    """UpdateMesh and DeleteMesh know no other owner than the caller."""
    for operation, body in (("UpdateMesh", {"spec": {}}), ("DeleteMesh", None)):
        words = server.refusal(CONSUMER, operation, body, meshName="shop")
        assert words == f"NotFoundException: Mesh with name shop is not present for account {CONSUMER}"
    described = server.call(CONSUMER, "DescribeMesh", meshName="shop", meshOwner=owner)
    assert described["metadata"]["arn"] == f"arn:aws:appmesh:us-east-1:{owner}:mesh/shop"


def test_tags_are_for_the_account_that_created_the_object(server: Server, owner: str) -> None:
    """The other account of the shared mesh is forbidden, a stranger learns nothing, a forged ARN names nothing."""
    mine = f"arn:aws:appmesh:us-east-1:{CONSUMER}:mesh/shop@{owner}/virtualNode/mine"
    theirs = f"arn:aws:appmesh:us-east-1:{owner}:mesh/shop/virtualNode/theirs"
    server.call(CONSUMER, "TagResource", {"tags": [{"key": "team", "value": "cart"}]}, resourceArn=mine)
    assert server.call(CONSUMER, "ListTagsForResource", resourceArn=mine)["tags"][0]["value"] == "cart"
    for account, arn in (
        (owner, mine),
        (CONSUMER, theirs),
        (CONSUMER, f"arn:aws:appmesh:us-east-1:{owner}:mesh/shop"),
    ):
        assert server.refusal(account, "ListTagsForResource", resourceArn=arn).startswith("ForbiddenException: ")
        tags = {"tags": [{"key": "a", "value": "b"}]}
        assert server.refusal(account, "TagResource", tags, resourceArn=arn).startswith("ForbiddenException: ")
        assert server.refusal(account, "UntagResource", {"tagKeys": ["a"]}, resourceArn=arn).startswith("Forbidden")
    assert server.refusal(STRANGER, "ListTagsForResource", resourceArn=mine).startswith("NotFoundException: Resource")
    forged = f"arn:aws:appmesh:us-east-1:{CONSUMER}:mesh/shop@{owner}/virtualNode/theirs"
    assert server.refusal(CONSUMER, "ListTagsForResource", resourceArn=forged).startswith("NotFoundException: ")
    bare = f"arn:aws:appmesh:us-east-1:{CONSUMER}:mesh/shop/virtualNode/mine"
    assert server.refusal(CONSUMER, "ListTagsForResource", resourceArn=bare).startswith("NotFoundException: ")


def test_after_the_share_ends_everything_stays_and_the_consumer_sees_nothing(server: Server, owner: str) -> None:
    """Not even what it created; the owner still does, and a new share brings it back."""
    before, shared = server.state, server.shared
    server.shared = frozenset()
    mine = {"meshName": "shop", "virtualNodeName": "mine", "meshOwner": owner}
    arn = f"arn:aws:appmesh:us-east-1:{CONSUMER}:mesh/shop@{owner}/virtualNode/mine"
    assert server.refusal(CONSUMER, "DescribeVirtualNode", **mine).startswith(
        "NotFoundException: Mesh with name shop"
    )
    assert server.refusal(CONSUMER, "DeleteVirtualNode", **mine).startswith("NotFoundException: Mesh with name shop")
    assert server.refusal(CONSUMER, "ListTagsForResource", resourceArn=arn).startswith("NotFoundException: Resource")
    assert server.call(CONSUMER, "ListMeshes")["meshes"] == []
    assert server.call(owner, "DescribeVirtualNode", **mine)["status"] == {"status": "ACTIVE"}
    assert server.state is before
    server.shared = shared
    server.call(CONSUMER, "UpdateVirtualNode", {"spec": {}}, **mine)


def test_quotas_count_on_the_mesh_and_meshes_on_their_owner() -> None:
    """A consumer's nodes use up the mesh's, and its own meshes are counted apart."""
    server = Server(quotas=Quotas(meshes=1, virtual_nodes=2))
    for account in (OWNER, CONSUMER):
        server.call(account, "CreateMesh", {"meshName": "shop"})
        words = server.refusal(account, "CreateMesh", {"meshName": "more"})
        assert words == "LimitExceededException: The limit of 1 Meshes for the account is exceeded"
    server.shared = frozenset({(OWNER, "shop", CONSUMER)})
    put(server, OWNER, "VirtualNode", "a", NODE)
    put(server, CONSUMER, "VirtualNode", "b", NODE)
    body = {"virtualNodeName": "c", "spec": NODE}
    for account in (OWNER, CONSUMER):
        words = server.refusal(account, "CreateVirtualNode", body, meshName="shop", meshOwner=OWNER)
        assert words == "LimitExceededException: The limit of 2 VirtualNodes for Mesh shop is exceeded"
    server.call(CONSUMER, "CreateVirtualNode", body, meshName="shop")


def test_a_name_is_taken_for_all_accounts_of_a_mesh(server: Server, owner: str) -> None:
    """One mesh has one namespace."""
    body = {"virtualNodeName": "theirs", "spec": NODE}
    assert server.refusal(CONSUMER, "CreateVirtualNode", body, meshName="shop", meshOwner=owner) == (
        f"ConflictException: VirtualNode with name theirs already exists under mesh shop for account {owner}"
    )


def test_a_backend_may_name_a_service_by_the_arn_of_the_account_that_made_it(server: Server, owner: str) -> None:
    """It is the service of the same mesh; name and ARN together are one backend twice."""
    put(server, CONSUMER, "VirtualService", "mine.local", {"provider": {"virtualNode": {"virtualNodeName": "mine"}}})
    arn = f"arn:aws:appmesh:us-east-1:{CONSUMER}:mesh/shop@{owner}/virtualService/mine.local"
    by_arn, by_name = ({"virtualService": {"virtualServiceName": name}} for name in (arn, "mine.local"))
    made = put(server, owner, "VirtualNode", "caller", {"backends": [by_arn]})
    assert made["spec"] == {"backends": [by_arn]}
    body = {"virtualNodeName": "twice", "spec": {"backends": [by_arn, by_name]}}
    words = server.refusal(owner, "CreateVirtualNode", body, meshName="shop")
    assert "listed more than once" in words


@pytest.mark.parametrize("name", ["shop@111111111111", "@", "a@b"])
def test_no_name_from_the_wire_carries_an_owner(name: str) -> None:
    """Or one account could name another's mesh without `meshOwner`."""
    server = Server()
    server.call(OWNER, "CreateMesh", {"meshName": "shop"})
    server.shared = frozenset({(OWNER, "shop", HOME)})
    for operation, sent in (("CreateMesh", {"meshName": name}), ("DescribeMesh", None), ("ListVirtualNodes", None)):
        assert "has an @, which no name may have" in server.refusal(HOME, operation, sent, meshName=name)
    body: Wire = {"virtualServiceName": name, "spec": {}}
    assert "has an @" in server.refusal(OWNER, "CreateVirtualService", body, meshName="shop")


def test_keys_of_other_accounts_meshes_carry_the_owner(server: Server, owner: str) -> None:
    """That is how stores, plans and proxies name them; the home account's meshes are bare."""
    mesh = "shop" if owner == HOME else f"shop@{owner}"
    assert Key(mesh, Kind.VIRTUAL_NODE, "mine") in server.state


@pytest.mark.parametrize(
    ("said", "mesh"),
    [
        ("mesh/shop/virtualNode/cart", "shop"),
        (f"mesh/shop@{HOME}/virtualNode/cart", "shop"),
        (f"mesh/shop@{OWNER}/virtualNode/cart", f"shop@{OWNER}"),
        (f"arn:aws:appmesh:us-east-1:{HOME}:mesh/shop/virtualNode/cart", "shop"),
        (f"arn:aws:appmesh:us-east-1:{CONSUMER}:mesh/shop@{HOME}/virtualNode/cart", "shop"),
        (f"arn:aws:appmesh:us-east-1:{OWNER}:mesh/shop/virtualNode/cart", f"shop@{OWNER}"),
        (f"arn:aws:appmesh:us-east-1:{CONSUMER}:mesh/shop@{OWNER}/virtualNode/cart", f"shop@{OWNER}"),
    ],
)
def test_an_envoy_says_whose_mesh_its_node_lies_in(said: str, mesh: str) -> None:
    """By a path, with the owner or without, and by the ARN of either account."""
    node = message("envoy.config.core.v3.Node")(id=said)
    assert node_key(node, HOME) == Key(mesh, Kind.VIRTUAL_NODE, "cart")


def test_an_envoy_of_a_shared_mesh_is_configured_like_any_other(server: Server, owner: str) -> None:
    """Its resources are named as if the mesh were the server's own; a consumer's service is reached by its ARN."""
    put(server, CONSUMER, "VirtualService", "mine.local", {"provider": {"virtualNode": {"virtualNodeName": "mine"}}})
    arn = f"arn:aws:appmesh:us-east-1:{CONSUMER}:mesh/shop@{owner}/virtualService/mine.local"
    put(server, owner, "VirtualNode", "caller", {"backends": [{"virtualService": {"virtualServiceName": arn}}]})
    mesh = "shop" if owner == HOME else f"shop@{owner}"
    snapshot = build(resolve(server.state), Key(mesh, Kind.VIRTUAL_NODE, "caller"), {}, Redirect())
    names = {name for found in snapshot.resources.values() for name in found}
    assert "cds_egress_shop_mine_http_8080" in names
    assert not [name for name in names if "@" in name]


async def test_envoys_of_meshes_of_one_name_are_told_apart_over_xds() -> None:
    """Each gets its own node's configuration, by whichever of its names it comes."""
    home, foreign = (Key(mesh, Kind.VIRTUAL_NODE, "web") for mesh in ("shop", f"shop@{OWNER}"))
    stage = Stage(home, foreign)
    stage.server = AdsServer(stage.control, Everybody(), home=HOME)
    stage.publish(plain(CLUSTER, "a"))
    port = await stage.server.start("127.0.0.1", 0)
    said = {
        "mesh/shop/virtualNode/web": home,
        f"arn:aws:appmesh:us-east-1:{CONSUMER}:mesh/shop@{HOME}/virtualNode/web": home,
        f"mesh/shop@{OWNER}/virtualNode/web": foreign,
        f"arn:aws:appmesh:us-east-1:{OWNER}:mesh/shop/virtualNode/web": foreign,
    }
    try:
        for number, (name, node) in enumerate(said.items()):
            claim = {"id": name, "metadata": {"meshwright": {"instance": f"envoy-{number}"}}}
            async with AdsClient(f"127.0.0.1:{port}", claim, delta=True) as client:
                await client.say(CLUSTER)
                await client.hear()
                assert f"{node.path}@envoy-{number}" in {one.id for one in stage.control.statuses()}
    finally:
        await stage.server.stop()
