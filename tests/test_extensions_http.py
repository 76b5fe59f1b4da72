"""Extensions over HTTP and in releases: against the real server, its real store, and stock boto3 beside them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from meshwright.errors import RefusedError
from meshwright.model.identity import EXTENSION_KINDS
from meshwright.release import RollbackRequest
from meshwright.store import sqlite
from meshwright.views.answers import PREFIX
from serving import KEY, serving
from test_releases import BUILD, MESH, SHOP, applied, client, item, node, running
from trusting import authority

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.release import Item
    from meshwright.store.contract import AccessKey
    from serving import Serving
    from wire_client import Answer

EXTENSIONS = f"{PREFIX}/meshes/{MESH}/extensions"
SERVICE = item("virtualService/s", {"provider": {"virtualRouter": {"virtualRouterName": "r"}}})
LATE = "2100-01-01T00:00:00Z"
SPECS: dict[str, dict[str, Any]] = {
    "fault": {
        "target": {"virtualServiceName": "s"},
        "from": ["a"],
        "abort": {"httpStatus": 503, "percentage": 12.5},
        "expiresAt": LATE,
    },
    "mirror": {
        "target": {"virtualRouterName": "r", "routeName": "x"},
        "to": {"virtualNodeName": "b"},
        "percentage": 5,
    },
    "headerEdit": {"target": {"virtualNodeName": "a", "port": 80}, "response": {"remove": ["server"]}},
    "cors": {"target": {"virtualServiceName": "s"}, "allowOrigins": [{"suffix": ".example"}]},
    "rateLimit": {
        "target": {"virtualNodeName": "a"},
        "maxTokens": 10,
        "fillInterval": {"value": 1, "unit": "s"},
    },
    "egressPolicy": {
        "target": {"virtualNodeName": "a"},
        "allow": [{"host": "*.example.com", "ports": [443], "protocol": "tls"}],
    },
    "retryPolicy": {"target": {"virtualServiceName": "s"}, "acrossVersions": True},
    "telemetry": {"tracing": {"openTelemetry": {"endpoint": "otel:4317"}, "samplingPercentage": 0.5}},
    "zonePolicy": {"preferSameZone": True},
    "registration": {"target": {"virtualNodeName": "a"}},
}

EVERYBODY = [{"exact": "*"}, {"prefix": "*"}, {"suffix": "*"}, {"regex": ".*"}]
"""Origins by which Envoy's CORS filter takes every origin, since a plain `*` matches."""


def extension(kind: str, name: str = "e", **more: Any) -> Item:
    """One extension for a release."""
    return item(f"meshwright/{kind}/{name}", {**SPECS[kind], **more})


ALL = (*SHOP, SERVICE, *(extension(kind) for kind in SPECS))


def put(
    server: Serving,
    kind: str,
    name: str = "e",
    change: dict[str, Any] | None = None,
    *,
    key: AccessKey = KEY,
    tags: dict[str, str] | None = None,
    **headers: str,
) -> Answer:
    """PUT an extension with `change` in its spec; further keywords are headers."""
    body = {"spec": {**SPECS[kind], **(change or {})}} | ({} if tags is None else {"tags": tags})
    return server.ask("PUT", f"{EXTENSIONS}/{kind}/{name}", json.dumps(body).encode(), key=key, **headers)


def error(answer: Answer) -> tuple[int, str]:
    """Status and message of a refusal."""
    return answer.status, json.loads(answer.body)["message"]


