"""`operations.perform` does what App Mesh does: one object at a time, in the service's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from meshwright import errors
from meshwright.model.identity import Key, Kind
from meshwright.model.state import State
from meshwright.operations import OPERATIONS, UNLIMITED, Quotas, Stamp, changes, decode_request, find, perform
from said import said

if TYPE_CHECKING:
    from meshwright.operations import Response

Wire = dict[str, Any]
ACCOUNT = "000000000000"
NODE: Wire = {
    "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
    "serviceDiscovery": {"dns": {"hostname": "cart.local"}},
}
ROUTER: Wire = {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]}
TWO_PORTS: Wire = {"listeners": [{"portMapping": {"port": port, "protocol": "http"}} for port in (8080, 8081)]}
GATEWAY_ROUTE: Wire = {
    "httpRoute": {
        "match": {"prefix": "/"},
        "action": {"target": {"virtualService": {"virtualServiceName": "cart.local"}}},
    }
}


def route(*nodes: str, **match: Any) -> Wire:
    """An HTTP route to `nodes`."""
    targets = [{"virtualNode": node, "weight": 1} for node in nodes]
    return {"httpRoute": {"match": {"prefix": "/", **match}, "action": {"weightedTargets": targets}}}


class Server:
    """A state, a clock and ids, and what a client does to it."""

    def __init__(self, quotas: Quotas = UNLIMITED) -> None:
        self.state = State()
        self.at = 1_700_000_000_000
        self.quotas = quotas

    def call(self, operation: str, body: Wire | None = None, /, **members: str) -> Response:
        """Carry out `operation`; path and query members are keywords."""
        row = OPERATIONS[operation]
        self.at += 1_500
        stamp = Stamp(at=self.at, uid=f"uid-{self.at}")
        request = decode_request(row, members, members, body)
        self.state, response = perform(self.state, request, stamp, self.quotas)
        return response

    def create(self, kind: str, name: str, spec: Wire | None = None, **members: str) -> Wire:
        """Create an object in mesh `m`."""
        field = f"{kind[0].lower()}{kind[1:]}Name"
        body: Wire = {field: name} if spec is None else {field: name, "spec": spec}
        return said(self.call(f"Create{kind}", body, meshName="m", **members))


@pytest.fixture
def server() -> Server:
    """A mesh `m` with one object of each kind: gateway `g` → service → router `r` → node `n`."""
    one = Server()
    one.create("Mesh", "m")
    one.create("VirtualNode", "n", NODE)
    one.create("VirtualRouter", "r", ROUTER)
    one.create("Route", "t", route("n"), virtualRouterName="r")
    one.create("VirtualService", "cart.local", {"provider": {"virtualRouter": {"virtualRouterName": "r"}}})
    one.create("VirtualGateway", "g", ROUTER)
    one.create("GatewayRoute", "w", GATEWAY_ROUTE, virtualGatewayName="g")
    return one


def refusal(server: Server, operation: str, body: Wire | None = None, /, **members: str) -> str:
    """The refusal's name and words; the state is as it was before."""
    before = server.state
    with pytest.raises(errors.ApiError) as caught:
        server.call(operation, body, **members)
    assert server.state is before
    assert type(caught.value) in OPERATIONS[operation].errors, "the operation does not declare this error"
    return f"{caught.value.code}: {caught.value}"


def test_a_new_object_is_active_at_version_one_and_owned_by_the_account() -> None:
    """What every create answers."""
    server = Server()
    assert server.create("Mesh", "m") == {
        "meshName": "m",
        "metadata": {
            "arn": "arn:aws:appmesh:us-east-1:000000000000:mesh/m",
            "createdAt": 1_700_000_001.5,
            "lastUpdatedAt": 1_700_000_001.5,
            "meshOwner": ACCOUNT,
            "resourceOwner": ACCOUNT,
            "uid": "uid-1700000001500",
            "version": 1,
        },
        "spec": {},
        "status": {"status": "ACTIVE"},
    }


