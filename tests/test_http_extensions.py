"""Mirrors, header edits and cross-origin policies in real Envoys, at every place that an extension may be about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from data_plane import PORT, DataPlane, data_plane, routed, to
from envoys import until
from http_traffic import Caller, Message, application, plain
from meshwright.model import Key, Kind, Resource
from shares import DRAWS, assert_share
from strategies import Wire, resource

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.envoy

WEB, PAY = (Key("m", Kind.VIRTUAL_NODE, name) for name in ("web", "pay"))
DOOR = Key("m", Kind.VIRTUAL_GATEWAY, "door")
SERVICE: Wire = {"virtualServiceName": "pay.local"}
ROUTE: Wire = {"virtualRouterName": "pay.local", "routeName": "all"}


def shop(plane: DataPlane, *more: Resource, match: Wire | None = None) -> list[Resource]:
    """A node `web` and a gateway `door` in front of the service `pay.local`, which leads to the node `pay`."""
    route: Wire = {
        "match": {"prefix": "/"},
        "action": {"target": {"virtualService": {"virtualServiceName": "pay.local"}}},
    }
    return [
        resource(Kind.MESH, "m", {}),
        plane.node("web", "pay.local"),
        plane.node("pay"),
        plane.node("shadow"),
        *routed("pay.local", {"match": match or {"prefix": "/"}, "action": to(pay=1)}),
        resource(Kind.VIRTUAL_GATEWAY, "door", {"listeners": [{"portMapping": {"port": PORT, "protocol": "http"}}]}),
        resource(Kind.GATEWAY_ROUTE, "in", {"httpRoute": route}, parent="door"),
        *more,
    ]


async def test_a_share_of_the_requests_is_copied_and_nobody_waits_for_the_copies(tmp_path: Path) -> None:
    """To a node that is no target of the route; a copy tells itself by its Host, and its failure is nobody's."""

    def broken(_asked: Message) -> Message:
        return plain("cannot", 500)

    async with (
        data_plane(tmp_path) as plane,
        application(plane.place("pay").ingress, PORT, "paid") as got,
        application(plane.place("shadow").ingress, PORT, broken) as copies,
    ):
        mirror = {"target": SERVICE, "to": {"virtualNodeName": "shadow"}, "percentage": 12.5}
        await plane.publish(*shop(plane))
        web = await plane.proxy(WEB)
        async with Caller(plane.place("web").egress, PORT, 20) as caller:
            await caller.ask_often(40, "pay.local")
            await plane.publish(*shop(plane, resource(Kind.MIRROR, "dark", mirror)))

            async def settled() -> bool:
                cluster = "cluster.cds_egress_m_shadow_http_8080"
                found = await web.stats(f"{cluster}.upstream_rq_")
                return not found[f"{cluster}.upstream_rq_active"] + found[f"{cluster}.upstream_rq_pending_active"]

            async def copied() -> int:
                copies.clear()
                answers = await caller.ask_often(DRAWS, "pay.local", "/bill?x=1", x_mark="1")
                assert {one.status for one in answers} == {200}
                await until(settled, "the last copy is answered")
                return len(copies)

            await assert_share(0.125, copied)
            assert {(one.path, one.headers["host"], one.headers["x-mark"]) for one in copies} == {
                ("/bill?x=1", "pay.local-shadow", "1")
            }
            assert {one.headers["host"] for one in got} == {"pay.local"}
            await plane.publish(*shop(plane))
            copies.clear()
            await caller.ask_often(200, "pay.local")
            assert copies == []


EDITS: Wire = {
    "request": {
        "set": [{"name": "x-team", "value": "100% %REQ(x)%"}, {"name": "x-empty", "value": ""}],
        "add": [{"name": "x-list", "value": "b"}],
        "remove": ["x-secret"],
    },
    "response": {
        "set": [{"name": "x-kind", "value": "edited"}],
        "add": [{"name": "x-more", "value": "2"}],
        "remove": ["server", "x-internal", "x-envoy-upstream-service-time"],
    },
}


def talkative(_asked: Message) -> Message:
    """An answer with headers to edit."""
    return plain("paid", server="app/1.0", x_internal="host-7", x_kind="raw", x_more="1")