def test_every_kind_is_put_read_replaced_and_deleted(server: Serving) -> None:
    """Each write is a revision with its cause; what is the same again is none."""
    applied(client(server), *SHOP, SERVICE)
    assert set(SPECS) == set(EXTENSION_KINDS)
    for kind, spec in SPECS.items():
        before = server.store.head().revision
        made = put(server, kind, tags={"team": "x"})
        assert (made.status, json.loads(made.body)["spec"]) == (201, spec)
        assert put(server, kind, tags={"team": "x"}).status == 200
        replaced = put(server, kind)
        found = json.loads(server.ask("GET", f"{EXTENSIONS}/{kind}/e").body)
        assert found == json.loads(replaced.body)
        assert (found["object"], found["tags"], found["metadata"]["version"]) == (
            f"mesh/m/meshwright/{kind}/e",
            {},
            2,
        )
        listed = json.loads(server.ask("GET", f"{EXTENSIONS}?kind={kind}").body)
        assert listed["extensions"] == [found]
        assert server.ask("DELETE", f"{EXTENSIONS}/{kind}/e").status == 200
        assert server.ask("GET", f"{EXTENSIONS}/{kind}/e").status == 404
        newest = server.store.revisions()[-3:]
        assert [one.cause for one in newest] == ["PutExtension", "PutExtension", "DeleteExtension"]
        assert server.store.head().revision == before + 3
    assert json.loads(server.ask("GET", EXTENSIONS).body)["extensions"] == []


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("fault", {"expiresAt": None}, "'spec.expiresAt' failed to satisfy constraint: expected a string"),
        (
            "fault",
            {"target": {"virtualServiceName": "s", "virtualNodeName": "a"}},
            "found virtualServiceName, virtual",
        ),
        ("fault", {"abort": {"httpStatus": 503, "percentage": 101}}, "101 is not a number from 0 to 100"),
        ("fault", {"target": {"virtualRouterName": "r", "routeName": "y"}}, "Route with name y is missing"),
        ("fault", {"from": ["nobody"]}, "VirtualNode or VirtualGateway with name nobody is missing"),
        ("fault", {"expiresAt": "2100-02-30T00:00:00Z"}, "2100-02-30 is no day of the calendar"),
        (
            "fault",
            {"match": {"headers": [{"name": "a\nb", "match": {"exact": "x"}}]}},
            r"'a\nb' holds a line break or a NUL character",
        ),
        ("headerEdit", {"request": {"set": [{"name": "host", "value": "x"}]}}, "'host' cannot be edited"),
        ("headerEdit", {"request": {"remove": ["X-App-Mesh-Virtual-Service"]}}, "-Service' cannot be edited"),
        ("headerEdit", {"request": {"set": [{"name": ":path", "value": "x"}]}}, "':path' does not match"),
        ("rateLimit", {"fillInterval": {"value": 49, "unit": "ms"}}, "49 ms are too short"),
        ("rateLimit", {"target": {"virtualNodeName": "a", "port": 81}}, "VirtualNode a does not listen on port 81"),
        ("cors", {"allowOrigins": [{"regex": "(?!x)"}]}, "is not valid for Envoy"),
        (
            "cors",
            {
                "allowOrigins": [
                    {"regex": r"(?i)\pL\pN"},
                    {"regex": r"(?i)\pN\pL"},
                    {"regex": r"\pL"},
                    {"regex": r"(?i)\pL"},
                ]
            },
            "spec.allowOrigins[3].regex: Regular expression '(?i)\\\\pL' takes too long to compile, with those",
        ),
        (
            "fault",
            {"match": {"headers": [{"name": "a", "match": {"regex": r"(?i)\pL\pL\pL\pL\pL"}}]}},
            "takes too long to compile: it ignores case and has more than 4 Unicode classes",
        ),
        ("cors", {"allowOrigins": EVERYBODY[:1], "allowCredentials": True}, "Credentials cannot be allowed to every"),
        (
            "cors",
            {"allowOrigins": EVERYBODY[1:2], "allowCredentials": True},
            "Credentials cannot be allowed to every",
        ),
        (
            "cors",
            {"allowOrigins": EVERYBODY[2:3], "allowCredentials": True},
            "Credentials cannot be allowed to every",
        ),
        ("cors", {"allowOrigins": EVERYBODY[3:], "allowCredentials": True}, "Credentials cannot be allowed to every"),
        (
            "egressPolicy",
            {"allow": [{"host": "10.1.2.3", "ports": [443], "protocol": "tls"}]},
            "spec.allow[0].host: '10.1.2.3' is an address",
        ),
        (
            "egressPolicy",
            {"allow": [{"host": "*.1.2.3", "ports": [80], "protocol": "http"}]},
            "spec.allow[0].host: '*.1.2.3' is an address",
        ),
        ("mirror", {"target": {"virtualNodeName": "a"}}, "unknown field 'virtualNodeName'"),
        ("mirror", {"percentag": 5}, "unknown field 'percentag', did you mean 'percentage'?"),
    ],
)
def test_what_means_nothing_is_refused_with_its_place_and_why(
    server: Serving, kind: str, change: dict[str, Any], told: str
) -> None:
    """And nothing is changed."""
    applied(client(server), *SHOP, SERVICE)
    status, message = error(put(server, kind, change=change))
    assert status == 400
    assert told in message
    assert server.store.head().revision == 1


