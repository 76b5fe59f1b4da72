"""The dependency graph shows every call once, in every format, and its layout keeps boxes apart."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.graph import resolve
from meshwright.model import SPECS, Key, Kind, Resource, State, decode
from meshwright.views import graph_dot, graph_mermaid, graph_svg, graph_text
from meshwright.views.diagnostics import as_json
from meshwright.views.graph_layout import arranged
from meshwright.views.graph_picture import Picture, picture
from settings import examples

NAMESPACE = "{http://www.w3.org/2000/svg}"


def one(kind: Kind, name: str, spec: dict[str, Any], parent: str = "") -> Resource:
    """An object of mesh `m`."""
    return Resource(key=Key("m", kind, name, parent), spec=decode(SPECS[kind], spec))


def node(name: str, *backends: str) -> Resource:
    """A virtual node with backends."""
    return one(
        Kind.VIRTUAL_NODE,
        name,
        {"backends": [{"virtualService": {"virtualServiceName": backend}} for backend in backends]},
    )


def service(name: str, kind: str, provider: str) -> Resource:
    """A virtual service with a provider."""
    return one(Kind.VIRTUAL_SERVICE, name, {"provider": {kind: {f"{kind}Name": provider}}})


def drawn(evil: str = "far") -> Picture:
    """A gateway, a router with two versions, a name that leads nowhere, a circle."""
    port = {"portMapping": {"port": 80, "protocol": "http"}}
    action = {"weightedTargets": [{"virtualNode": "v1", "weight": 3}, {"virtualNode": "v2", "weight": 1}]}
    only = {"weightedTargets": [{"virtualNode": "v2", "weight": 1}]}
    header = {"prefix": "/", "method": "GET", "headers": [{"name": "x-beta"}]}
    target = {"target": {"virtualService": {"virtualServiceName": "cart"}}}
    host = {"hostname": {"suffix": ".shop"}, "prefix": "/c"}
    return picture(
        resolve(
            State(
                [
                    one(Kind.MESH, "m", {}),
                    one(Kind.VIRTUAL_GATEWAY, "in", {"listeners": [port]}),
                    one(Kind.GATEWAY_ROUTE, "c", {"httpRoute": {"match": host, "action": target}}, "in"),
                    service("cart", "virtualRouter", "cart"),
                    one(Kind.VIRTUAL_ROUTER, "cart", {"listeners": [port]}),
                    one(Kind.ROUTE, "all", {"httpRoute": {"match": {"prefix": "/"}, "action": action}}, "cart"),
                    one(Kind.ROUTE, "beta", {"priority": 1, "httpRoute": {"match": header, "action": only}}, "cart"),
                    node("v1", "back", evil),
                    node("v2"),
                    service("back", "virtualNode", "v1"),
                ]
            )
        )
    )


def test_mirrors_are_arrows_and_every_extension_is_a_reference() -> None:
    """To the node that gets the copies, from the services whose requests are copied."""
    port = {"portMapping": {"port": 80, "protocol": "http"}}
    action = {"weightedTargets": [{"virtualNode": "v1", "weight": 1}]}
    route = {"virtualRouterName": "cart", "routeName": "all"}
    found = picture(
        resolve(
            State(
                [
                    service("cart", "virtualRouter", "cart"),
                    one(Kind.VIRTUAL_ROUTER, "cart", {"listeners": [port]}),
                    one(Kind.ROUTE, "all", {"httpRoute": {"match": {"prefix": "/"}, "action": action}}, "cart"),
                    node("v1"),
                    one(Kind.MIRROR, "m", {"target": route, "to": {"virtualNodeName": "new"}, "percentage": 2.5}),
                    one(Kind.ZONE_POLICY, "z", {"preferSameZone": True}),
                ]
            )
        )
    )
    cart, new = "mesh/m/virtualService/cart", "mesh/m/virtualNode/new"
    assert (cart, new, "copies of 2.5%") in {(one.source, one.target, one.label) for one in found.arrows}
    assert [box.found for box in found.boxes if box.object == new] == [False]
    ours = {(one.source, one.target, one.relation) for one in found.references if "/meshwright/" in one.source}
    assert ours == {
        ("mesh/m/meshwright/mirror/m", "mesh/m/virtualRouter/cart/route/all", "extends"),
        ("mesh/m/meshwright/mirror/m", new, "copies"),
        ("mesh/m/meshwright/zonePolicy/z", "mesh/m", "extends"),
    }


def test_the_picture_holds_calls_with_their_way_and_share() -> None:
    """Routers and routes are labels; what leads nowhere is a box that was not found."""
    told = json.loads(as_json(drawn()))
    assert {(box["kind"], box["name"], box["found"]) for box in told["boxes"]} == {
        ("virtualGateway", "in", True),
        ("virtualService", "cart", True),
        ("virtualService", "back", True),
        ("virtualService", "far", False),
        ("virtualNode", "v1", True),
        ("virtualNode", "v2", True),
    }
    ways = [(arrow["source"][7:], arrow["label"], arrow["target"][7:]) for arrow in told["arrows"]]
    assert ways == [
        ("virtualGateway/in", "*.shop/c*", "virtualService/cart"),
        ("virtualService/back", "", "virtualNode/v1"),
        ("virtualService/cart", "GET /* [x-beta]", "virtualNode/v2"),
        ("virtualService/cart", "75%", "virtualNode/v1"),
        ("virtualService/cart", "25%", "virtualNode/v2"),
        ("virtualNode/v1", "", "virtualService/back"),
        ("virtualNode/v1", "", "virtualService/far"),
    ]
    assert ("target", "spec.httpRoute.action.weightedTargets[1].virtualNode") in {
        (reference["relation"], reference["path"]) for reference in told["references"]
    }
    assert told["version"] == 1


def test_text_is_a_tree_that_opens_each_box_once() -> None:
    """A circle is named, not followed."""
    assert graph_text.render(drawn()) == (
        "gateway in\n"
        "└─ *.shop/c* → service cart\n"
        "   ├─ GET /* [x-beta] → node v2\n"
        "   ├─ 75% → node v1\n"
        "   │  ├─ service back\n"
        "   │  │  └─ node v1  (circular)\n"
        "   │  └─ service far  (not defined)\n"
        "   └─ 25% → node v2\n"
    )
    assert graph_text.render(picture(resolve(State()))) == "No objects.\n"


def test_mermaid_and_dot_name_every_box_and_arrow() -> None:
    """As many as the picture holds."""
    mermaid, dot = graph_mermaid.render(drawn()), graph_dot.render(drawn())
    assert len(re.findall(r"^  n\d+ -->", mermaid, flags=re.MULTILINE)) == len(drawn().arrows)
    assert len(re.findall(r"^  n\d+[\[({]", mermaid, flags=re.MULTILINE)) == len(drawn().boxes)
    assert len(re.findall(r" -> ", dot)) == len(drawn().arrows)
    assert '"mesh/m/virtualNode/v1" [label="v1", shape=box];' in dot
    assert "style=dashed" in dot


def test_svg_is_well_formed_and_shows_every_name() -> None:
    """Every box once, missing ones and circles marked, no script and no address."""
    told = graph_svg.render(drawn())
    root = ET.fromstring(told)  # noqa: S314 - our own output
    words = {text.text for text in root.iter(f"{NAMESPACE}text")}
    assert {"in", "cart", "back", "far", "v1", "v2", "75%"} <= words
    groups = [group.get("class") for group in root.findall(f"{NAMESPACE}g")]
    assert groups.count("missing") == 2, "the box, and its line in the legend"
    assert groups.count("circular") == 1
    assert re.findall(r"https?://[^\"]*", told) == ["http://www.w3.org/2000/svg"]
    assert "<script" not in told


def test_names_cannot_break_out_of_any_picture() -> None:
    """Quotes, markup, ends of lines, escapes."""
    evil = 'x"]; -->\n</title><script>alert(1)</script>\x1b[31m\\" #'
    whole = drawn(evil)
    ET.fromstring(graph_svg.render(whole))  # noqa: S314 - our own output
    assert "<script" not in graph_svg.render(whole)
    for rendered in (graph_text.render(whole), graph_mermaid.render(whole), graph_dot.render(whole)):
        assert "\x1b" not in rendered
    assert len(graph_mermaid.render(whole).splitlines()) == len(graph_mermaid.render(drawn()).splitlines())
    assert len(graph_dot.render(whole).splitlines()) == len(graph_dot.render(drawn()).splitlines())
    unquoted = re.sub(r'"(?:[^"\\]|\\.)*"', "", graph_dot.render(whole))
    assert not set('"<\\') & set(unquoted)


BOXES = st.lists(st.sampled_from("abcdefghij"), unique=True, min_size=1)


@settings(max_examples=examples(50))
@given(st.data(), BOXES)
def test_a_layout_keeps_boxes_apart_and_arrows_going_right(data: st.DataObject, boxes: list[str]) -> None:
    """At least one row between two points of a layer; each arrow takes one layer a step."""
    pair = st.tuples(st.sampled_from(boxes), st.sampled_from(boxes))
    arrows = data.draw(st.lists(pair, max_size=25))
    layout = arranged(boxes, arrows)
    assert layout == arranged(boxes, arrows)
    assert set(boxes) <= set(layout.places)
    layers: dict[int, list[float]] = {}
    for layer, row in layout.places.values():
        layers.setdefault(layer, []).append(row)
    for rows in layers.values():
        assert all(low + 0.999 <= high for low, high in pairwise(sorted(rows)))
        assert min(rows) > -0.001
    assert set(layout.ways) == {arrow for arrow in arrows if arrow[0] != arrow[1]}
    for (source, target), way in layout.ways.items():
        assert (way[0], way[-1]) == (source, target)
        steps = {layout.places[after][0] - layout.places[before][0] for before, after in pairwise(way)}
        assert steps in ({1}, {-1})