def test_an_update_replaces_the_whole_spec_and_counts_the_version(server: Server) -> None:
    """No merge: what is not sent is gone; identity and creation stay."""
    created = said(server.call("DescribeMesh", meshName="m"))
    server.call("UpdateMesh", {"spec": {"egressFilter": {"type": "ALLOW_ALL"}}}, meshName="m")
    updated = said(server.call("UpdateMesh", {"spec": {"serviceDiscovery": {}}}, meshName="m"))
    assert updated["spec"] == {"serviceDiscovery": {}}
    assert updated["metadata"]["version"] == 3
    assert updated["metadata"]["lastUpdatedAt"] > updated["metadata"]["createdAt"]
    assert {name: updated["metadata"][name] for name in ("uid", "createdAt", "arn")} == {
        name: created["metadata"][name] for name in ("uid", "createdAt", "arn")
    }


def test_a_spec_is_echoed_as_sent_but_for_the_health_check_s_port() -> None:
    """Empty lists stay, absent members stay absent; the port is the listener's."""
    server = Server()
    server.create("Mesh", "m")
    check = {
        "protocol": "http",
        "path": "/ping",
        "healthyThreshold": 2,
        "unhealthyThreshold": 3,
        "intervalMillis": 5000,
        "timeoutMillis": 2000,
    }
    mapping = {"port": 8080, "protocol": "http"}
    spec = {**NODE, "backends": [], "listeners": [{"portMapping": mapping, "healthCheck": check}]}
    answer = server.create("VirtualNode", "n", spec)
    assert answer["spec"] == {**spec, "listeners": [{"portMapping": mapping, "healthCheck": {**check, "port": 8080}}]}
    assert server.state[Key("m", Kind.VIRTUAL_NODE, "n")].spec.listeners[0].health_check.port is None  # type: ignore[union-attr,index]


def test_a_deleted_object_says_so_and_is_gone(server: Server) -> None:
    """The version counts the delete, except a mesh's (facts §1.2)."""
    answer = said(server.call("DeleteGatewayRoute", meshName="m", virtualGatewayName="g", gatewayRouteName="w"))
    assert answer["status"] == {"status": "DELETED"}
    assert answer["metadata"]["version"] == 2
    assert answer["spec"] == GATEWAY_ROUTE
    server.call("DeleteVirtualGateway", meshName="m", virtualGatewayName="g")
    server.call("DeleteRoute", meshName="m", virtualRouterName="r", routeName="t")
    server.call("DeleteVirtualService", meshName="m", virtualServiceName="cart.local")
    server.call("DeleteVirtualRouter", meshName="m", virtualRouterName="r")
    server.call("DeleteVirtualNode", meshName="m", virtualNodeName="n")
    assert said(server.call("DeleteMesh", meshName="m"))["metadata"]["version"] == 1
    assert len(server.state) == 0


@pytest.mark.parametrize(
    ("operation", "members", "words"),
    [
        (
            "DeleteMesh",
            {},
            (
                "Mesh m for account 000000000000 has active VirtualNodes, "
                "please delete VirtualNodes before deleting the Mesh"
            ),
        ),
        (
            "DeleteVirtualNode",
            {"virtualNodeName": "n"},
            "VirtualNode with name n cannot be deleted because it is the target of one or more routes.",
        ),
        (
            "DeleteVirtualRouter",
            {"virtualRouterName": "r"},
            "VirtualRouter with name r cannot be deleted because it is a VirtualService provider",
        ),
        (
            "DeleteVirtualGateway",
            {"virtualGatewayName": "g"},
            (
                "VirtualGateway with name g has active GatewayRoutes, "
                "please delete GatewayRoutes before deleting the VirtualGateway"
            ),
        ),
    ],
)
def test_what_is_in_use_cannot_be_deleted(server: Server, operation: str, members: Wire, words: str) -> None:
    """In the service's words where they are known."""
    assert refusal(server, operation, meshName="m", **members) == f"ResourceInUseException: {words}"