@pytest.mark.parametrize(
    ("target", "through"),
    [
        (SERVICE, "web"),
        (ROUTE, "web"),
        ({"virtualNodeName": "pay"}, "pay"),
        ({"virtualNodeName": "pay", "port": PORT}, "pay"),
        ({"virtualGatewayName": "door", "gatewayRouteName": "in"}, "door"),
        ({"virtualGatewayName": "door"}, "door"),
    ],
    ids=["service", "route", "node", "port", "gateway-route", "gateway"],
)
async def test_headers_are_edited_wherever_the_target_is_passed(tmp_path: Path, target: Wire, through: str) -> None:
    """Seen by the application and by the caller; a value is a text, and even Envoy's own `server` can be hidden."""
    proxies = {"web": WEB, "pay": PAY, "door": DOOR}
    async with data_plane(tmp_path) as plane:
        serving = plane.place("pay").application if through == "pay" else plane.place("pay").ingress
        calling = {
            "web": plane.place("web").egress,
            "pay": plane.place("pay").ingress,
            "door": plane.place("door").ingress,
        }
        async with application(serving, PORT, talkative) as got:
            await plane.publish(*shop(plane, resource(Kind.HEADER_EDIT, "edit", {"target": target, **EDITS})))
            await plane.proxy(proxies[through])
            async with Caller(calling[through], PORT) as caller:
                answer = await caller.ask("pay.local", x_list="a", x_secret="s", x_team="old")
            (asked,) = got
            kept = {name: asked.headers.get(name) for name in ("x-team", "x-empty", "x-list", "x-secret")}
            assert kept == {"x-team": "100% %REQ(x)%", "x-empty": "", "x-list": "a,b", "x-secret": None}
            assert answer.headers["x-kind"] == "edited"
            assert answer.headers["x-more"] == "1,2"
            assert not {"server", "x-internal", "x-envoy-upstream-service-time"} & set(answer.headers)


async def test_of_two_edits_the_narrower_one_holds_whole(tmp_path: Path) -> None:
    """That of the route, not that of its service, and nothing of both; without edits Envoy says its own `server`."""

    def edit(name: str, target: Wire) -> Resource:
        spec = {"target": target, "request": {"set": [{"name": f"x-{name}", "value": "1"}]}}
        return resource(Kind.HEADER_EDIT, name, spec)

    async with data_plane(tmp_path) as plane, application(plane.place("pay").ingress, PORT, talkative) as got:
        await plane.publish(*shop(plane, edit("wide", SERVICE), edit("narrow", ROUTE)))
        await plane.proxy(WEB)
        async with Caller(plane.place("web").egress, PORT) as caller:
            answer = await caller.ask("pay.local")
            assert answer.headers["server"] == "envoy"
            assert [name for name in got[0].headers if name in {"x-wide", "x-narrow"}] == ["x-narrow"]


async def test_a_browser_is_answered_by_the_proxy_and_told_who_may_read(tmp_path: Path) -> None:
    """The question before a request never reaches the application, also where the route takes one method only."""
    policy: Wire = {
        "target": SERVICE,
        "allowOrigins": [
            {"exact": "https://shop.example"},
            {"suffix": ".shop.example"},
            {"regex": "https://dev-[0-9]+"},
        ],
        "allowMethods": ["GET", "POST"],
        "allowHeaders": ["x-token"],
        "exposeHeaders": ["x-total", "x-page"],
        "maxAge": {"value": 10, "unit": "s"},
        "allowCredentials": True,
    }
    asking = {"access_control_request_method": "POST"}
    async with data_plane(tmp_path) as plane, application(plane.place("pay").ingress, PORT, "paid") as got:
        only = {"prefix": "/", "method": "POST"}
        await plane.publish(*shop(plane, resource(Kind.CORS, "browsers", policy), match=only))
        web = await plane.proxy(WEB)
        async with Caller(plane.place("web").egress, PORT) as caller:
            for origin in ("https://shop.example", "https://eu.shop.example", "https://dev-7"):
                told = await caller.ask("pay.local", "/bill", "OPTIONS", origin=origin, **asking)
                assert told.status == 200
                assert {name: value for name, value in told.headers.items() if name.startswith("access-control")} == {
                    "access-control-allow-origin": origin,
                    "access-control-allow-credentials": "true",
                    "access-control-allow-methods": "GET,POST",
                    "access-control-allow-headers": "x-token",
                    "access-control-expose-headers": "x-total,x-page",
                    "access-control-max-age": "10",
                }
            asked = await caller.ask("pay.local", "/bill", "OPTIONS", origin="https://evil.example", **asking)
            assert "access-control-allow-origin" not in asked.headers
            assert got == []
            answer = await caller.ask("pay.local", "/bill", "POST", origin="https://shop.example")
            assert answer.headers["access-control-allow-origin"] == "https://shop.example"
            assert answer.headers["access-control-expose-headers"] == "x-total,x-page"
            stranger = await caller.ask("pay.local", "/bill", "POST", origin="https://evil.example")
            assert (stranger.status, "access-control-allow-origin" in stranger.headers) == (200, False)
            assert (await caller.ask("pay.local", "/bill", "OPTIONS")).status == 404
            counted = await web.stats("http.egress.cors")
            assert counted == {"http.egress.cors.origin_invalid": 2, "http.egress.cors.origin_valid": 4}