def test_a_wrong_kind_name_or_body_is_refused(server: Serving) -> None:
    """With what there is instead."""
    applied(client(server), *SHOP, SERVICE)
    assert error(server.ask("PUT", f"{EXTENSIONS}/falt/e", b"{}")) == (
        400,
        "'falt' is no kind of extension. Did you mean 'fault'?",
    )
    assert error(server.ask("GET", f"{EXTENSIONS}?kind=virtualNode"))[0] == 400
    assert error(put(server, "fault", "no%20name"))[0] == 400
    for body in (b"", b"[]", b"{}", b'{"spec": {}, "spoc": 1}', b"[" * 100_000):
        assert error(server.ask("PUT", f"{EXTENSIONS}/fault/e", body))[0] == 400
    status, message = error(server.ask("PUT", f"{EXTENSIONS}/zonePolicy/e", b'{"spec": {}, "tags": {"": "x"}}'))
    assert status == 400
    assert "spec.preferSameZone" in message
    assert "tags" in message
    assert server.store.head().revision == 1


def test_two_of_a_kind_for_the_same_are_refused(server: Serving) -> None:
    """Whatever else they say; another port, another caller or another kind is another place."""
    applied(client(server), *SHOP, SERVICE)
    assert put(server, "fault", "one").status == 201
    assert error(put(server, "fault", "two")) == (
        400,
        "spec.target: mesh/m/meshwright/fault/one is a Fault for mesh/m/virtualService/s already",
    )
    assert put(server, "fault", "two", {"from": ["b"]}).status == 201
    assert error(put(server, "fault", "three", {"from": ["b", "c"]}))[0] == 400
    assert error(put(server, "fault", "two", {"from": ["b", "a"]}))[0] == 400
    everyone = {name: value for name, value in SPECS["fault"].items() if name != "from"}
    body = json.dumps({"spec": everyone}).encode()
    assert server.ask("PUT", f"{EXTENSIONS}/fault/everyone", body).status == 201
    assert put(server, "rateLimit", "one").status == 201
    assert put(server, "rateLimit", "two", {"target": {"virtualNodeName": "a", "port": 80}}).status == 201


def test_a_repeated_put_with_a_key_gets_the_first_answer(server: Serving) -> None:
    """Also after the extension was changed; another body with the key is a conflict."""
    applied(client(server), *SHOP, SERVICE)
    other = {"from": ["b"]}
    first = put(server, "fault", idempotency_key="k")
    put(server, "fault", change=other)
    again = put(server, "fault", idempotency_key="k")
    assert (again.status, again.body) == (201, first.body)
    assert put(server, "fault", change=other, idempotency_key="k").status == 409
    assert server.store.head().revision == 3


def test_the_app_mesh_api_never_sees_an_extension(server: Serving) -> None:
    """No list has it and no tag can be put on it; only the mesh cannot go before it."""
    applied(client(server), item("", {}), extension("zonePolicy"))
    boto = server.client()
    assert [one["meshName"] for one in boto.list_meshes()["meshes"]] == ["m"]
    for listing in ("nodes", "services", "routers", "gateways"):
        answer = getattr(boto, f"list_virtual_{listing}")(meshName="m")
        assert all(not found for found in answer.values() if isinstance(found, list))
    arn = "arn:aws:appmesh:us-east-1:000000000000:mesh/m/meshwright/zonePolicy/e"
    with pytest.raises(botocore.exceptions.ClientError, match="is not the ARN of an App Mesh resource"):
        boto.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "b"}])
    with pytest.raises(boto.exceptions.ResourceInUseException, match="has active ZonePolicy extensions"):
        boto.delete_mesh(meshName="m")