def test_a_service_behind_a_gateway_route_cannot_be_deleted(server: Server) -> None:
    """The words name the gateway route by its uid; being a backend does not count."""
    w = said(server.call("DescribeGatewayRoute", meshName="m", virtualGatewayName="g", gatewayRouteName="w"))
    assert refusal(server, "DeleteVirtualService", meshName="m", virtualServiceName="cart.local") == (
        "ResourceInUseException: VirtualService cart.local is being referenced in the following: "
        f"GATEWAY_ROUTE: [{w['metadata']['uid']}]"
    )
    server.call("DeleteGatewayRoute", meshName="m", virtualGatewayName="g", gatewayRouteName="w")
    backend = {"backends": [{"virtualService": {"virtualServiceName": "cart.local"}}]}
    server.create("VirtualNode", "client", backend)
    server.call("DeleteVirtualService", meshName="m", virtualServiceName="cart.local")


def test_a_provider_node_cannot_be_deleted() -> None:
    """Neither can a router with routes and without a service."""
    server = Server()
    server.create("Mesh", "m")
    server.create("VirtualNode", "n", {})
    server.create("VirtualService", "s.local", {"provider": {"virtualNode": {"virtualNodeName": "n"}}})
    assert refusal(server, "DeleteVirtualNode", meshName="m", virtualNodeName="n") == (
        "ResourceInUseException: VirtualNode with name n cannot be deleted because it is a VirtualService provider"
    )
    server.create("VirtualRouter", "r", ROUTER)
    server.create("Route", "t", route("n"), virtualRouterName="r")
    assert refusal(server, "DeleteVirtualRouter", meshName="m", virtualRouterName="r") == (
        "ResourceInUseException: VirtualRouter with name r has active Routes, please delete Routes before deleting "
        "the VirtualRouter"
    )


@pytest.mark.parametrize(
    ("operation", "body", "members", "words"),
    [
        (
            "DescribeVirtualNode",
            None,
            {"virtualNodeName": "x"},
            "VirtualNode with name x is not present under mesh m",
        ),
        ("DeleteVirtualNode", None, {"virtualNodeName": "x"}, "VirtualNode with name x is not present under mesh m"),
        ("UpdateVirtualNode", {"spec": {}}, {"virtualNodeName": "x"}, "VirtualNode with name x is not present under"),
        ("ListVirtualNodes", None, {"meshName": "x"}, "Mesh with name x is not present for account 000000000000"),
        ("ListRoutes", None, {"virtualRouterName": "x"}, "VirtualRouter with name x is not present under mesh m"),
        (
            "DescribeRoute",
            None,
            {"virtualRouterName": "r", "routeName": "x"},
            "Route with name x is not present under VirtualRouter r in mesh m for account 000000000000",
        ),
        (
            "CreateRoute",
            {"routeName": "u", "spec": route("product-v2-vn")},
            {"virtualRouterName": "r"},
            "VirtualNode with name product-v2-vn is missing",
        ),
        (
            "UpdateRoute",
            {"spec": route("product-v2-vn")},
            {"virtualRouterName": "r", "routeName": "t"},
            "VirtualNode with name product-v2-vn is missing",
        ),
        (
            "CreateVirtualService",
            {"virtualServiceName": "s", "spec": {"provider": {"virtualRouter": {"virtualRouterName": "x"}}}},
            {},
            "VirtualRouter with name x is missing",
        ),
        (
            "DescribeMesh",
            None,
            {"meshOwner": "123456789012"},
            "Mesh with name m is not present for account 1234567890",
        ),
    ],
)
def test_what_is_not_there_is_not_found(
    server: Server, operation: str, body: Wire | None, members: Wire, words: str
) -> None:
    """Objects, what they lie in, what they strictly refer to, and other accounts' meshes."""
    assert refusal(server, operation, body, **{"meshName": "m", **members}).startswith(f"NotFoundException: {words}")


