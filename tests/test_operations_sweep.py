"""All 38 operations through stock boto3 over HTTP, for three accounts: every answer fits the published model."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from meshwright.model.identity import Kind
from meshwright.operations import OPERATIONS
from meshwright.store.contract import Session
from meshwright.trust.principals import Principal
from output_shapes import misfits
from published import service
from serving import now, serving
from trusting import authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Serving

Wire = dict[str, Any]
HOME, OWNER, CONSUMER = "000000000000", "111111111111", "222222222222"
EVERYTHING = '[{Version: "2012-10-17", Statement: {Effect: Allow, Action: "*", Resource: "*"}}]'
TRUST = "version: 1\nroles:\n" + "".join(
    f'  of-{account}: {{account: "{account}", stack: "*", owns: ["mesh/**"], may_change: ["mesh/**"], '
    f"permissions: {EVERYTHING}, assume: []}}\n"
    for account in (OWNER, CONSUMER)
)
CHECK = {
    "protocol": "http",
    "path": "/ping",
    "healthyThreshold": 2,
    "unhealthyThreshold": 3,
    "intervalMillis": 5000,
    "timeoutMillis": 2000,
}
PORT = {"port": 8080, "protocol": "http"}
NODE: Wire = {
    "listeners": [
        {
            "portMapping": PORT,
            "healthCheck": CHECK,
            "timeout": {"http": {"idle": {"unit": "s", "value": 5}}},
            "connectionPool": {"http": {"maxConnections": 10}},
            "outlierDetection": {
                "maxServerErrors": 5,
                "interval": {"unit": "ms", "value": 10},
                "baseEjectionDuration": {"unit": "s", "value": 1},
                "maxEjectionPercent": 50,
            },
            "tls": {
                "mode": "STRICT",
                "certificate": {"file": {"certificateChain": "/c.pem", "privateKey": "/k.pem"}},
                "validation": {"trust": {"file": {"certificateChain": "/ca.pem"}}},
            },
        }
    ],
    "serviceDiscovery": {
        "awsCloudMap": {
            "namespaceName": "n",
            "serviceName": "s",
            "attributes": [{"key": "stage", "value": "x"}],
            "ipPreference": "IPv4_ONLY",
        }
    },
    "backends": [{"virtualService": {"virtualServiceName": "later.local"}}],
    "backendDefaults": {
        "clientPolicy": {
            "tls": {
                "enforce": True,
                "ports": [443],
                "validation": {
                    "trust": {"acm": {"certificateAuthorityArns": ["arn:aws:acm-pca:us-east-1:1:ca/x"]}},
                    "subjectAlternativeNames": {"match": {"exact": ["a.local"]}},
                },
            }
        }
    },
    "logging": {"accessLog": {"file": {"path": "/dev/stdout", "format": {"json": [{"key": "k", "value": "%V%"}]}}}},
}
LISTENING: Wire = {"listeners": [{"portMapping": PORT}]}
ROUTE: Wire = {
    "priority": 7,
    "httpRoute": {
        "match": {
            "prefix": "/",
            "method": "GET",
            "scheme": "https",
            "headers": [{"name": "h", "invert": True, "match": {"range": {"start": 1, "end": 9}}}],
            "queryParameters": [{"name": "q", "match": {"exact": "1"}}],
        },
        "action": {"weightedTargets": [{"virtualNode": "n", "weight": 1, "port": 8080}]},
        "retryPolicy": {
            "maxRetries": 1,
            "perRetryTimeout": {"unit": "s", "value": 1},
            "httpRetryEvents": ["server-error"],
            "tcpRetryEvents": ["connection-error"],
        },
        "timeout": {"perRequest": {"unit": "s", "value": 3}},
    },
}
ENTRY: Wire = {
    "httpRoute": {
        "match": {"prefix": "/", "hostname": {"exact": "shop.example"}},
        "action": {
            "target": {"virtualService": {"virtualServiceName": "s.local"}},
            "rewrite": {"hostname": {"defaultTargetHostname": "DISABLED"}, "prefix": {"value": "/x/"}},
        },
    }
}


class Sweep:
    """Clients of three accounts whose every answer is held against the model, and what was called."""

    def __init__(self, api: Serving) -> None:
        self.model = service()
        self.called: Counter[str] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()
        self._clients = {HOME: api.client()}
        for account in (OWNER, CONSUMER):
            key_id = f"ASIA{account}"
            principal = Principal(account=account, kind="role", name=f"of-{account}", session="s", key_id=key_id)
            at = now()
            api.store.add_session(
                Session(
                    key_id=key_id,
                    secret="not-a-secret",
                    token="t",
                    principal=principal,
                    created_at=at,
                    expires_at=at + 900_000,
                )
            )
            self._clients[account] = api.client(
                aws_access_key_id=key_id, aws_secret_access_key="not-a-secret", aws_session_token="t"
            )
        self._bodies: list[tuple[int, bytes]] = []
        for client in self._clients.values():
            client.meta.events.register("response-received.app-mesh", self._note)

    def _note(self, response_dict: Wire, **_: Any) -> None:
        self._bodies.append((response_dict["status_code"], response_dict["body"]))

    def __call__(self, account: str, operation: str, /, **members: Any) -> Wire:
        """What `account` is answered, once it was found to fit."""
        self._bodies.clear()
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        found: Wire = getattr(self._clients[account], snake)(**members)
        ((status, body),) = self._bodies
        self.called[operation] += 1
        model = self.model.operation_model(operation)
        assert status == model.http.get("responseCode", 200)
        decoded = json.loads(body)
        # The object is the whole payload of an answer where the model says so.
        payload = model.output_shape.serialization.get("payload")
        shape = model.output_shape.members[payload] if payload else model.output_shape
        assert list(misfits(shape, decoded, operation)) == []
        return found[payload] if payload else found

    def refusal(self, account: str, operation: str, /, **members: Any) -> str:
        """The name of the error that `account` is answered, once that was found to fit."""
        with pytest.raises(ClientError) as caught:
            self(account, operation, **members)
        ((status, body),) = self._bodies
        code: str = caught.value.response["Error"]["Code"]
        declared = {one.name: one for one in self.model.operation_model(operation).error_shapes}
        assert code in declared, "the operation does not declare this error"
        assert status == declared[code].metadata["error"]["httpStatusCode"]
        assert list(misfits(declared[code], json.loads(body), code)) == []
        self.refused[operation, code] += 1
        return code


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    """A server on which OWNER's mesh `shop` is shared with CONSUMER and HOME's with OWNER."""
    folder: Path = tmp_path_factory.mktemp("sweep")
    allowed = authority(TRUST)
    shared = frozenset({(OWNER, "shop", CONSUMER), (HOME, "shop", OWNER)})
    with serving(folder, authority=lambda: allowed, sharing=lambda: shared) as api:
        yield Sweep(api)


PLURAL = {"Mesh": "Meshes"}
CREATED: list[tuple[str, str, Wire, Wire]] = [
    ("VirtualNode", "n", NODE, {}),
    ("VirtualRouter", "r", LISTENING, {}),
    ("Route", "t", ROUTE, {"virtualRouterName": "r"}),
    ("VirtualService", "s.local", {"provider": {"virtualRouter": {"virtualRouterName": "r"}}}, {}),
    ("VirtualGateway", "g", LISTENING, {}),
    ("GatewayRoute", "w", ENTRY, {"virtualGatewayName": "g"}),
]
"""One of each kind, in the order of creation; gateways are the mesh owner's alone."""


