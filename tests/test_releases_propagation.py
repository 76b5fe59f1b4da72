"""A release has propagated when every proxy that it concerns has acked it; shown over real HTTP and real xDS."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from ads_client import AdsClient
from envoys import until
from meshwright.model.identity import Key
from meshwright.release import ApplyRequest, Item, RollbackRequest
from meshwright.remote import Client, find_credentials
from meshwright.server import Running, Settings, control_plane
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE
from meshwright.trust.credentials import parse
from meshwright.views.releases import status_text
from test_releases import MESH, SHIFTED, SHOP, item, node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CALLER = item("virtualNode/caller", {"backends": [{"virtualService": {"virtualServiceName": "web.local"}}]})
WEB = item("virtualService/web.local", {"provider": {"virtualRouter": {"virtualRouterName": "r"}}})
CONTENT = (*SHOP, CALLER, WEB)
PROXY = "mesh/m/virtualNode/caller@one"
NODE: dict[str, Any] = {
    "id": "mesh/m/virtualNode/caller",
    "metadata": {"meshwright": {"instance": "one"}},
}


class Plane:
    """A control plane, a client for it, and the proxies that connect."""

    def __init__(self, running: Running) -> None:
        self.running = running
        credentials = find_credentials({"AWS_SHARED_CREDENTIALS_FILE": str(running.credentials)}, running.api)
        self.client = Client(running.api, credentials)
        self.key = parse(running.credentials.read_text())["default"]

    async def ask(self, name: str, *arguments: Any) -> dict[str, Any]:
        """Call the blocking client without blocking the server, which lives on this very loop."""
        found: dict[str, Any] = await asyncio.to_thread(getattr(self.client, name), MESH, "shop", *arguments)
        return found

    async def apply(self, *content: Item) -> dict[str, Any]:
        """Apply the whole of the stack."""
        return await self.ask("apply", ApplyRequest(resources=content))

    @contextlib.asynccontextmanager
    async def proxy(self) -> AsyncIterator[AdsClient]:
        """A proxy that takes every cluster it is offered first, and then only what the test tells it to."""
        async with AdsClient(self.running.xds, dict(NODE), delta=True, key=self.key) as stream:
            for type_url in (CLUSTER, LISTENER, ROUTE):
                await stream.say(type_url, resource_names_subscribe=["*"])
                await stream.ack(await stream.hear())
            yield stream


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    """A control plane on free ports."""
    settings = Settings(listen=("127.0.0.1", 0), xds=("127.0.0.1", 0), data_dir=tmp_path / "data")
    async with control_plane(settings) as running:
        yield Plane(running)


async def test_without_a_proxy_nobody_has_it_and_the_release_stays_applied(plane: Plane) -> None:
    """`wait` makes a warning of it."""
    await plane.apply(*CONTENT)
    found = await plane.ask("propagation", 1, 30)
    assert (found["release"], found["state"], found["status"]) == ("shop#1", "no-proxies", "applied")


async def test_a_release_is_propagated_when_the_last_concerned_proxy_acks(plane: Plane) -> None:
    """Not before, and then the release is marked."""
    await plane.apply(*CONTENT)
    async with plane.proxy() as stream:
        await plane.apply(*SHIFTED, CALLER, WEB)
        waiting = asyncio.create_task(plane.ask("propagation", 2, 30))
        offered = await stream.hear()
        before = await plane.ask("propagation", 2)
        assert (before["state"], before["pending"], before["status"]) == ("pending", [PROXY], "applied")
        await stream.ack(offered)
        found = await waiting
        assert (found["state"], found["acked"], found["status"]) == ("propagated", [PROXY], "propagated")
    assert (await plane.ask("release", 2))["status"] == "propagated"


async def test_what_is_restored_has_not_arrived_while_a_proxy_may_still_take_what_it_restores_from(
    plane: Plane,
) -> None:
    """The proxy is slow: it acked the first release, and answers to the second only when the third is there."""
    await plane.apply(*CONTENT)
    async with plane.proxy() as stream:
        await plane.apply(*SHIFTED, CALLER, WEB)
        offered = await stream.hear()
        await plane.ask("roll_back", RollbackRequest(to=1))
        found = await plane.ask("propagation", 3, 0.2)
        assert (found["state"], found["pending"], found["status"]) == ("pending", [PROXY], "applied")
        await stream.ack(offered)
        again = await stream.hear()
        assert {one.name for one in again.resources} == {one.name for one in offered.resources}
        assert (await plane.ask("propagation", 3))["state"] == "pending"
        await stream.ack(again)
        assert (await plane.ask("propagation", 3, 30))["state"] == "propagated"


async def test_a_proxy_that_a_release_does_not_concern_is_not_waited_for(plane: Plane) -> None:
    """Its snapshot is the same."""
    await plane.apply(*CONTENT)
    async with plane.proxy():
        await plane.apply(*CONTENT, node("nobody-calls-me"))
        found = await plane.ask("propagation", 2, 30)
        assert (found["state"], found["concerned"]) == ("propagated", [])


async def test_a_proxy_of_another_mesh_says_nothing_about_a_release(plane: Plane) -> None:
    """Nobody has taken it, so it is not known to be good."""
    await plane.apply(*CONTENT)
    other = (Item(key=Key.of_mesh("n"), spec={}),)
    async with plane.proxy():
        await asyncio.to_thread(plane.client.apply, "n", "other", ApplyRequest(resources=other))
        for seconds in (0.0, 5.0):
            found = await asyncio.to_thread(plane.client.propagation, "n", "other", 1, seconds)
            assert (found["state"], found["status"]) == ("no-proxies", "applied")
        listed = await asyncio.to_thread(plane.client.releases, "n", "other")
        assert [one["status"] for one in listed["releases"]] == ["applied"]


async def test_a_rejection_comes_with_the_proxys_words_and_the_objects_that_it_came_from(plane: Plane) -> None:
    """And ends the wait at once."""
    await plane.apply(*CONTENT)
    async with plane.proxy() as stream:
        await plane.apply(*SHIFTED, CALLER, WEB)
        offered = await stream.hear()
        await stream.nack(offered, f"no such thing: {offered.resources[0].name}")
        found = await plane.ask("propagation", 2, 30)
        assert (found["state"], found["status"]) == ("rejected", "failed")
        rejection = found["rejected"][0]["rejections"][0]
        assert "no such thing" in rejection["message"]
        assert "mesh/m/virtualRouter/r/route/x" in rejection["origins"]
        status = await asyncio.to_thread(plane.client.status)
        assert [(one["id"], one["state"]) for one in status["proxies"]] == [(PROXY, "rejected")]


async def test_status_tells_by_the_stack_that_a_proxy_which_came_later_rejects_its_release(plane: Plane) -> None:
    """It has propagated to all who were there, and stays so; the line of the stack does not leave it at that."""
    await plane.apply(*CONTENT)
    late = {"id": NODE["id"], "metadata": {"meshwright": {"instance": "late"}}}
    async with plane.proxy(), AdsClient(plane.running.xds, late, delta=True, key=plane.key) as stream:
        assert (await plane.ask("propagation", 1, 30))["status"] == "propagated"
        for type_url in (CLUSTER, LISTENER, ROUTE):
            await stream.say(type_url, resource_names_subscribe=["*"])
            offered = await stream.hear()
            await (stream.nack(offered, "no") if type_url == ROUTE else stream.ack(offered))

        async def told() -> bool:
            status = await asyncio.to_thread(plane.client.status)
            line = next(one for one in status_text(status).splitlines() if one.startswith("shop "))
            return "propagated; 1 proxy rejects it" in line

        await until(told)


async def test_the_story_of_a_bad_release_ends_at_the_last_good_one(plane: Plane) -> None:
    """Good, rejected, rolled back; then an intruder, rolled back again."""
    await plane.apply(*CONTENT)
    async with plane.proxy() as stream:
        assert (await plane.ask("propagation", 1, 30))["status"] == "propagated"
        await plane.apply(*SHIFTED, CALLER, WEB)
        await stream.nack(await stream.hear(), "no")
        assert (await plane.ask("propagation", 2, 30))["state"] == "rejected"
        outcome = await plane.ask("roll_back", RollbackRequest(last_good=True))
        assert (outcome["release"]["title"], outcome["release"]["restores"]) == ("shop#3", 1)
        await stream.ack(await stream.hear())
        assert (await plane.ask("propagation", 3, 30))["status"] == "propagated"
        history = (await plane.ask("releases"))["releases"]
        assert [one["status"] for one in history] == ["propagated", "rolled back", "propagated"]


async def test_another_process_s_write_does_not_stop_the_server(plane: Plane, tmp_path: Path) -> None:
    """Noting that a release has propagated waits for its turn, and nothing else waits for that."""
    await plane.apply(*CONTENT)
    async with plane.proxy():
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / "meshwright.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asking = asyncio.create_task(plane.ask("propagation", 1, 30))
            _, waiting = await asyncio.wait({asking}, timeout=1)
            assert waiting == {asking}
            assert (await plane.ask("release", 1))["status"] == "applied"
            other.execute("ROLLBACK")
            assert (await asking)["status"] == "propagated"


async def test_two_waits_at_once_and_a_client_that_goes_away_harm_nobody(plane: Plane) -> None:
    """A wait is only a question."""
    await plane.apply(*CONTENT)
    async with plane.proxy() as stream:
        await plane.apply(*SHIFTED, CALLER, WEB)
        offered = await stream.hear()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(plane.running.api.rpartition(":")[2]))
        writer.write(b"GET /meshwright/v1/status HTTP/1.1\r\n")
        writer.close()
        del reader
        waits = [asyncio.create_task(plane.ask("propagation", 2, 30)) for _ in range(2)]
        await stream.ack(offered)
        assert [one["state"] for one in await asyncio.gather(*waits)] == ["propagated", "propagated"]


async def test_what_a_proxy_cannot_be_sent_is_said_in_its_status(plane: Plane) -> None:
    """A certificate of AWS Certificate Manager cannot be had here: nothing takes its place, and status tells."""
    acm = {"certificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/1"}
    tls = {"mode": "STRICT", "certificate": {"acm": acm}}
    listener = {"portMapping": {"port": 8080, "protocol": "http"}, "tls": tls}
    spec = {"listeners": [listener], "serviceDiscovery": {"dns": {"hostname": "sealed.local"}}}
    await plane.apply(*CONTENT, item("virtualNode/sealed", spec))
    sealed = {"id": "mesh/m/virtualNode/sealed", "metadata": {"meshwright": {"instance": "one"}}}
    async with AdsClient(plane.running.xds, sealed, delta=True, key=plane.key) as stream:
        await stream.say(CLUSTER, resource_names_subscribe=["*"])
        await stream.hear()
        status = await asyncio.to_thread(plane.client.status)
    (proxy,) = status["proxies"]
    assert [(one["subject"], one["path"]) for one in proxy["unserved"]] == [
        ("mesh/m/virtualNode/sealed", "spec.listeners[0].tls.certificate.acm")
    ]
    told = status_text(status)
    assert "not served by mesh/m/virtualNode/sealed@one: mesh/m/virtualNode/sealed spec.listeners[0].tls" in told