def test_a_gateway_route_needs_its_service_though_not_the_service_s_provider(server: Server) -> None:
    """The service may have none."""
    server.create("VirtualService", "bare.local", {})
    target = {"virtualService": {"virtualServiceName": "bare.local"}}
    spec = {"httpRoute": {"match": {"prefix": "/b"}, "action": {"target": target}}}
    server.create("GatewayRoute", "b", spec, virtualGatewayName="g")
    missing = {**spec["httpRoute"], "action": {"target": {"virtualService": {"virtualServiceName": "x.local"}}}}
    body = {"gatewayRouteName": "x", "spec": {"httpRoute": missing}}
    assert refusal(server, "CreateGatewayRoute", body, meshName="m", virtualGatewayName="g") == (
        "NotFoundException: VirtualService with name x.local is missing"
    )


def test_a_backend_may_name_a_service_that_does_not_exist(server: Server) -> None:
    """App Mesh connects them once it does; two backends of one name are refused."""
    backend = {"virtualService": {"virtualServiceName": "later.local"}}
    server.create("VirtualNode", "client", {"backends": [backend]})
    assert "later.local" in refusal(
        server, "CreateVirtualNode", {"virtualNodeName": "x", "spec": {"backends": [backend, backend]}}, meshName="m"
    )


def test_a_name_that_is_taken_is_a_conflict_even_for_an_equal_object(server: Server) -> None:
    """Kinds, meshes and routers have names of their own."""
    body = {"virtualNodeName": "n", "spec": NODE}
    assert refusal(server, "CreateVirtualNode", body, meshName="m") == (
        "ConflictException: VirtualNode with name n already exists under mesh m for account 000000000000"
    )
    assert refusal(server, "CreateMesh", {"meshName": "m"}) == (
        "ConflictException: Mesh with name m already exists for account 000000000000"
    )
    server.create("VirtualRouter", "n", ROUTER)
    server.create("Route", "t", route("n"), virtualRouterName="n")


@pytest.mark.parametrize("name", ["a/b", "a b", "", "x" * 256, "tab\t", "Ünode"])
def test_a_name_that_no_arn_can_carry_is_refused(server: Server, name: str) -> None:
    """Slashes and blanks would make two objects out of one name."""
    body = {"virtualNodeName": name, "spec": {}}
    assert refusal(server, "CreateVirtualNode", body, meshName="m").startswith("BadRequestException: ")


def test_every_fault_of_a_request_is_told_at_once_with_its_path(server: Server) -> None:
    """Unknown members, missing ones, values outside their limits, in the body and in the query."""
    body = {
        "virtualNodename": "x",
        "spec": {"listeners": [{"portMapping": {"port": 0, "protocol": "htp"}}], "color": 1},
    }
    words = refusal(server, "CreateVirtualNode", body, meshName="m", meshOwner="1")
    assert words.startswith("BadRequestException: 6 validation errors detected: ")
    for part in (
        "'virtualNodename' failed to satisfy constraint: unknown field 'virtualNodename', did you mean",
        "'virtualNodeName' failed to satisfy constraint: is required",
        "'spec.listeners[0].portMapping.port' failed to satisfy constraint: 0 is too small",
        "'spec.listeners[0].portMapping.protocol' failed to satisfy constraint: 'htp' is not one of",
        "'spec.color' failed to satisfy constraint: unknown field 'color'",
        "'meshOwner' failed to satisfy constraint: '1' is shorter than 12 characters",
    ):
        assert part in words


def test_the_service_s_own_words_stand_alone(server: Server) -> None:
    """Quoted texts are the whole message."""
    policy: Wire = {"tls": {"validation": {"trust": {}}}}
    body = {"virtualNodeName": "x", "spec": {"backendDefaults": {"clientPolicy": policy}}}
    assert refusal(server, "CreateVirtualNode", body, meshName="m") == (
        "BadRequestException: One type of TLS Validation Context Trust must be set."
    )
    body = {"virtualNodeName": "x", "spec": {"serviceDiscovery": {"dns": {"hostname": "x"}}}}
    assert refusal(server, "CreateVirtualNode", body, meshName="m") == (
        "BadRequestException: Service Discovery can't be set without a listener."
    )


