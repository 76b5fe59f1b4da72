"""Stock boto3 works against the App Mesh API over real HTTP, unchanged; its answers are what AWS published."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest
from botocore.validate import ParamValidator

import published
from meshwright.model.identity import Key, Kind
from serving import KEY, serving

if TYPE_CHECKING:
    from pathlib import Path

    from serving import Serving

Wire = dict[str, Any]
ARN = "arn:aws:appmesh:us-east-1:000000000000:mesh/"
NODE: Wire = {
    "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
    "serviceDiscovery": {"dns": {"hostname": "cart.local"}},
}
ROUTER: Wire = {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]}
ROUTE: Wire = {
    "httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": [{"virtualNode": "n", "weight": 1}]}}
}
SERVICE: Wire = {"provider": {"virtualRouter": {"virtualRouterName": "r"}}}
GATEWAY_ROUTE: Wire = {
    "httpRoute": {
        "match": {"prefix": "/"},
        "action": {"target": {"virtualService": {"virtualServiceName": "cart.local"}}},
    }
}

LIFE: list[tuple[str, Wire, Wire]] = [
    ("Mesh", {}, {"egressFilter": {"type": "ALLOW_ALL"}}),
    ("VirtualNode", {"virtualNodeName": "n"}, NODE),
    ("VirtualRouter", {"virtualRouterName": "r"}, ROUTER),
    ("Route", {"virtualRouterName": "r", "routeName": "t"}, ROUTE),
    ("VirtualService", {"virtualServiceName": "cart.local"}, SERVICE),
    ("VirtualGateway", {"virtualGatewayName": "g"}, ROUTER),
    ("GatewayRoute", {"virtualGatewayName": "g", "gatewayRouteName": "w"}, GATEWAY_ROUTE),
]
"""Every kind in the order of creation: names, spec."""


def strict(server: Serving) -> Any:
    """A client that fails on any answer whose body is not of the published output shape, to the last member."""
    client = server.client()

    def check(http_response: Any, model: Any, **_rest: Any) -> None:
        if http_response.status_code != 200:
            return
        shape = model.output_shape
        payload = shape.serialization.get("payload")
        body = json.loads(http_response.content)
        # An absent member may be sent as null, as AWS does with nextToken.
        body = {name: value for name, value in body.items() if value is not None}
        report = ParamValidator().validate(body, shape.members[payload] if payload else shape)
        assert not report.has_errors(), report.generate_report()

    client.meta.events.register("after-call.appmesh", check)
    return client


def method(client: Any, verb: str, kind: str) -> Any:
    """The client's method of an operation."""
    snake = "".join(f"_{one.lower()}" if one.isupper() else one for one in kind)
    return getattr(client, f"{verb}{snake}")


