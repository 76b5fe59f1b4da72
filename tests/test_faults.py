"""Faults in real Envoys: their shares, whom they strike, that no connection feels them come and go, and their end."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

import registering
from ads_client import AdsClient
from data_plane import PORT, DataPlane, data_plane, routed, to
from envoys import until
from http_traffic import Caller, application
from live import live
from meshwright.graph import resolve
from meshwright.lab import grpcs
from meshwright.lab.exchange import Request
from meshwright.model import Key, Kind, Resource, State
from meshwright.release import Item
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import FAULTS, ROUTE, RUNTIME, Redirect, Snapshot, Traits
from meshwright.store.contract import Head
from processes import DEADLINE
from registering import somewhere
from shares import DRAWS, assert_share
from strategies import Wire, resource

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.envoy

WEB, OTHER, PAY = (Key("m", Kind.VIRTUAL_NODE, name) for name in ("web", "other", "pay"))
DOOR = Key("m", Kind.VIRTUAL_GATEWAY, "door")


def later(seconds: float) -> tuple[str, int]:
    """A moment as a definition writes it, and in milliseconds since the epoch."""
    at = time.time_ns() // 1_000_000 + int(seconds * 1000)
    return f"{datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z", at


def fault(name: str, spec: Wire) -> Resource:
    """A fault about the service `pay.local`, for ten minutes, unless `spec` says otherwise."""
    return resource(
        Kind.FAULT, name, {"target": {"virtualServiceName": "pay.local"}, "expiresAt": later(600)[0], **spec}
    )


def shop(plane: DataPlane, *more: Resource, protocol: str = "http") -> list[Resource]:
    """Nodes `web` and `other` and a gateway `door` that call the service `pay.local`, which leads to node `pay`."""
    match = {"prefix": "/"} if protocol == "http" else {}
    target = {"virtualService": {"virtualServiceName": "pay.local"}}
    into = {f"{protocol}Route": {"match": match, "action": {"target": target}}}
    return [
        resource(Kind.MESH, "m", {}),
        plane.node("web", "pay.local", protocol=protocol),
        plane.node("other", "pay.local", protocol=protocol),
        plane.node("pay", protocol=protocol),
        *routed("pay.local", {"match": match, "action": to(pay=1)}, protocol),
        resource(
            Kind.VIRTUAL_GATEWAY, "door", {"listeners": [{"portMapping": {"port": PORT, "protocol": protocol}}]}
        ),
        resource(Kind.GATEWAY_ROUTE, "in", into, parent="door"),
        *more,
    ]


async def test_a_share_of_the_requests_is_delayed_or_aborted_and_no_connection_notices(tmp_path: Path) -> None:
    """Only of the callers, and with the headers, that are named; the same connections live through all of it."""
    struck: Wire = {
        "from": ["web"],
        "match": {"headers": [{"name": "x-test", "match": {"exact": "1"}}]},
        "abort": {"httpStatus": 418, "percentage": 12.5},
        "delay": {"duration": {"value": 150, "unit": "ms"}, "percentage": 20},
    }
    async with (
        data_plane(tmp_path) as plane,
        application(plane.place("pay").ingress, PORT, "paid") as got,
    ):
        await plane.publish(*shop(plane))
        web, _ = await plane.proxy(WEB), await plane.proxy(OTHER)
        async with (
            Caller(plane.place("web").egress, PORT, 40) as caller,
            Caller(plane.place("other").egress, PORT, 10) as bystander,
        ):
            before = await caller.ask_often(80, "pay.local", x_test="1")
            assert {one.status for one in before} == {200}
            await plane.publish(*shop(plane, fault("bad-day", struck)))

            async def aborted() -> int:
                answers = await caller.ask_often(DRAWS, "pay.local", x_test="1")
                return sum(one.status == 418 for one in answers)

            async def delayed() -> int:
                before = (await web.stats("http.egress.fault"))["http.egress.fault.delays_injected"]
                answers = await caller.ask_often(DRAWS, "pay.local", x_test="1")
                injected = (await web.stats("http.egress.fault"))["http.egress.fault.delays_injected"] - before
                # Envoy's timers run on the time at which its loop began to look at what came in.
                assert injected <= sum(one.took >= 0.1 for one in answers)
                return injected

            await assert_share(0.125, aborted)
            await assert_share(0.2, delayed)
            got.clear()
            assert {one.status for one in await caller.ask_often(200, "pay.local")} == {200}
            assert {one.status for one in await bystander.ask_often(200, "pay.local", x_test="1")} == {200}
            assert len(got) == 400

            await plane.publish(*shop(plane))
            after = await caller.ask_often(200, "pay.local", x_test="1")
            assert {one.status for one in after} == {200}
            drained = await web.stats("listener_manager")
            assert drained["listener_manager.listener_modified"] == 0


async def test_a_grpc_call_is_aborted_with_a_grpc_status(tmp_path: Path) -> None:
    """As a client of gRPC sees it: the status that was asked for, at the one route that it is about."""
    async with data_plane(tmp_path) as plane:
        about = {"virtualRouterName": "pay.local", "routeName": "all"}
        aborting = fault("full", {"target": about, "abort": {"grpcStatus": 8, "percentage": 100}})
        await plane.publish(*shop(plane, aborting, protocol="grpc"))
        await plane.proxy(WEB)
        reply = await grpcs.call(plane.place("web").egress, PORT, Request(authority="pay.local", path="/shop.Pay/Do"))
        assert "RESOURCE_EXHAUSTED" in reply.fault


@pytest.mark.parametrize("there", [True, False], ids=["control-plane-there", "control-plane-gone"])
async def test_a_fault_ends_on_time_whether_or_not_the_control_plane_is_there(tmp_path: Path, there: bool) -> None:
    """It takes back routes and numbers by itself; or Envoy forgets the numbers, and the route is harmless then."""
    async with data_plane(tmp_path) as plane, application(plane.place("pay").ingress, PORT, "paid"):
        await plane.publish(*shop(plane))
        web = await plane.proxy(WEB)
        moment, end = later(4)
        ending = fault("bad-day", {"expiresAt": moment, "abort": {"httpStatus": 503, "percentage": 100}})
        await plane.publish(*shop(plane, ending))
        if not there:
            await plane.stop()
        async with Caller(plane.place("web").egress, PORT) as caller:

            async def gets(status: int) -> bool:
                return (await caller.ask("pay.local")).status == status

            async def routed_by_it() -> bool:
                return "meshwright.fault.bad-day.abort" in await web.ask(
                    "/config_dump?resource=dynamic_route_configs"
                )

            async def as_before() -> bool:
                return not await routed_by_it()

            assert await gets(503)
            assert await routed_by_it()
            await until(lambda: gets(200), "the fault ends")
            assert time.time_ns() // 1_000_000 >= end
            assert "meshwright.fault" not in await web.ask("/runtime?format=json")
            if there:
                await until(as_before, "the route is taken back")
            else:
                assert await routed_by_it()


async def test_a_fault_that_ends_when_no_envoy_lives_any_more_is_taken(tmp_path: Path) -> None:
    """Envoy rejects what is told to live for three centuries, and the last year that can be written is far away."""
    async with data_plane(tmp_path) as plane, application(plane.place("pay").ingress, PORT, "paid"):
        await plane.publish(*shop(plane))
        await plane.proxy(WEB)
        far = {"expiresAt": "9999-12-31T23:59:59Z", "abort": {"httpStatus": 503, "percentage": 100}}
        await plane.publish(*shop(plane, fault("far", far)))
        async with Caller(plane.place("web").egress, PORT) as caller:
            assert (await caller.ask("pay.local")).status == 503


STRIKES: list[tuple[Wire, set[str]]] = [
    ({"target": {"virtualServiceName": "pay.local"}}, {"web", "door"}),
    ({"target": {"virtualServiceName": "pay.local"}, "from": ["door"]}, {"door"}),
    ({"target": {"virtualServiceName": "pay.local"}, "from": ["web", "other"]}, {"web"}),
    ({"target": {"virtualRouterName": "pay.local", "routeName": "all"}}, {"web", "door"}),
    ({"target": {"virtualNodeName": "pay"}}, {"web", "door", "pay"}),
    ({"target": {"virtualNodeName": "pay", "port": PORT}}, {"web", "door", "pay"}),
    ({"target": {"virtualGatewayName": "door", "gatewayRouteName": "in"}}, {"door"}),
    ({"target": {"virtualGatewayName": "door"}}, {"door"}),
    ({"target": {"virtualGatewayName": "door", "port": PORT}}, {"door"}),
]
"""What a fault is about, and who is struck: the node `web`, who comes by the gateway, who goes to `pay` directly."""


async def test_a_fault_strikes_exactly_where_its_target_is_passed(tmp_path: Path) -> None:
    """At the callers, at a gateway's route, or in front of an application, for those that it names."""
    abort = {"httpStatus": 418, "percentage": 100}
    async with data_plane(tmp_path) as plane, application(plane.place("pay").application, PORT, "paid"):
        await plane.publish(*shop(plane))
        for key in (WEB, DOOR, PAY):
            await plane.proxy(key)
        ways = {
            "web": plane.place("web").egress,
            "door": plane.place("door").ingress,
            "pay": plane.place("pay").ingress,
        }
        for spec, expected in STRIKES:
            await plane.publish(*shop(plane, fault("teapot", {"abort": abort, **spec})))
            struck = set()
            for name, address in ways.items():
                async with Caller(address, PORT) as caller:
                    if (await caller.ask("pay.local")).status == 418:
                        struck.add(name)
            assert struck == expected, spec