def test_a_target_can_go_and_leaves_the_extension_without_effect(server: Serving) -> None:
    """By the App Mesh API, and by a release of the stack that has the target; a release of the extension's cannot."""
    ours = client(server)
    applied(ours, *SHOP, SERVICE)
    applied(ours, extension("cors"), stack="edge")
    applied(ours, *SHOP)
    assert "virtualService/s" not in running(server)
    assert "meshwright/cors/e" in running(server)
    with pytest.raises(
        RefusedError, match=r"PutExtension of mesh/m/meshwright/cors/e, is refused: spec\.target\.virt"
    ):
        applied(ours, extension("cors", allowCredentials=True), stack="edge")
    assert applied(ours, extension("cors"), extension("zonePolicy"), stack="edge")["changed"]
    server.client().delete_route(meshName="m", virtualRouterName="r", routeName="x")


def test_a_release_of_extensions_is_one_revision_and_is_rolled_back_as_one(server: Serving) -> None:
    """With what they are about; planned again it is nothing; each object counts its own versions."""
    ours = client(server, BUILD)
    made = applied(ours, *ALL)["release"]
    assert (made["revision"], len(made["changes"])) == (1, len(ALL))
    assert not applied(ours, *ALL)["changed"]
    assert ours.read(MESH).state == server.store.head().state
    changed = (*ALL[:-10], extension("fault", abort={"grpcStatus": 14, "percentage": 100}), *ALL[-8:])
    second = applied(ours, *changed)["release"]
    assert [(one["action"], one["object"]) for one in second["changes"]] == [
        ("update", "mesh/m/meshwright/fault/e"),
        ("delete", "mesh/m/meshwright/mirror/e"),
    ]
    assert running(server)["meshwright/cors/e"].metadata.version == 1  # type: ignore[union-attr]
    back = ours.roll_back(MESH, "shop", RollbackRequest(to=1))["release"]
    assert back["restores"] == 1
    assert {one["object"] for one in back["changes"]} == {"mesh/m/meshwright/fault/e", "mesh/m/meshwright/mirror/e"}
    assert not ours.drift(MESH, "shop")["differences"]
    applied(ours)
    assert running(server) == {}


def test_extensions_that_change_places_never_meet_on_the_way(server: Serving) -> None:
    """Two faults that swap their targets are one release, and keep their identity."""
    ours = client(server)
    there, here = {"virtualNodeName": "a"}, {"virtualNodeName": "b"}
    one, two = (extension("headerEdit", name, target=to) for name, to in (("one", there), ("two", here)))
    applied(ours, *SHOP, one, two)
    uids = {name: running(server)[f"meshwright/headerEdit/{name}"].metadata.uid for name in ("one", "two")}  # type: ignore[union-attr]
    one, two = (extension("headerEdit", name, target=to) for name, to in (("one", here), ("two", there)))
    applied(ours, *SHOP, one, two)
    for name, uid in uids.items():
        found = running(server)[f"meshwright/headerEdit/{name}"].metadata
        assert found is not None
        assert (found.uid, found.version) == (uid, 2)


def test_a_write_behind_the_pipeline_s_back_is_drift_with_its_author(server: Serving) -> None:
    """And another stack's extension is refused by name."""
    ours = client(server, BUILD)
    applied(ours, *ALL)
    assert put(server, "rateLimit", change={"maxTokens": 99}).status == 200
    (found,) = ours.drift(MESH, "shop")["differences"]
    assert (found["object"], found["state"], found["kind"]) == ("mesh/m/meshwright/rateLimit/e", "changed", "drift")
    (field,) = found["fields"]
    assert (field["path"], field["old"], field["new"]) == ("spec.maxTokens", 10, 99)
    assert (field["author"]["cause"], found["author"]["cause"]) == ("PutExtension", "PutExtension")
    with pytest.raises(RefusedError, match="mesh/m/meshwright/cors/e belongs to stack 'shop'"):
        applied(ours, extension("cors"), stack="edge")


