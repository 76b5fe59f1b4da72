"""Envoys that do not know every setting: what they are sent instead, and what their status says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from envoys import fetch
from meshwright.graph import resolve
from meshwright.model import Key, Kind, Resource, State
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE, Redirect, Traits
from strategies import MESH, Wire, resource
from test_snapshot_traffic import Lab, http_route

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WEB = Key(MESH, Kind.VIRTUAL_NODE, "web")
EDIT: Wire = {
    "target": {"virtualNodeName": "pay"},
    "request": {"set": [{"name": "x-team", "value": "new"}], "add": [{"name": "x-list", "value": "b"}]},
}


@pytest.mark.envoy
async def test_a_header_is_replaced_in_the_words_of_older_envoys(tmp_path: Path) -> None:
    """Before 1.24 they ignore the word that newer ones ask for, and would add to what is there."""
    lab = Lab(tmp_path, Traits(version=(1, 23, 12)))
    lab.node("pay")
    lab.add(Kind.HEADER_EDIT, "edit", EDIT)
    async with lab.running(), lab.application("pay") as asked:
        given = "pay.local\r\nx-team: old\r\nx-list: a"
        assert (await fetch(lab.places["pay"].ingress, lab.port, "/", given))[0] == 200
    (head,) = asked
    written = [line for line in head.lower().split("\r\n") if line.startswith(("x-team", "x-list"))]
    assert "x-team: new" in written
    assert "x-team: old" not in written
    assert {"x-list: a,b"} <= set(written) or {"x-list: a", "x-list: b"} <= set(written)


def mesh() -> Iterator[Resource]:
    """A node with everything about it that some Envoy does not know."""
    check = {"protocol": "http", "path": "/", "healthyThreshold": 2, "unhealthyThreshold": 2}
    check |= {"intervalMillis": 5000, "timeoutMillis": 2000}
    http = {"portMapping": {"port": 80, "protocol": "http"}}
    discovery = {"dns": {"hostname": "pay"}}
    yield resource(
        Kind.VIRTUAL_NODE, "pay", {"listeners": [http | {"healthCheck": check}], "serviceDiscovery": discovery}
    )
    yield resource(Kind.VIRTUAL_ROUTER, "pay", {"listeners": [http]})
    route = http_route(("pay", 1))
    route["httpRoute"]["match"]["headers"] = [{"name": "x-kind", "match": {"exact": "a"}}]
    yield resource(Kind.ROUTE, "kind", route, "pay")
    yield resource(Kind.VIRTUAL_SERVICE, "pay.local", {"provider": {"virtualRouter": {"virtualRouterName": "pay"}}})
    ports = [{"portMapping": {"port": 8080, "protocol": "grpc"}}, {"portMapping": {"port": 6379, "protocol": "tcp"}}]
    backends = [{"virtualService": {"virtualServiceName": "pay.local"}}]
    yield resource(Kind.VIRTUAL_NODE, "web", {"listeners": ports, "backends": backends})
    target = {"virtualServiceName": "pay.local"}
    yield resource(Kind.CORS, "cors", {"target": target, "allowOrigins": [{"exact": "https://shop.example"}]})
    abort = {"abort": {"httpStatus": 503, "percentage": 1}, "expiresAt": "2100-01-01T00:00:00Z"}
    yield resource(Kind.FAULT, "fault", {"target": target, **abort})
    empty = {"request": {"set": [{"name": "x-team", "value": ""}]}}
    yield resource(Kind.HEADER_EDIT, "edit", {"target": target, **empty})
    fill = {"maxTokens": 5, "fillInterval": {"value": 1, "unit": "s"}}
    yield resource(Kind.RATE_LIMIT, "limit", {"target": {"virtualNodeName": "web"}, **fill})
    allow = [{"host": "example.com", "ports": [443], "protocol": "tls"}]
    yield resource(Kind.EGRESS_POLICY, "egress", {"target": {"virtualNodeName": "web"}, "allow": allow})


TOLD = {
    ("fault", (1, 17)),
    ("kind", (1, 20)),
    ("pay", (1, 21)),
    ("egress", (1, 21)),
    ("limit", (1, 22)),
    ("edit", (1, 23)),
    ("cors", (1, 24)),
    ("limit", (1, 29)),
    ("cors", (1, 30)),
}
"""The object that an Envoy before a version cannot serve whole."""


@pytest.mark.parametrize("minor", [15, *range(17, 33, 1), 40])
def test_what_an_envoy_is_too_old_for_is_told_of_it_and_of_no_newer_one(minor: int) -> None:
    """Each by the object that asks for it, with the version that it takes."""
    found = build(resolve(State(mesh())), WEB, {}, Redirect(), Traits(version=(1, minor, 0), runtime=True)).unserved
    told = {
        (one.subject.name, first)
        for one in found
        for first in {since for _, since in TOLD}
        if said(first, one.reason)
    }
    late = {(name, since) for name, since in TOLD if minor < since[1]}
    if minor < 24:
        late.discard(("cors", (1, 30)))  # it is not sent at all
    assert told == late
    assert len(found) == len(late)


def said(first: tuple[int, int], reason: str) -> bool:
    """Whether a reason names that version."""
    return f"{first[0]}.{first[1]} or newer" in reason or f"older than {first[0]}.{first[1]}," in reason


def test_where_everything_may_go_out_an_envoy_that_closes_it_says_so() -> None:
    """By the mesh that lets it out."""
    state = State(
        [
            resource(Kind.MESH, MESH, {"egressFilter": {"type": "ALLOW_ALL"}}),
            resource(Kind.VIRTUAL_NODE, "web", {}),
        ]
    )
    for minor, expected in ((16, [Kind.MESH]), (17, [])):
        found = build(resolve(state), WEB, {}, Redirect(), Traits(version=(1, minor, 0)))
        assert [one.subject.kind for one in found.unserved] == expected


def test_what_an_older_envoy_would_reject_is_not_sent_to_it() -> None:
    """A policy about browsers would cost it all routes, a lookup of hosts its whole listener."""
    graph = resolve(State(mesh()))
    old, new = (build(graph, WEB, {}, Redirect(), Traits(version=(1, minor, 0))) for minor in (20, 40))
    for word, url, name in (
        (b"http.cors.v3.CorsPolicy", ROUTE, "rds_egress_http_80"),
        (b"sni_dynamic_forward_proxy", LISTENER, "lds_egress_0.0.0.0_15001"),
    ):
        assert word in new.of(url)[name].body
        assert word not in old.of(url)[name].body
    assert len(new.of(CLUSTER)) == len(old.of(CLUSTER)) + 1