def refused(call: Any, /, **members: Any) -> tuple[str, int, str]:
    """The error's name, HTTP status and words."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**members)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def test_boto3_creates_describes_lists_updates_tags_and_deletes_every_kind(server: Serving) -> None:
    """Each answer validates against the published output shape."""
    client = strict(server)
    for kind, own, spec in LIFE:
        output = f"{kind[0].lower()}{kind[1:]}"
        names = {"meshName": "m", **own}
        created = method(client, "create", kind)(**names, spec=spec, tags=[{"key": "team", "value": "shop"}])[output]
        assert created["spec"] == spec
        assert created["status"] == {"status": "ACTIVE"}
        assert created["metadata"]["version"] == 1
        assert {name: created[name] for name in names} == names
        described = method(client, "describe", kind)(**names)[output]
        assert described == created
        updated = method(client, "update", kind)(**names, spec=spec)[output]
        assert updated["metadata"]["version"] == 2
        plural = "meshes" if kind == "Mesh" else f"{kind}s"
        above = {name: value for name, value in names.items() if name != f"{output}Name"}
        listed = method(client, "list", f"{plural[0].upper()}{plural[1:]}")(**above)
        (one,) = listed[f"{plural[0].lower()}{plural[1:]}"]
        assert (one["arn"], one["version"]) == (created["metadata"]["arn"], 2)
        arn = created["metadata"]["arn"]
        client.tag_resource(resourceArn=arn, tags=[{"key": "tier", "value": ""}])
        assert client.list_tags_for_resource(resourceArn=arn)["tags"] == [
            {"key": "team", "value": "shop"},
            {"key": "tier", "value": ""},
        ]
        client.untag_resource(resourceArn=arn, tagKeys=["team"])
        assert client.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "tier", "value": ""}]
    # A provider is let go before what it provides with, a route before its targets.
    for kind in ("GatewayRoute", "VirtualGateway", "VirtualService", "Route", "VirtualRouter", "VirtualNode", "Mesh"):
        names = {"meshName": "m", **next(names for one, names, _ in LIFE if one == kind)}
        output = f"{kind[0].lower()}{kind[1:]}"
        assert method(client, "delete", kind)(**names)[output]["status"] == {"status": "DELETED"}
        assert refused(method(client, "describe", kind), **names)[:2] == ("NotFoundException", 404)
    assert len(server.store.head().state) == 0


def test_paginators_collect_everything_once(server: Serving) -> None:
    """All eight, with small pages."""
    client = strict(server)
    client.create_mesh(meshName="m")
    for number in range(7):
        spec = {"provider": {"virtualRouter": {"virtualRouterName": "r0"}}}
        client.create_virtual_router(meshName="m", virtualRouterName=f"r{number}", spec=ROUTER)
        client.create_virtual_node(meshName="m", virtualNodeName=f"n{number}", spec={})
        client.create_virtual_service(meshName="m", virtualServiceName=f"s{number}.local", spec=spec)
        target = {"weightedTargets": [{"virtualNode": "n0", "weight": 1}]}
        route = {"httpRoute": {"match": {"prefix": f"/{number}"}, "action": target}}
        client.create_route(meshName="m", virtualRouterName="r0", routeName=f"t{number}", spec=route)
    client.tag_resource(resourceArn=f"{ARN}m", tags=[{"key": f"k{number}", "value": ""} for number in range(7)])
    for name, page in published.paginators().items():
        snake = "".join(f"_{one.lower()}" if one.isupper() else one for one in name)[1:]
        if name in {"ListGatewayRoutes", "ListVirtualGateways", "ListMeshes"}:
            continue
        taken = {
            "ListRoutes": {"meshName": "m", "virtualRouterName": "r0"},
            "ListTagsForResource": {"resourceArn": f"{ARN}m"},
        }
        pages = client.get_paginator(snake).paginate(
            **taken.get(name, {"meshName": "m"}), PaginationConfig={"PageSize": 3}
        )
        sizes = [len(one[page["result_key"]]) for one in pages]
        assert sizes == [3, 3, 1], name
    assert [
        one["meshName"] for one in client.get_paginator("list_meshes").paginate().build_full_result()["meshes"]
    ] == ["m"]


def test_a_revision_says_who_and_what(server: Serving) -> None:
    """The principal of the key that signed, and the operation; a read is none."""
    client = server.client()
    client.create_mesh(meshName="m")
    client.describe_mesh(meshName="m")
    client.tag_resource(resourceArn=f"{ARN}m", tags=[{"key": "a", "value": "b"}])
    client.delete_mesh(meshName="m")
    said = [(one.principal, one.cause, len(one.puts), one.deletes) for one in server.store.revisions()]
    assert said == [
        ("arn:aws:iam::000000000000:user/administrator", "CreateMesh", 1, ()),
        ("arn:aws:iam::000000000000:user/administrator", "TagResource", 1, ()),
        ("arn:aws:iam::000000000000:user/administrator", "DeleteMesh", 0, (Key.of_mesh("m"),)),
    ]


def test_a_refused_request_is_no_revision(server: Serving) -> None:
    """Name, status and words of App Mesh, as boto3 reads them."""
    client = server.client()
    client.create_mesh(meshName="m")
    body = {"meshName": "m", "virtualNodeName": "n", "spec": {"serviceDiscovery": {"dns": {"hostname": "x"}}}}
    assert refused(client.create_virtual_node, **body) == (
        "BadRequestException",
        400,
        "Service Discovery can't be set without a listener.",
    )
    assert refused(client.create_mesh, meshName="m")[:2] == ("ConflictException", 409)
    client.create_virtual_node(meshName="m", virtualNodeName="n", spec={})
    assert refused(client.delete_mesh, meshName="m")[:2] == ("ResourceInUseException", 409)
    assert refused(client.list_meshes, nextToken="made up")[:2] == ("BadRequestException", 400)
    assert server.store.head().revision == 2


@pytest.mark.parametrize(
    "name", ["a.b.c", "cart.default.svc.cluster.local", "under_score", "*.local", "ünïcode", "100%", "a+b", "a:b"]
)
def test_a_service_s_name_survives_the_path(server: Serving, name: str) -> None:
    """Whatever must be percent-encoded on the way."""
    client = strict(server)
    client.create_mesh(meshName="m")
    client.create_virtual_service(meshName="m", virtualServiceName=name, spec={})
    assert (
        client.describe_virtual_service(meshName="m", virtualServiceName=name)["virtualService"]["virtualServiceName"]
        == name
    )
    client.delete_virtual_service(meshName="m", virtualServiceName=name)
    assert Key("m", Kind.VIRTUAL_SERVICE, name) not in server.store.head().state


def test_an_encoded_slash_stays_inside_its_name(server: Serving) -> None:
    """So that no name reaches into another path."""
    server.client().create_mesh(meshName="m")
    answer = server.ask("GET", "/v20190125/meshes/m%2FvirtualNodes")
    assert (answer.status, answer.code) == (404, "NotFoundException")
    assert answer.message == "Mesh with name m/virtualNodes is not present for account 000000000000"


@pytest.mark.parametrize(
    ("verb", "target", "body", "status", "code"),
    [
        ("GET", "/v20190125/nothing", b"", 404, "UnknownOperationException"),
        ("GET", "/x", b"", 404, "UnknownOperationException"),
        ("POST", "/healthz/x", b"", 404, "UnknownOperationException"),
        ("POST", "/v20190125/meshes", b"", 405, "UnknownOperationException"),
        ("PUT", "/v20190125/meshes", b"{", 400, "SerializationException"),
        ("PUT", "/v20190125/meshes", b"\xff\xfe", 400, "SerializationException"),
        ("PUT", "/v20190125/meshes", b"[" * 100_000, 400, "SerializationException"),
        ("PUT", "/v20190125/meshes", b'{"meshName":"\\ud800"}', 400, "SerializationException"),
        ("PUT", "/v20190125/meshes", b"[]", 400, "BadRequestException"),
        ("PUT", "/v20190125/meshes", b"", 400, "BadRequestException"),
        ("PUT", "/v20190125/meshes", b'{"meshName":null}', 400, "BadRequestException"),
        ("PUT", "/v20190125/meshes", b'{"meshName":1e999}', 400, "SerializationException"),
        ("PUT", "/v20190125/meshes", b'{"meshName":"x","spec":[]}', 400, "BadRequestException"),
        ("PUT", "/v20190125/meshes", b'{"meshName":"x","meshowner":"1"}', 400, "BadRequestException"),
        ("GET", "/v20190125/meshes?limit=0", b"", 400, "BadRequestException"),
        ("GET", "/v20190125/meshes?limit=1&limit=2", b"", 400, "BadRequestException"),
        ("GET", "/v20190125/meshes/%ff", b"", 400, "BadRequestException"),
        ("GET", "/v20190125/meshes?nextToken=%FF", b"", 400, "BadRequestException"),
        ("GET", "/v20190125/meshes/", b"", 400, "BadRequestException"),
        ("GET", "/v20190125/tags", b"", 400, "BadRequestException"),
        ("GET", "/v20190125/./meshes", b"", 403, "InvalidSignatureException"),
        ("GET", "/v20190125//meshes", b"", 403, "InvalidSignatureException"),
        ("PUT", "/v20190125/meshes", b" " * (1 << 20) + b"{}", 413, "RequestEntityTooLargeException"),
    ],
)
def test_a_request_that_is_none_is_refused_by_name(
    server: Serving, verb: str, target: str, body: bytes, status: int, code: str
) -> None:
    """With a message and a request id, and without a trace in the store."""
    answer = server.ask(verb, target, body)
    assert (answer.status, answer.code) == (status, code)
    assert answer.message
    assert len(answer.headers["x-amzn-requestid"]) == 36
    assert server.store.head().revision == 0


def test_a_megabyte_of_nonsense_gets_a_short_answer(server: Serving) -> None:
    """It says how much is wrong, and the first of it."""
    body = json.dumps({"meshName": "m", **{f"n{number}": 1 for number in range(50_000)}}).encode()
    found = server.ask("PUT", "/v20190125/meshes", body)
    assert (found.status, found.code) == (400, "BadRequestException")
    assert found.message.startswith("50000 validation errors detected: Value at 'n0' failed")
    assert found.message.endswith("; and 49900 more")
    assert len(found.body) < 20_000


def test_the_content_type_does_not_matter(server: Serving) -> None:
    """AWS does not look at it either."""
    for number, kind in enumerate(("application/json", "application/x-amz-json-1.1", "text/plain")):
        body = json.dumps({"meshName": f"m{number}"}).encode()
        assert server.ask("PUT", "/v20190125/meshes", body, content_type=kind).status == 200


def test_members_of_the_query_that_no_operation_takes_are_ignored(server: Serving) -> None:
    """Clients add their own."""
    assert server.ask("GET", "/v20190125/meshes?x-client=1").status == 200


def test_writers_of_two_servers_on_one_store_lose_nothing(tmp_path: Path) -> None:
    """Each write that was overtaken is performed anew on what the other left."""
    with serving(tmp_path) as one, serving(tmp_path) as other:
        one.client().create_mesh(meshName="m")

        def write(number: int) -> str:
            client = (one, other)[number % 2].client()
            made = [
                client.create_virtual_node(meshName="m", virtualNodeName=f"n{number}-{turn}", spec={})
                for turn in range(10)
            ]
            return str(len(made))

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(write, range(6))) == ["10"] * 6
        state = one.store.head().state
        assert len(state.of(Kind.VIRTUAL_NODE, "m")) == 60
        assert [len(change.puts) for change in one.store.revisions()] == [1] * 61
        assert state == other.store.head().state


def test_quotas_hold_where_they_are_given(tmp_path: Path) -> None:
    """App Mesh's defaults allow 15 meshes an account."""
    with serving(tmp_path, quotas=None) as server:
        client = server.client()
        for number in range(15):
            client.create_mesh(meshName=f"m{number}")
        assert refused(client.create_mesh, meshName="one-more")[:2] == ("LimitExceededException", 400)