def test_a_router_takes_a_second_listener_only_when_its_routes_name_their_port(server: Server) -> None:
    """The service's own words, then the way round."""
    update = {"spec": TWO_PORTS}
    assert refusal(server, "UpdateVirtualRouter", update, meshName="m", virtualRouterName="r") == (
        "BadRequestException: All Routes for this Virtual Router must define a port match before adding multiple "
        "listeners to this Virtual Router. 1 Route(s) are missing port. Listing up to 5 route names: [t]"
    )
    server.call("UpdateRoute", {"spec": route("n", port=8080)}, meshName="m", virtualRouterName="r", routeName="t")
    server.call("DeleteGatewayRoute", meshName="m", virtualGatewayName="g", gatewayRouteName="w")
    server.call("UpdateVirtualRouter", update, meshName="m", virtualRouterName="r")
    assert refusal(
        server, "CreateRoute", {"routeName": "u", "spec": route("n")}, meshName="m", virtualRouterName="r"
    ) == ("BadRequestException: Route must define a port match criteria if the Virtual Router has multiple listeners")


@pytest.mark.parametrize("mapping", [{"port": 9090, "protocol": "http"}, {"port": 8080, "protocol": "http2"}])
def test_a_listener_that_routes_depend_on_stays_as_it_is(server: Server, mapping: Wire) -> None:
    """Port and protocol may change freely once the routes are gone (facts §1.3)."""
    update = {"spec": {"listeners": [{"portMapping": mapping}]}}
    assert refusal(server, "UpdateVirtualRouter", update, meshName="m", virtualRouterName="r") == (
        "BadRequestException: The listener on port 8080 with protocol http of VirtualRouter with name r cannot be "
        "changed or removed because 1 Route(s) depend on it. Listing up to 5 route names: [t]"
    )
    server.call("DeleteRoute", meshName="m", virtualRouterName="r", routeName="t")
    server.call("UpdateVirtualRouter", update, meshName="m", virtualRouterName="r")


def test_lists_are_in_order_of_names_and_whole_through_their_pages(server: Server) -> None:
    """Also when objects come and go between two pages."""
    names = [f"n{number:02}" for number in range(25)]
    for name in reversed(names):
        server.create("VirtualNode", name, {})
    first = said(server.call("ListVirtualNodes", meshName="m", limit="10"))
    assert [one["virtualNodeName"] for one in first["virtualNodes"]] == ["n", *names[:9]]
    server.call("DeleteVirtualNode", meshName="m", virtualNodeName="n08")
    server.create("VirtualNode", "a-new", {})
    rest = said(server.call("ListVirtualNodes", meshName="m", nextToken=first["nextToken"]))
    assert [one["virtualNodeName"] for one in rest["virtualNodes"]] == names[9:]
    assert rest["nextToken"] is None
    assert "spec" not in rest["virtualNodes"][0]


@pytest.mark.parametrize("limit", ["0", "101", "-1", "ten", "", "1.5", "\N{DEVANAGARI DIGIT ONE}"])
def test_a_limit_that_is_no_number_from_1_to_100_is_refused(server: Server, limit: str) -> None:
    """The limit of tags is 50."""
    words = refusal(server, "ListVirtualNodes", meshName="m", limit=limit)
    assert words.startswith("BadRequestException: 1 validation error detected: Value at 'limit'")
    assert "from 1 to 50" in refusal(server, "ListTagsForResource", resourceArn="arn:x", limit="51")


@pytest.mark.parametrize("token", ["x", "AAAA", "!", "ünicode", "A" * 5000])
def test_a_token_that_no_list_gave_is_refused(server: Server, token: str) -> None:
    """A token of another list is none of this one."""
    assert "nextToken" in refusal(server, "ListMeshes", nextToken=token)
    for name in ("a", "b"):
        server.create("VirtualNode", name, {})
    other = said(server.call("ListVirtualNodes", meshName="m", limit="1"))["nextToken"]
    assert "nextToken" in refusal(server, "ListVirtualRouters", meshName="m", nextToken=other)


