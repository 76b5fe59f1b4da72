"""Lab workloads of each protocol, called directly: they say who they are, hand requests on, and misbehave as told."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from meshwright.errors import MeshwrightError
from meshwright.lab.addresses import Block
from meshwright.lab.exchange import Fault, Request
from meshwright.lab.machines import on_loopback
from meshwright.lab.topology import Backend, Port, Role
from meshwright.lab.workload import Workload, call
from meshwright.model.identity import Key, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.model.scalars import PortProtocol
    from meshwright.snapshot.resources import Loopback

PROTOCOLS = ["http", "http2", "grpc", "tcp"]
WHO = Request(authority="cart.shop.internal", path="/lab.Workload/Who", headers={"x-customer": "ada"})


@pytest.fixture
def place() -> Iterator[Loopback]:
    """Addresses of our own."""
    with Block() as block:
        yield block.place()


def role(protocol: PortProtocol, *backends: Backend) -> Role:
    """A node `cart` with one port."""
    key = Key("shop", Kind.VIRTUAL_NODE, "cart")
    return Role(key=key, instances=1, ports=(Port(7070, protocol),), hostname="", backends=backends)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_workload_says_who_it_is_and_what_arrived(protocol: PortProtocol, place: Loopback) -> None:
    """Node, instance, protocol, path and the caller's headers, over every protocol, twice."""
    workload = Workload(role(protocol), 2, on_loopback(place))
    await workload.start()
    try:
        for _ in range(2):
            reply = await call(protocol, place.application, 7070, WHO)
            assert (reply.status, reply.node, reply.instance, reply.protocol) == (200, "cart", "cart-2", protocol)
            assert reply.path == WHO.path
            assert reply.headers["x-customer"] == "ada"
        assert workload.received == 2
    finally:
        await workload.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_workload_fails_hangs_up_and_is_slow_as_told(protocol: PortProtocol, place: Loopback) -> None:
    """A failure is never a proper reply; a delay is waited for; healed, it answers as before."""
    workload = Workload(role(protocol), 1, on_loopback(place))
    await workload.start()
    loop = asyncio.get_running_loop()
    try:
        workload.fault = Fault(status=503)
        assert (await call(protocol, place.application, 7070, WHO)).status == 503
        workload.fault = Fault(hang_up=True)
        assert not (await call(protocol, place.application, 7070, WHO)).ok
        workload.fault = Fault(delay=0.2)
        begin = loop.time()
        assert (await call(protocol, place.application, 7070, WHO)).ok
        assert loop.time() - begin >= 0.19
        workload.fault = Fault()
        assert (await call(protocol, place.application, 7070, WHO)).ok
    finally:
        await workload.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_call_to_nobody_is_a_reply_that_says_so(protocol: PortProtocol, place: Loopback) -> None:
    """No exception: what happened to the request is what the caller wants to know."""
    reply = await call(protocol, place.application, 7071, WHO)
    assert not reply.ok
    assert reply.fault


async def test_a_request_goes_on_to_the_backends_with_the_users_headers(place: Loopback) -> None:
    """Through the egress address, under the service's name; the proxies' own headers stay behind."""
    backends = (Backend("one.shop.internal", Port(7072, "http")), Backend("two.shop.internal", Port(7073, "tcp")))
    caller = Workload(role("http", *backends), 1, on_loopback(place))
    # In the place of the proxies: a workload of the right protocols at the egress address.
    behind = Role(
        key=Key("shop", Kind.VIRTUAL_NODE, "behind"),
        instances=1,
        ports=(Port(7072, "http"), Port(7073, "tcp")),
        hostname="",
        backends=(),
    )
    moved = type(place)(application=place.egress, ingress=place.ingress, egress=place.egress)
    callee = Workload(behind, 1, on_loopback(moved))
    await caller.start()
    await callee.start()
    try:
        sent = Request(
            authority="web.shop.internal",
            path="/a?b=c",
            headers={"x-customer": "ada", "x-envoy-attempt-count": "1", "cookie": "no"},
        )
        reply = await call("http", place.application, 7070, sent)
        assert [one.service for one in reply.calls] == ["one.shop.internal", "two.shop.internal"]
        for one in reply.calls:
            assert (one.node, one.path) == ("behind", "/a?b=c")
            assert one.headers.get("x-customer") == "ada"
            assert {"x-envoy-attempt-count", "cookie"}.isdisjoint(one.headers)
        narrow = Request(authority="web", headers={"x-lab-calls": "two.shop.internal"})
        reply = await call("http", place.application, 7070, narrow)
        assert [one.service for one in reply.calls] == ["two.shop.internal"]
    finally:
        await caller.stop()
        await callee.stop()


async def test_health_checks_are_answered_without_asking_the_backends(place: Loopback) -> None:
    """Envoy checks often; that must not look like requests, nor fail because a backend does."""
    workload = Workload(role("http", Backend("gone.shop.internal", Port(7099, "http"))), 1, on_loopback(place))
    await workload.start()
    try:
        reply = await call(
            "http", place.application, 7070, Request(authority="x", headers={"user-agent": "Envoy/HC"})
        )
        assert reply.ok
        assert not reply.calls
        assert workload.received == 0
    finally:
        await workload.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_taken_port_is_named(protocol: PortProtocol, place: Loopback) -> None:
    """Who could not listen where; the one that came first goes on."""
    first, second = Workload(role(protocol), 1, on_loopback(place)), Workload(role(protocol), 2, on_loopback(place))
    await first.start()
    try:
        with pytest.raises(MeshwrightError, match=f"cart-2 cannot listen on {place.application}:7070"):
            await second.start()
        await second.stop()
        assert (await call(protocol, place.application, 7070, WHO)).instance == "cart-1"
    finally:
        await first.stop()


def test_two_labs_never_share_addresses() -> None:
    """A block that is taken is refused to the next lab, and free again afterwards."""
    with Block() as one, Block() as two:
        mine, others = one.place(), two.place()
        assert mine.ingress.split(".")[:2] != others.ingress.split(".")[:2]
        assert len({mine.application, mine.ingress, mine.egress, one.place().application}) == 4
        for address in (mine.application, mine.ingress, mine.egress, one.control_plane, one.name_server):
            with socket.socket() as probe:
                probe.bind((address, 0))