def test_a_failure_of_a_known_kind_is_told_and_logged_in_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the file's path the log tells alone, and no traceback where the kind says it all."""
    with serving(tmp_path) as server:
        server.client().create_mesh(meshName="m")
        (tmp_path / "meshwright.db").rename(tmp_path / "elsewhere.db")
        answer = server.ask("PUT", "/v20190125/meshes", b'{"meshName": "other"}', key=KEY)
    assert (answer.status, answer.code) == (503, "ServiceUnavailableException")
    assert "The database cannot be used now: its file is gone. Repeat the request later." in answer.message
    assert str(tmp_path) not in answer.message
    (record,) = [one for one in caplog.records if "storage failed" in one.getMessage()]
    assert "was moved, deleted or replaced" in record.getMessage()
    assert record.exc_info is None


def test_a_database_that_fails_is_a_503_that_tells_nothing_of_the_inside(server: Serving) -> None:
    """And the server says that it is not ready."""
    server.client().create_mesh(meshName="m")
    server.store.close()
    answer = server.ask("GET", "/v20190125/meshes/m", key=KEY)
    assert (answer.status, answer.code) == (503, "ServiceUnavailableException")
    assert answer.headers["x-amzn-requestid"] in answer.message
    assert ".db" not in answer.message
    assert server.ask("GET", "/healthz", key=None).status == 200
    ready = server.ask("GET", "/readyz", key=None)
    assert (ready.status, json.loads(ready.body)["checks"]) == (503, {"store": False, "control": False})