async def test_an_envoy_that_could_not_forget_a_fault_is_not_sent_it(tmp_path: Path) -> None:
    """Its bootstrap is not ours: its status says what to do, and its routes are as if there were no fault."""
    async with data_plane(tmp_path) as plane:
        await plane.publish(*shop(plane, fault("bad-day", {"abort": {"httpStatus": 503, "percentage": 100}})))
        stranger = {"id": WEB.path, "metadata": {"meshwright": {"instance": "foreign"}}}
        async with AdsClient(f"127.0.0.1:{plane.xds}", stranger, delta=True) as client:
            await client.say(ROUTE, resource_names_subscribe=["rds_egress_http_8080"])
            (sent,) = (await client.hear()).resources
            assert b"envoy.filters.http.fault" not in sent.SerializeToString()
            ((told,),) = (one.unserved for one in plane.control.statuses())
            assert (told.subject, told.path) == (Key("m", Kind.FAULT, "bad-day"), "")
            assert "--print-bootstrap" in told.reason


async def test_a_rejected_fault_is_named_and_what_was_before_goes_on(tmp_path: Path) -> None:
    """By the expression that Envoy refuses, though a route, a service and a router shaped the same resource."""
    condition = {"name": "x", "match": {"regex": "[bad"}}
    spec = {"match": {"headers": [condition]}, "abort": {"httpStatus": 503, "percentage": 100}}
    async with data_plane(tmp_path) as plane, application(plane.place("pay").ingress, PORT, "paid"):
        await plane.publish(*shop(plane))
        await plane.proxy(WEB)
        revision = plane.control.revision + 1
        plane.control.publish(Head(revision, State(shop(plane, fault("bad-day", spec)))))
        found = await plane.control.wait(revision, DEADLINE)
        ((rejection,),) = (one.rejections for one in found.rejected)
        assert rejection.origins == (Key("m", Kind.FAULT, "bad-day"),)
        async with Caller(plane.place("web").egress, PORT) as caller:
            assert (await caller.ask("pay.local")).status == 200


