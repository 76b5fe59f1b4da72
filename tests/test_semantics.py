"""`docs/semantics.md` quotes what the server says: each row of its table of refusals is brought about here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from meshwright import errors
from meshwright.model.state import State
from meshwright.operations import OPERATIONS, UNLIMITED, Quotas, Stamp, decode_request, perform

if TYPE_CHECKING:
    from collections.abc import Iterator

Wire = dict[str, Any]
PAGE = (Path(__file__).parents[1] / "docs" / "semantics.md").read_text("utf-8")
HOME, CONSUMER = "000000000000", "222222222222"
SHARED = frozenset({(HOME, "m", CONSUMER)})
TOKENS = "client token"
"""What `test_idempotency` brings about: the operations know no tokens."""


def ports(*numbers: int) -> list[Wire]:
    """Listeners."""
    return [{"portMapping": {"port": number, "protocol": "http"}} for number in numbers]


def node(*numbers: int) -> Wire:
    """A node that listens."""
    return {"listeners": ports(*numbers), "serviceDiscovery": {"dns": {"hostname": "h"}}}


def route(name: str, **match: Any) -> Wire:
    """A route to one node."""
    action = {"weightedTargets": [{"virtualNode": name, "weight": 1}]}
    return {"httpRoute": {"match": {"prefix": "/", **match}, "action": action}}


def entry(name: str) -> Wire:
    """A gateway route to one service."""
    action = {"target": {"virtualService": {"virtualServiceName": name}}}
    return {"httpRoute": {"match": {"prefix": "/"}, "action": action}}


def provided(kind: str, name: str) -> Wire:
    """A service's spec."""
    return {"provider": {kind: {f"{kind}Name": name}}}


SERVING: list[tuple[str, str, Wire, Wire]] = [
    ("Mesh", "m", {}, {}),
    ("VirtualNode", "n", node(8080), {}),
    ("VirtualNode", "p", node(8080), {}),
    ("VirtualNode", "two", node(8080, 8081), {}),
    ("VirtualRouter", "r", {"listeners": ports(8080)}, {}),
    ("VirtualRouter", "q", {"listeners": ports(8080)}, {}),
    ("VirtualRouter", "several", {"listeners": ports(8080, 8081)}, {}),
    ("Route", "t", route("n"), {"virtualRouterName": "r"}),
    ("VirtualNode", "o", node(8080), {}),
    ("Route", "t", route("o"), {"virtualRouterName": "q"}),
    ("VirtualService", "s.local", provided("virtualRouter", "r"), {}),
    ("VirtualService", "p.local", provided("virtualNode", "p"), {}),
    ("VirtualGateway", "g", {"listeners": ports(8080)}, {}),
    ("VirtualGateway", "h", {"listeners": ports(8080, 8081)}, {}),
    ("GatewayRoute", "w", entry("s.local"), {"virtualGatewayName": "g"}),
]
TAGS = [{"key": str(number), "value": ""} for number in range(50)]
ARN = f"arn:aws:appmesh:us-east-1:{HOME}:mesh/m"
CHECK = {
    "protocol": "grpc",
    "healthyThreshold": 2,
    "unhealthyThreshold": 2,
    "intervalMillis": 5000,
    "timeoutMillis": 2000,
}
TRUSTLESS: Wire = {"backendDefaults": {"clientPolicy": {"tls": {"validation": {"trust": {}}}}}}
TWICE = {"backends": [{"virtualService": {"virtualServiceName": "a"}}] * 2}


def _create(kind: str, name: str, spec: Wire | None, **members: Any) -> tuple[str, Wire, Wire]:
    body: Wire = {f"{kind[0].lower()}{kind[1:]}Name": name} | ({} if spec is None else {"spec": spec})
    return f"Create{kind}", body | {"tags": members.pop("tags", [])}, {"meshName": "m"} | members


def _named(operation: str, **members: Any) -> tuple[str, Wire, Wire]:
    body: Wire = {name: members.pop(name) for name in ("spec", "tags") if name in members}
    return operation, body, {"meshName": "m"} | members