SECOND: Wire = {**NODE, **TWO_PORTS}


@pytest.mark.parametrize(
    ("operation", "spec", "members", "words"),
    [
        (
            "UpdateVirtualRouter",
            TWO_PORTS,
            {"virtualRouterName": "r"},
            (
                "All Routes for this Virtual Router must define a port match before adding multiple listeners to "
                "this Virtual Router. 1 Route(s) are missing port. Listing up to 5 route names: [t]"
            ),
        ),
        (
            "UpdateVirtualNode",
            SECOND,
            {"virtualNodeName": "n"},
            (
                "All Routes for this Virtual Node must define a target port before adding multiple listeners to this "
                "Virtual Node. 1 Route(s) are missing port. Listing up to 5 route names: [t]"
            ),
        ),
        (
            "UpdateVirtualGateway",
            TWO_PORTS,
            {"virtualGatewayName": "g"},
            (
                "All Gateway Routes for this Virtual Gateway must define a port match before adding multiple "
                "listeners to this Virtual Gateway. 1 Gateway Route(s) are missing port. "
                "Listing up to 5 gateway route names: [w]"
            ),
        ),
        (
            "UpdateVirtualService",
            {"provider": {"virtualNode": {"virtualNodeName": "two"}}},
            {"virtualServiceName": "cart.local"},
            (
                "All Gateway Routes for this Virtual Service must define a target port before its provider can have "
                "multiple listeners. 1 Gateway Route(s) are missing port. Listing up to 5 gateway route names: [w]"
            ),
        ),
    ],
)
def test_a_second_listener_wants_a_port_in_every_route_first(
    server: Server, operation: str, spec: Wire, members: Wire, words: str
) -> None:
    """Whichever object the choice would come from; no route is left that says less than it must."""
    server.create("VirtualNode", "two", SECOND)
    assert refusal(server, operation, {"spec": spec}, meshName="m", **members) == f"BadRequestException: {words}"


def test_a_provider_s_second_listener_wants_a_port_in_gateway_routes(server: Server) -> None:
    """Of a router's service and of a node's; once they name one, it may come."""
    server.create("VirtualNode", "two", NODE)
    to_router = {**route("n")["httpRoute"], "match": {"prefix": "/", "port": 8080}}
    server.call("UpdateRoute", {"spec": {"httpRoute": to_router}}, meshName="m", virtualRouterName="r", routeName="t")
    words = refusal(server, "UpdateVirtualRouter", {"spec": TWO_PORTS}, meshName="m", virtualRouterName="r")
    assert words == (
        "BadRequestException: All Gateway Routes for this Virtual Router must define a target port before adding "
        "multiple listeners to this Virtual Router. 1 Gateway Route(s) are missing port. "
        "Listing up to 5 gateway route names: [w]"
    )
    provider = {"provider": {"virtualNode": {"virtualNodeName": "two"}}}
    server.call("UpdateVirtualService", {"spec": provider}, meshName="m", virtualServiceName="cart.local")
    words = refusal(server, "UpdateVirtualNode", {"spec": SECOND}, meshName="m", virtualNodeName="two")
    assert "All Gateway Routes for this Virtual Node must define a target port" in words
    entry = {"prefix": "/"}, {"target": {"virtualService": {"virtualServiceName": "cart.local"}, "port": 8080}}
    spec = {"httpRoute": {"match": entry[0], "action": entry[1]}}
    at = {"meshName": "m", "virtualGatewayName": "g", "gatewayRouteName": "w"}
    server.call("UpdateGatewayRoute", {"spec": spec}, **at)
    server.call("UpdateVirtualNode", {"spec": SECOND}, meshName="m", virtualNodeName="two")
    server.call("UpdateVirtualRouter", {"spec": TWO_PORTS}, meshName="m", virtualRouterName="r")


def arn(path: str) -> str:
    """An ARN of this server."""
    return f"arn:aws:appmesh:us-east-1:{ACCOUNT}:{path}"