LOST: list[tuple[Kind, str, Wire, str]] = [
    (
        Kind.ROUTE,
        "all",
        {"target": {"virtualRouterName": "pay.local", "routeName": "all"}},
        "Route 'all' does not exist",
    ),
    (
        Kind.VIRTUAL_SERVICE,
        "pay.local",
        {"target": {"virtualServiceName": "pay.local"}},
        "VirtualService 'pay.local' does",
    ),
]


@pytest.mark.parametrize(("kind", "name", "spec", "words"), LOST, ids=["route", "service"])
async def test_a_fault_whose_target_is_deleted_is_told_by_the_proxies_that_it_concerned(
    tmp_path: Path, kind: Kind, name: str, spec: Wire, words: str
) -> None:
    """It has no effect, rejects nothing, and hinders nobody from deleting."""
    async with data_plane(tmp_path) as plane:
        mesh = shop(plane, fault("late", {"abort": {"httpStatus": 503, "percentage": 100}, **spec}))
        await plane.publish(*mesh)
        await plane.proxy(WEB)
        assert plane.control.statuses()[0].unserved == ()
        await plane.publish(*(one for one in mesh if (one.key.kind, one.key.name) != (kind, name)))
        (told,) = plane.control.statuses()[0].unserved
        assert told.subject == Key("m", Kind.FAULT, "late")
        assert words in told.reason