def named(kind: str, name: str) -> Wire:
    """The member that holds an object's name."""
    return {f"{_first_small(kind)}Name": name}


@pytest.mark.parametrize(
    ("owner", "caller"),
    [(HOME, HOME), (OWNER, OWNER), (OWNER, CONSUMER)],
    ids=["the home account", "another account", "a consumer in a shared mesh"],
)
def test_every_operation_answers_in_the_published_shapes(sweep: Sweep, owner: str, caller: str) -> None:
    """From create to delete, tags and lists included, with `meshOwner` and without."""
    if owner == caller:
        made = sweep(owner, "CreateMesh", meshName="shop", tags=[{"key": "a", "value": "b"}])
        assert made["spec"] == {}
        sweep(owner, "UpdateMesh", meshName="shop", spec={"egressFilter": {"type": "ALLOW_ALL"}})
    else:
        sweep(owner, "CreateMesh", meshName="shop")
    mesh = {"meshName": "shop"} | ({} if owner == caller else {"meshOwner": owner})
    assert sweep(caller, "DescribeMesh", **mesh)["metadata"]["meshOwner"] == owner
    assert (owner, "shop") in {(one["meshOwner"], one["meshName"]) for one in sweep(caller, "ListMeshes")["meshes"]}
    for kind, name, spec, parent in CREATED:
        maker = owner if "Gateway" in kind else caller
        place = mesh | parent | {"meshOwner": owner}
        made = sweep(
            maker, f"Create{kind}", **place, **named(kind, name), spec=spec, tags=[{"key": "a", "value": "b"}]
        )
        _lives(sweep, kind, made, (owner, maker, caller), place | named(kind, name))
    for kind, name, _, parent in reversed(CREATED):
        remover = owner if "Gateway" in kind else caller
        gone = sweep(remover, f"Delete{kind}", **mesh, **parent, **named(kind, name))
        assert gone["status"] == {"status": "DELETED"}
        assert gone["metadata"]["version"] == 3
        code = sweep.refusal(caller, f"Describe{kind}", **mesh, **parent, **named(kind, name))
        assert code == "NotFoundException"
    assert sweep(owner, "DeleteMesh", meshName="shop")["status"] == {"status": "DELETED"}