def test_tags_are_put_replaced_listed_and_taken_off_without_a_new_version(server: Server) -> None:
    """A key once; an empty value is a value; taking off what is not there does not matter."""
    of = {"resourceArn": arn("mesh/m/virtualRouter/r/route/t")}
    server.call("TagResource", {"tags": [{"key": "b", "value": "1"}, {"key": "a", "value": ""}]}, **of)
    server.call("TagResource", {"tags": [{"key": "b", "value": "2"}]}, **of)
    assert said(server.call("ListTagsForResource", **of))["tags"] == [
        {"key": "a", "value": ""},
        {"key": "b", "value": "2"},
    ]
    page = said(server.call("ListTagsForResource", **of, limit="1"))
    assert page["tags"] == [{"key": "a", "value": ""}]
    assert said(server.call("ListTagsForResource", **of, nextToken=page["nextToken"]))["tags"][0]["key"] == "b"
    response = server.call("UntagResource", {"tagKeys": ["a", "zz"]}, **of)
    assert response.body == {}
    assert said(server.call("ListTagsForResource", **of))["tags"] == [{"key": "b", "value": "2"}]
    described = said(server.call("DescribeRoute", meshName="m", virtualRouterName="r", routeName="t"))
    assert described["metadata"]["version"] == 1
    before = server.state
    assert server.call("UntagResource", {"tagKeys": ["a"]}, **of).key is None
    assert server.state is before


def test_an_object_carries_at_most_50_tags(server: Server) -> None:
    """Counted over all calls; replacing one adds none."""
    tags = [{"key": f"k{number}", "value": "v"} for number in range(50)]
    of = {"resourceArn": arn("mesh/m")}
    server.call("TagResource", {"tags": tags}, **of)
    server.call("TagResource", {"tags": [{"key": "k7", "value": "w"}]}, **of)
    words = refusal(server, "TagResource", {"tags": [{"key": "one more", "value": ""}]}, **of)
    assert words.startswith("TooManyTagsException: ")
    assert "at most 50" in refusal(server, "CreateMesh", {"meshName": "x", "tags": [*tags, *tags]})


@pytest.mark.parametrize("key", ["aws:cloudformation:stack-name", "AWS:x"])
def test_reserved_and_repeated_tag_keys_are_refused(server: Server, key: str) -> None:
    """At create as well."""
    tags = [{"key": key, "value": ""}]
    assert key in refusal(server, "TagResource", {"tags": tags}, resourceArn=arn("mesh/m"))
    assert key in refusal(server, "CreateMesh", {"meshName": "x", "tags": tags})
    twice = [{"key": "a", "value": ""}, {"key": "a", "value": "1"}]
    assert "[a]" in refusal(server, "CreateMesh", {"meshName": "x", "tags": twice})


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("mesh/m", "BadRequestException"),
        ("arn:aws:s3:::bucket", "BadRequestException"),
        ("arn:aws:appmesh:us-east-1:000000000000:mesh/m/virtualNode", "BadRequestException"),
        ("arn:aws:appmesh:us-east-1:000000000000:mesh/m/virtualNode/x", "NotFoundException"),
        ("arn:aws:appmesh:us-east-1:123456789012:mesh/m", "NotFoundException"),
        ("arn:aws:appmesh:eu-west-1:000000000000:mesh/m", "NotFoundException"),
        ("arn:aws-cn:appmesh:us-east-1:000000000000:mesh/m", "NotFoundException"),
        ("arn:aws:appmesh:us-east-1:000000000000:mesh/m@123456789012", "NotFoundException"),
    ],
)
def test_an_arn_names_an_object_of_this_server_or_nothing(server: Server, text: str, code: str) -> None:
    """Malformed ones are bad requests, others' are not found."""
    assert refusal(server, "ListTagsForResource", resourceArn=text).startswith(f"{code}: ")


def test_an_arn_may_name_the_mesh_s_owner(server: Server) -> None:
    """`M@OWNER` is how a shared mesh is written."""
    owned = arn(f"mesh/m@{ACCOUNT}/virtualNode/n")
    assert said(server.call("ListTagsForResource", resourceArn=owned)) == {"tags": [], "nextToken": None}