def test_what_a_fault_cannot_strike_is_told() -> None:
    """Connections of TCP, and a port on which nobody listens."""
    spec = {"listeners": [{"portMapping": {"port": PORT, "protocol": "tcp"}}]}
    abort = {"abort": {"httpStatus": 503, "percentage": 100}}
    state = State(
        [
            resource(Kind.VIRTUAL_NODE, "web", spec),
            fault("bytes", {"target": {"virtualNodeName": "web"}, **abort}),
            fault("nowhere", {"target": {"virtualNodeName": "web", "port": 81}, **abort}),
        ]
    )
    found = build(resolve(state), WEB, {}, Redirect(), Traits(runtime=True)).unserved
    assert [(one.subject.name, one.path, one.reason) for one in found] == [
        ("bytes", "spec.target", "port 8080 of 'web' speaks TCP: it has an effect on HTTP only"),
        ("nowhere", "spec.target.port", "'web' does not listen on port 81: it has no effect"),
    ]


async def test_a_released_fault_ends_on_time_though_its_server_was_killed(tmp_path: Path) -> None:
    """One release brings the mesh and the fault; the process that serves them is gone before the fault is."""
    spec = {
        "target": {"virtualServiceName": registering.SERVICE.name},
        "from": [registering.CALLER.name],
        "abort": {"httpStatus": 503, "percentage": 100},
    }
    with somewhere(tmp_path) as place, live(tmp_path / "data") as server:
        mesh = registering.shop({"dns": {"hostname": place.of(1).ingress}})
        registering.client(server).apply("shop", "shop", mesh)
        async with application(place.of(1).ingress, PORT, "paid"), place.caller(server):

            async def gets(status: int) -> bool:
                return (await place.ask())[0] == status

            await until(lambda: gets(200), "the mesh is served")
            moment, end = later(8)
            item = Item(key=Key("shop", Kind.FAULT, "outage"), spec={**spec, "expiresAt": moment})
            release = msgspec.structs.replace(mesh, resources=(*(mesh.resources or ()), item))
            registering.client(server).apply("shop", "shop", release)
            await until(lambda: gets(503), "the fault strikes")
            server.end(signal.SIGKILL)
            await until(lambda: gets(200), "the fault ends")
            assert time.time_ns() // 1_000_000 >= end


def test_faults_end_one_after_the_other_and_a_share_is_no_part_of_a_route() -> None:
    """The layer lives until the first of them ends; a new share or a later end leaves every route as it is."""

    def built(*ends: str, share: float = 10, now: int = 0) -> Snapshot:
        places: list[Wire] = [{"virtualNodeName": "web"}, {"virtualNodeName": "web", "port": 81}]
        listeners = [{"portMapping": {"port": port, "protocol": "http"}} for port in (80, 81)]
        faults = [
            fault(
                f"f{index}", {"target": target, "expiresAt": end, "abort": {"httpStatus": 503, "percentage": share}}
            )
            for index, (target, end) in enumerate(zip(places, ends, strict=True))
        ]
        state = State([resource(Kind.VIRTUAL_NODE, "web", {"listeners": listeners}), *faults])
        return build(resolve(state), WEB, {}, Redirect(), Traits(runtime=True), now)

    first, second = 4_070_908_800_000, 4_102_444_800_000
    both = built("2099-01-01T00:00:00Z", "2100-01-01T00:00:00Z")
    assert (both.of(RUNTIME)[FAULTS].expires_at, both.changes_at) == (first, first)
    one = built("2099-01-01T00:00:00Z", "2100-01-01T00:00:00Z", now=first)
    assert (one.of(RUNTIME)[FAULTS].expires_at, one.changes_at) == (second, second)
    none = built("2099-01-01T00:00:00Z", "2100-01-01T00:00:00Z", now=second)
    assert (none.of(RUNTIME)[FAULTS].expires_at, none.changes_at) == (0, None)
    assert b"HTTPFault" not in b"".join(one.body for one in none.of(ROUTE).values())
    other = built("2099-01-01T00:00:00Z", "2101-01-01T00:00:00Z", share=20)
    assert other.of(ROUTE) == both.of(ROUTE)
    assert other.of(RUNTIME)[FAULTS].version != both.of(RUNTIME)[FAULTS].version
