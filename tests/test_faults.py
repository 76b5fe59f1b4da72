"""Faults in real Envoys: their shares, whom they strike, that no connection feels them come and go, and their end."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from data_plane import PORT, DataPlane, data_plane, routed, to
from envoys import until
from http_traffic import Caller, application
from meshwright.lab import grpcs
from meshwright.lab.exchange import Request
from meshwright.model import Key, Kind, Resource
from shares import DRAWS, assert_share
from strategies import Wire, resource

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.envoy

WEB, OTHER = (Key("m", Kind.VIRTUAL_NODE, name) for name in ("web", "other"))


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
    """Nodes `web` and `other` that call the service `pay.local`, which leads to the node `pay`."""
    match = {"prefix": "/"} if protocol == "http" else {}
    return [
        resource(Kind.MESH, "m", {}),
        plane.node("web", "pay.local", protocol=protocol),
        plane.node("other", "pay.local", protocol=protocol),
        plane.node("pay", protocol=protocol),
        *routed("pay.local", {"match": match, "action": to(pay=1)}, protocol),
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
                assert injected <= sum(one.took >= 0.1 for one in answers) <= DRAWS / 2
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


async def test_a_fault_ends_on_time_by_the_hand_of_the_control_plane(tmp_path: Path) -> None:
    """Routes and numbers are as if there had been none; nobody writes anything for that."""
    async with data_plane(tmp_path) as plane, application(plane.place("pay").ingress, PORT, "paid"):
        await plane.publish(*shop(plane))
        web = await plane.proxy(WEB)
        moment, end = later(3)
        ending = fault("bad-day", {"expiresAt": moment, "abort": {"httpStatus": 503, "percentage": 100}})
        await plane.publish(*shop(plane, ending))
        async with Caller(plane.place("web").egress, PORT) as caller:
            assert (await caller.ask("pay.local")).status == 503

            async def over() -> bool:
                return (await caller.ask("pay.local")).status == 200

            await until(over, "the fault ends", 30)
            assert time.time_ns() // 1_000_000 >= end
            await until(lambda: plane.control.statuses()[0].state == "synced", "the Envoy took its end")
            for part in ("/runtime?format=json", "/config_dump?resource=dynamic_route_configs"):
                assert "meshwright.fault" not in await web.ask(part)


async def test_a_fault_ends_on_time_though_the_control_plane_is_gone(tmp_path: Path) -> None:
    """Envoy forgets the numbers by itself; the route, which nobody takes back, is harmless without them."""
    async with data_plane(tmp_path) as plane, application(plane.place("pay").ingress, PORT, "paid"):
        await plane.publish(*shop(plane))
        web = await plane.proxy(WEB)
        moment, end = later(3)
        ending = fault("bad-day", {"expiresAt": moment, "abort": {"httpStatus": 503, "percentage": 100}})
        await plane.publish(*shop(plane, ending))
        await plane.stop()
        async with Caller(plane.place("web").egress, PORT) as caller:
            assert (await caller.ask("pay.local")).status == 503

            async def over() -> bool:
                return (await caller.ask("pay.local")).status == 200

            await until(over, "the fault ends", 30)
            assert time.time_ns() // 1_000_000 >= end
            assert "meshwright.fault.bad-day.abort" in await web.ask("/config_dump?resource=dynamic_route_configs")
            assert "meshwright.fault" not in await web.ask("/runtime?format=json")