def _lives(sweep: Sweep, kind: str, made: Wire, accounts: tuple[str, str, str], place: Wire) -> None:
    """One object is described, updated, listed, tagged and untagged."""
    owner, maker, caller = accounts
    assert (made["metadata"]["meshOwner"], made["metadata"]["resourceOwner"]) == (owner, maker)
    assert made["metadata"]["arn"].split(":")[4] == maker
    described = sweep(caller, f"Describe{kind}", **place)
    assert described == made
    updated = sweep(maker, f"Update{kind}", **place, spec=made["spec"])
    assert updated["spec"] == made["spec"]
    about, before = updated["metadata"], made["metadata"]
    assert (about["version"], about["uid"], about["createdAt"]) == (2, before["uid"], before["createdAt"])
    assert about["lastUpdatedAt"] >= before["lastUpdatedAt"]
    inside = {name: value for name, value in place.items() if name != next(iter(named(kind, "")))}
    plural = f"{kind}s"
    listed = sweep(caller, f"List{plural}", **inside, limit=1)[f"{plural[0].lower()}{plural[1:]}"]
    assert [one["arn"] for one in listed] == [about["arn"]]
    arn = {"resourceArn": about["arn"]}
    sweep(maker, "TagResource", **arn, tags=[{"key": "c", "value": ""}])
    assert len(sweep(maker, "ListTagsForResource", **arn)["tags"]) == 2
    sweep(maker, "UntagResource", **arn, tagKeys=["a"])
    assert sweep(maker, "ListTagsForResource", **arn, limit=1)["tags"] == [{"key": "c", "value": ""}]


def test_errors_fit_the_published_shapes_too(sweep: Sweep) -> None:
    """Each of the client's errors that an operation declares, where a client can bring it about."""
    sweep(HOME, "CreateMesh", meshName="errors", clientToken="errors")
    assert sweep.refusal(HOME, "CreateMesh", meshName="errors") == "ConflictException"
    assert sweep.refusal(HOME, "CreateMesh", meshName="other", clientToken="errors") == "ConflictException"
    sweep(HOME, "CreateVirtualNode", meshName="errors", virtualNodeName="n", spec={})
    assert sweep.refusal(HOME, "DeleteMesh", meshName="errors") == "ResourceInUseException"
    bad = {"listeners": [{"portMapping": PORT}]}
    code = sweep.refusal(HOME, "CreateVirtualNode", meshName="errors", virtualNodeName="x", spec=bad)
    assert code == "BadRequestException"
    arn = {"resourceArn": f"arn:aws:appmesh:us-east-1:{HOME}:mesh/errors"}
    sweep(HOME, "TagResource", **arn, tags=[{"key": str(number), "value": ""} for number in range(50)])
    assert sweep.refusal(HOME, "TagResource", **arn, tags=[{"key": "x", "value": ""}]) == "TooManyTagsException"
    for operation, row in OPERATIONS.items():
        if row.kind is not None and row.verb != "List":
            members: Wire = {one.name: "none" for one in row.members if one.required and one.name != "spec"}
            members |= {"spec": _spec(operation)} if "spec" in {one.name for one in row.members} else {}
            if operation != "CreateMesh":
                assert sweep.refusal(HOME, operation, **members) == "NotFoundException"
    for account, place in ((CONSUMER, {"meshName": "none"}), (OWNER, {"meshName": "errors", "meshOwner": HOME})):
        assert sweep.refusal(account, "ListVirtualNodes", **place) == "NotFoundException"


def _spec(operation: str) -> Wire:
    """A spec of the kind that an operation is about."""
    return next((spec for kind, _, spec, _ in CREATED if OPERATIONS[operation].kind == Kind(_first_small(kind))), {})


def _first_small(kind: str) -> str:
    return kind[0].lower() + kind[1:]


def test_forbidden_is_said_in_the_published_shape(sweep: Sweep) -> None:
    """To a consumer that changes what is not its own."""
    sweep(OWNER, "CreateMesh", meshName="shop")
    try:
        sweep(OWNER, "CreateVirtualNode", meshName="shop", virtualNodeName="theirs", spec={})
        theirs = {"meshName": "shop", "meshOwner": OWNER}
        for operation, members in (
            ("UpdateVirtualNode", {"virtualNodeName": "theirs", "spec": {}}),
            ("DeleteVirtualNode", {"virtualNodeName": "theirs"}),
            ("CreateVirtualGateway", {"virtualGatewayName": "g", "spec": LISTENING}),
        ):
            assert sweep.refusal(CONSUMER, operation, **theirs, **members) == "ForbiddenException"
        sweep(OWNER, "DeleteVirtualNode", meshName="shop", virtualNodeName="theirs")
    finally:
        sweep(OWNER, "DeleteMesh", meshName="shop")


def test_all_38_operations_were_swept(sweep: Sweep) -> None:
    """The tests above leave none out; run alone, this one makes its own round."""
    if not sweep.called:
        test_every_operation_answers_in_the_published_shapes(sweep, HOME, HOME)
    assert set(sweep.called) == set(OPERATIONS)
    assert len(sweep.called) == 38