def test_quotas_are_the_documented_ones_and_can_be_changed() -> None:
    """The default gives three gateways a mesh."""
    server = Server(Quotas(virtual_routers=1, backends=1))
    server.create("Mesh", "m")
    for name in ("a", "b", "c"):
        server.create("VirtualGateway", name, ROUTER)
    words = refusal(server, "CreateVirtualGateway", {"virtualGatewayName": "d", "spec": ROUTER}, meshName="m")
    assert words == "LimitExceededException: The limit of 3 VirtualGateways for Mesh m is exceeded"
    server.create("VirtualRouter", "r", ROUTER)
    body: Wire = {"virtualRouterName": "s", "spec": ROUTER}
    assert "limit of 1 VirtualRouters" in refusal(server, "CreateVirtualRouter", body, meshName="m")
    server.create("VirtualNode", "n", {"backends": [{"virtualService": {"virtualServiceName": "a"}}]})
    many = {"spec": {"backends": [{"virtualService": {"virtualServiceName": name}} for name in "ab"]}}
    assert "limit of 1 Backends" in refusal(server, "UpdateVirtualNode", many, meshName="m", virtualNodeName="n")


def test_what_exceeds_a_quota_already_may_stay_and_shrink() -> None:
    """Whoever lowers a quota locks nobody out."""
    server = Server()
    server.create("Mesh", "m")

    def calling(number: int) -> Wire:
        return {
            "spec": {"backends": [{"virtualService": {"virtualServiceName": f"s{one}"}} for one in range(number)]}
        }

    server.create("VirtualNode", "n", calling(5)["spec"])
    server.quotas = Quotas(backends=2)
    for number in (5, 4):
        server.call("UpdateVirtualNode", calling(number), meshName="m", virtualNodeName="n")
    words = refusal(server, "UpdateVirtualNode", calling(5), meshName="m", virtualNodeName="n")
    assert words.endswith("The limit of 2 Backends for VirtualNode n is exceeded: it would have 5")


def test_changes_are_what_a_store_commits(server: Server) -> None:
    """Objects put and keys deleted, nothing that stayed."""
    before = server.state
    server.call("DeleteGatewayRoute", meshName="m", virtualGatewayName="g", gatewayRouteName="w")
    server.create("VirtualNode", "x", {})
    puts, deletes = changes(before, server.state)
    assert [one.key for one in puts] == [Key("m", Kind.VIRTUAL_NODE, "x")]
    assert deletes == (Key("m", Kind.GATEWAY_ROUTE, "w", "g"),)
    assert changes(before, before) == ((), ())


@pytest.mark.parametrize(
    ("method", "path", "name", "members"),
    [
        ("PUT", "/v20190125/meshes", "CreateMesh", {}),
        ("GET", "/v20190125/meshes/a%2Fb", "DescribeMesh", {"meshName": "a/b"}),
        (
            "DELETE",
            "/v20190125/meshes/m/virtualServices/a.b.local",
            "DeleteVirtualService",
            {"meshName": "m", "virtualServiceName": "a.b.local"},
        ),
        (
            "GET",
            "/v20190125/meshes/m/virtualRouter/r%20s/routes",
            "ListRoutes",
            {"meshName": "m", "virtualRouterName": "r s"},
        ),
        ("PUT", "/v20190125/untag", "UntagResource", {}),
    ],
)
def test_a_request_finds_its_operation_and_the_names_in_its_path(
    method: str, path: str, name: str, members: Wire
) -> None:
    """An encoded slash stays inside the name."""
    found = find(method, path)
    assert found is not None
    assert (found[0].name, found[1]) == (name, members)


@pytest.mark.parametrize(
    "path", ["", "/", "/v20190125", "/v20190125/mesh", "/v20190125/meshes/m/virtualRouters/r/routes"]
)
def test_a_path_of_no_operation_finds_nothing(path: str) -> None:
    """Routes lie under the singular `virtualRouter`."""
    assert find("GET", path) is None