def test_a_mesh_holds_no_more_of_a_kind_than_its_quota(tmp_path: Path) -> None:
    """One by one and in a release alike."""
    with serving(tmp_path, more_quotas={"extensions": 1}) as server:
        applied(client(server), *SHOP, SERVICE, extension("headerEdit", "one"))
        told = "The limit of 1 HeaderEdit extensions for Mesh m is exceeded"
        assert error(put(server, "headerEdit", "two", {"target": {"virtualServiceName": "s"}})) == (400, told)
        two = extension("headerEdit", "two", target={"virtualServiceName": "s"})
        with pytest.raises(RefusedError, match=told):
            applied(client(server), two, stack="edge")


def test_extensions_are_there_after_a_restart(tmp_path: Path) -> None:
    """As they were, with their stacks and versions."""
    with serving(tmp_path) as server:
        applied(client(server), *ALL)
        before = server.store.head().state
    store = sqlite.connect(tmp_path / "meshwright.db")
    try:
        assert store.head().state == before
        assert len(before) == len(ALL)
    finally:
        store.close()


TRUST = """
version: 1
policies:
  all:
    Version: "2012-10-17"
    Statement: [{Effect: Allow, Action: ["appmesh:*", "meshwright:*"], Resource: "*"}]
  no-cors:
    Version: "2012-10-17"
    Statement:
      Effect: Deny
      Action: meshwright:PutExtension
      Resource: "arn:aws:appmesh:*:*:mesh/m/meshwright/cors/*"
users:
  build:
    stack: shop
    owns: ["mesh/m/virtualNode/a", "mesh/m/meshwright/*/shop-*"]
    may_extend: [mesh/m, mesh/m/virtualService/s]
    permissions: [all, no-cors]
"""


def test_whoever_puts_an_extension_owns_its_name_and_may_extend_what_it_is_about(tmp_path: Path) -> None:
    """By policies on the object's ARN and by ownership; in a release just so."""
    judges = authority(TRUST)
    with serving(tmp_path, authority=lambda: judges) as server:
        build, theirs = client(server, BUILD), client(server)
        applied(theirs, SHOP[0], stack="other")
        applied(build, node("a"))
        applied(theirs, SHOP[0], *SHOP[2:], SERVICE, stack="other")
        assert put(server, "rateLimit", "shop-a", key=BUILD).status == 201
        assert running(server)["meshwright/rateLimit/shop-a"].stack == "shop"
        denied = error(put(server, "rateLimit", "other", key=BUILD))
        assert denied[0] == 403
        assert "nothing that user/build owns matches mesh/m/meshwright/rateLimit/other" in denied[1]
        denied = error(put(server, "headerEdit", "shop-b", {"target": {"virtualNodeName": "b"}}, key=BUILD))
        assert denied[0] == 403
        assert "of what it is about, mesh/m/virtualNode/b: it belongs to stack 'other'" in denied[1]
        assert error(put(server, "cors", "shop-s", key=BUILD))[0] == 403
        assert put(server, "retryPolicy", "shop-s", key=BUILD).status == 201
        denied = error(put(server, "zonePolicy", "shop-all", key=BUILD))
        assert "of what it is about, mesh/m:" in denied[1]
        # What is done to one's own requests is done in one's own proxies.
        route = {"target": {"virtualRouterName": "r", "routeName": "x"}}
        assert put(server, "fault", "shop-x", route, key=BUILD).status == 201
        assert error(put(server, "fault", "shop-x", {**route, "from": ["a", "b"]}, key=BUILD))[0] == 403
        with pytest.raises(Exception, match="mesh/m/virtualNode/b: it belongs to stack 'other'") as caught:
            applied(build, node("a"), extension("headerEdit", "shop-b", target={"virtualNodeName": "b"}))
        assert type(caught.value).__name__ == "AccessDeniedError"