CALLS: list[tuple[str, tuple[str, Wire, Wire]]] = [
    *(
        (HOME, _named(f"Delete{kind}", **members))
        for kind, members in (
            ("Mesh", {}),
            ("VirtualNode", {"virtualNodeName": "n"}),
            ("VirtualNode", {"virtualNodeName": "p"}),
            ("VirtualRouter", {"virtualRouterName": "r"}),
            ("VirtualRouter", {"virtualRouterName": "q"}),
            ("VirtualGateway", {"virtualGatewayName": "g"}),
            ("VirtualService", {"virtualServiceName": "s.local"}),
        )
    ),
    (HOME, _named("DescribeVirtualNode", virtualNodeName="x")),
    (HOME, _named("DescribeMesh", meshName="x")),
    (HOME, _named("DescribeRoute", virtualRouterName="r", routeName="x")),
    (HOME, _create("Route", "u", route("x"), virtualRouterName="r")),
    (HOME, _create("VirtualService", "u", provided("virtualRouter", "x"))),
    (HOME, _create("GatewayRoute", "u", entry("x"), virtualGatewayName="g")),
    (HOME, _named("ListTagsForResource", resourceArn=ARN.replace("us-east-1", "eu-west-1"))),
    (HOME, _create("VirtualNode", "n", {})),
    (CONSUMER, _named("UpdateVirtualNode", virtualNodeName="n", spec={}, meshOwner=HOME)),
    (CONSUMER, _create("VirtualGateway", "x", {"listeners": ports(80)}, meshOwner=HOME)),
    (HOME, _create("VirtualNode", "x", {"serviceDiscovery": {"dns": {"hostname": "h"}}})),
    (HOME, _create("VirtualNode", "x", {"listeners": ports(80)})),
    (HOME, _create("VirtualNode", "x", {**node(80), "listeners": [{**ports(80)[0], "healthCheck": CHECK}]})),
    (HOME, _create("VirtualNode", "x", TRUSTLESS)),
    (HOME, _create("Route", "u", route("n"), virtualRouterName="several")),
    (HOME, _named("UpdateVirtualRouter", virtualRouterName="r", spec={"listeners": ports(8080, 8081)})),
    (HOME, _named("UpdateVirtualNode", virtualNodeName="n", spec=node(8080, 8081))),
    (HOME, _create("GatewayRoute", "u", entry("s.local"), virtualGatewayName="h")),
    (HOME, _named("UpdateVirtualGateway", virtualGatewayName="g", spec={"listeners": ports(8080, 8081)})),
    (HOME, _create("Route", "u", route("two"), virtualRouterName="r")),
    (HOME, _named("UpdateVirtualRouter", virtualRouterName="r", spec={"listeners": ports(9090)})),
    (HOME, _create("VirtualNode", "x", TWICE)),
    (HOME, _create("VirtualNode", "x", {}, tags=[TAGS[0] | {"key": "a"}] * 2)),
    (HOME, _create("VirtualNode", "x", {}, tags=[{"key": "aws:x", "value": ""}])),
    (HOME, _create("VirtualNode", "x", None)),
    (HOME, _named("TagResource", resourceArn=ARN, tags=[{"key": "more", "value": ""}])),
    (HOME, ("CreateMesh", {"meshName": "another"}, {})),
]
"""Who asks, and for what: one call for each row of the table."""


def rows() -> Iterator[tuple[str, str, str]]:
    """Error, words and origin of each row."""
    table = PAGE.partition("## What refusals say")[2].partition("\n## ")[0]
    for error, words, whose in re.findall(r"^\| (\w+) \| `(.+)` \| (quoted|ours) \|$", table, re.MULTILINE):
        yield f"{error}Exception", words, whose


def refusals() -> list[tuple[str, str]]:
    """The error and the words that each call is refused with."""
    state = State()

    def call(account: str, operation: str, body: Wire, members: Wire) -> None:
        nonlocal state
        stamp = Stamp(at=1, uid="u", account=account, home=HOME, shared=SHARED)
        known = {one.name for one in OPERATIONS[operation].members if one.location == "body"}
        sent = {name: value for name, value in body.items() if name in known}
        request = decode_request(OPERATIONS[operation], members, members, sent)
        limits = Quotas(meshes=1) if operation == "CreateMesh" else UNLIMITED
        state, _ = perform(state, request, stamp, limits)

    for kind, name, spec, members in SERVING:
        call(HOME, *_create(kind, name, spec, **members))
    call(HOME, "TagResource", {"tags": TAGS}, {"resourceArn": ARN})
    found = []
    for account, asked in CALLS:
        with pytest.raises(errors.ApiError) as caught:
            call(account, *asked)
        found.append((caught.value.code, str(caught.value)))
    return found


def test_every_refusal_that_is_documented_is_said_in_these_words() -> None:
    """Row by row; … stands for what differs each time."""
    said = refusals()
    documented = [(error, words) for error, words, _ in rows() if TOKENS not in words]
    for error, words in documented:
        pattern = re.escape(words).replace("…", ".+")
        assert any(code == error and re.fullmatch(pattern, text) for code, text in said), (words, said)
    for code, text in said:
        assert any(
            code == error and re.fullmatch(re.escape(words).replace("…", ".+"), text) for error, words in documented
        ), f"not documented: {text}"
    assert len(documented) == len(CALLS)


def test_the_words_that_the_service_is_known_to_use_are_all_there() -> None:
    """Twelve are quoted by public sources (facts §1.3, §1.4), the token's by the service model."""
    assert sum(whose == "quoted" for _, _, whose in rows()) == 13
    assert sum(TOKENS in words for _, words, _ in rows()) == 1
