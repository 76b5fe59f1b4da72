"""`meshwright serve` as a process: it starts, says where it is, resumes, stops in good order, and refuses clearly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import grpc.aio
import pytest

from ads_client import AdsClient
from envoys import envoy, fetch, until, upstream
from live import Live, live
from meshwright.errors import MeshwrightError, ServiceUnavailableException
from meshwright.model.identity import Key, Kind
from meshwright.model.specs import VirtualNodeSpec
from meshwright.model.state import Resource
from meshwright.proxy.bootstrap import KeyFile
from meshwright.release import ApplyRequest, Item
from meshwright.remote import Client, find_credentials
from meshwright.server import Settings, control_plane
from meshwright.snapshot.resources import CLUSTER
from meshwright.store import sqlite
from meshwright.trust.credentials import parse
from processes import DEADLINE, free_port, fresh_place
from stored import commit_one

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from meshwright.trust.credentials import Credentials

CREDENTIALS = "AWS_SHARED_CREDENTIALS_FILE"
WEB = Key("shop", Kind.VIRTUAL_NODE, "web")


class Served:
    """A running `meshwright serve`."""

    def __init__(self, process: asyncio.subprocess.Process, line: dict[str, Any]) -> None:
        self.process = process
        self.api = str(line["api"])
        self.xds = int(str(line["xds"]).rpartition(":")[2])
        self.credentials = Path(line["credentials"])
        self.revision = int(line["revision"])
        self.sockets = line.get("xds_sockets")

    @property
    def key(self) -> Credentials:
        """The administrator's key."""
        return parse(self.credentials.read_text())["default"]

    def appmesh(self) -> Any:
        """A stock client with the administrator's key."""
        keys = self.key
        session = boto3.session.Session(
            aws_access_key_id=keys.key_id, aws_secret_access_key=keys.secret, region_name="us-east-1"
        )
        return session.client("appmesh", endpoint_url=self.api)

    async def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Stop it; its exit code and all that it wrote to standard error."""
        self.process.send_signal(number)
        _, err = await asyncio.wait_for(self.process.communicate(), DEADLINE)
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()


def arguments(folder: Path, xds: int = 0, *more: str) -> list[str]:
    """A `serve` on free ports."""
    listen = ["--listen", "127.0.0.1:0", "--xds", f"127.0.0.1:{xds}"]
    return ["-m", "meshwright.cli", "serve", *listen, "--data-dir", str(folder), "--format", "json", *more]


@contextlib.asynccontextmanager
async def served(folder: Path, xds: int = 0, *more: str) -> AsyncIterator[Served]:
    """A server that is ready; killed on leaving if it still runs."""
    process = await _start(arguments(folder, xds or free_port(), *more))
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), DEADLINE)
        assert line, (await process.communicate())[1].decode()
        yield Served(process, json.loads(line))
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _start(command: list[str], program: str = sys.executable) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    settings = {**os.environ, "GRPC_VERBOSITY": "NONE"}
    return await asyncio.create_subprocess_exec(program, *command, stdout=pipe, stderr=pipe, env=settings)


async def refused(command: list[str]) -> str:
    """The one message of a start that fails with exit code 2."""
    process = await _start(command)
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE)
    assert (process.returncode, out) == (2, b"")
    (line,) = err.decode().splitlines()
    return line


def create_web(appmesh: Any, timeout: int = 5) -> None:
    """A mesh with one node that answers HTTP on port 8080."""
    appmesh.create_mesh(meshName="shop")
    appmesh.create_virtual_node(meshName="shop", virtualNodeName="web", spec=web(timeout))


def web(timeout: int) -> dict[str, Any]:
    """The node's spec, with a request timeout in seconds."""
    listener = {
        "portMapping": {"port": 8080, "protocol": "http"},
        "timeout": {"http": {"perRequest": {"unit": "s", "value": timeout}}},
    }
    return {"listeners": [listener], "serviceDiscovery": {"dns": {"hostname": "web.shop.local"}}}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_starts_says_where_it_is_and_stops_in_good_order(tmp_path: Path, number: int) -> None:
    """The first start makes the administrator's key; no secret is logged."""
    async with served(tmp_path / "data") as server:
        port = int(server.api.rpartition(":")[2])
        assert (await fetch("127.0.0.1", port, "/healthz"))[0] == 200
        assert (await fetch("127.0.0.1", port, "/readyz"))[0] == 200
        assert server.credentials.stat().st_mode & 0o777 == 0o600
        assert (await asyncio.to_thread(server.appmesh().list_meshes))["meshes"] == []
        code, said = await server.end(number)
    assert code == 0
    assert f"written to {server.credentials}" in said
    assert said.endswith("Stopped.\n")
    assert parse(server.credentials.read_text())["default"].secret not in said


async def test_it_says_which_sockets_it_serves(tmp_path: Path) -> None:
    """Each with its node: on standard error, and in the line for programs."""
    path = tmp_path / "web.sock"
    async with served(tmp_path / "data", 0, "--xds-socket", f"{WEB.path}={path}") as server:
        assert server.sockets == [{"node": WEB.path, "path": str(path)}]
        _, said = await server.end()
    assert f"xDS  {path}, for {WEB.path} alone" in said.splitlines()


async def test_it_stops_while_envoys_are_connected(tmp_path: Path) -> None:
    """Within seconds, with a good ending of their streams."""
    async with served(tmp_path / "data") as server:
        await asyncio.to_thread(create_web, server.appmesh())
        async with AdsClient(f"127.0.0.1:{server.xds}", {"id": WEB.path}, delta=True, key=server.key) as client:
            await client.say(CLUSTER)
            await client.hear()
            assert (await server.end())[0] == 0
            assert (await client.call.code()).value[0] == 0


def applied(server: Live, spec: dict[str, Any]) -> None:
    """Release a mesh of one node."""
    client = Client(server.api, find_credentials({CREDENTIALS: str(server.credentials)}, server.api))
    content = (Item(key=Key.of_mesh("shop"), spec={}), Item(key=WEB, spec=spec))
    client.apply("shop", "shop", ApplyRequest(resources=content))


def instance(server: Live, number: int) -> AdsClient:
    """The stream of one of the node's Envoys."""
    node = {"id": WEB.path, "metadata": {"meshwright": {"instance": f"i{number}"}}}
    key = parse(server.credentials.read_text())["default"]
    return AdsClient(f"127.0.0.1:{server.xds}", node, delta=True, key=key)


async def test_it_stops_promptly_with_hundreds_of_envoys_and_loses_nothing(tmp_path: Path) -> None:
    """In the middle of a push each stream ends well; the change is kept, and sent to those alone who lack it."""
    pooled = web(5)
    pooled["listeners"][0]["connectionPool"] = {"http": {"maxConnections": 7}}
    with live(tmp_path / "data", "--xds-envoys-per-node", "500") as server:
        async with contextlib.AsyncExitStack() as stack:
            await asyncio.to_thread(applied, server, web(5))
            clients = [await stack.enter_async_context(instance(server, number)) for number in range(500)]
            for client in clients:
                await client.say(CLUSTER)
            for client in clients:
                first = await client.hear(60)
                await client.ack(first)
            await asyncio.to_thread(applied, server, pooled)
            newest = await clients[0].hear()
            assert await asyncio.to_thread(server.end) == 0
            assert {await client.ended() for client in clients} == {0}
        assert "traceback" not in server.log.read_text().lower()
    with live(tmp_path / "data") as server:
        assert server.revision == 2
        old, new = ({one.name: one.version for one in response.resources} for response in (first, newest))
        async with instance(server, 0) as informed, instance(server, 1) as ignorant:
            await ignorant.say(CLUSTER, initial_resource_versions=old)
            assert {one.name: one.version for one in (await ignorant.hear()).resources} == new
            await informed.say(CLUSTER, initial_resource_versions=old | new)
            assert await informed.silence()


@contextlib.asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A raw connection to the API of a control plane in this process."""
    settings = Settings(listen=("127.0.0.1", 0), xds=("127.0.0.1", 0), data_dir=folder)
    async with control_plane(settings) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(running.api.rpartition(":")[2]))
        try:
            yield reader, writer
        finally:
            writer.close()


async def test_a_head_without_end_is_cut_off(tmp_path: Path) -> None:
    """Before anybody asks for a signature: an endless header once cost all memory, and time squared."""
    async with connected(tmp_path / "data") as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nendless: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                writer.write(b"x" * 65_536)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            assert (await asyncio.wait_for(reader.read(), DEADLINE)).startswith(b"HTTP/1.1 431 ")
        assert writer.transport.is_closing() or reader.at_eof()


def busy(server: Served) -> bool:
    """Whether it is answering somebody beside the one who asks here."""
    with urllib.request.urlopen(f"{server.api}/metrics", timeout=DEADLINE) as answer:  # noqa: S310 - our own server
        return "meshwright_requests_in_flight 1.0" in answer.read().decode()


async def test_stopping_answers_whoever_still_waits(tmp_path: Path) -> None:
    """With a reason, and without a traceback."""
    async with served(tmp_path / "data") as server:
        client = Client(server.api, find_credentials({CREDENTIALS: str(server.credentials)}, server.api))
        content = (Item(key=Key.of_mesh("shop"), spec={}), Item(key=WEB, spec=web(5)))
        await asyncio.to_thread(client.apply, "shop", "shop", ApplyRequest(resources=content))
        async with AdsClient(f"127.0.0.1:{server.xds}", {"id": WEB.path}, delta=True, key=server.key) as proxy:
            await proxy.say(CLUSTER)
            await proxy.hear()  # and no ack: the release stays on its way
            waiting = asyncio.create_task(asyncio.to_thread(client.propagation, "shop", "shop", 1, 25.0))
            await until(lambda: asyncio.to_thread(busy, server))
            code, said = await server.end()
            with pytest.raises(ServiceUnavailableException, match="The server is stopping"):
                await waiting
    assert code == 0
    assert "traceback" not in said


async def test_it_resumes_from_disk_with_the_same_key(tmp_path: Path) -> None:
    """What was acknowledged is there after a kill."""
    async with served(tmp_path / "data") as server:
        await asyncio.to_thread(create_web, server.appmesh())
        await server.end(signal.SIGKILL)
    async with served(tmp_path / "data") as server:
        assert server.revision == 2
        found = await asyncio.to_thread(
            server.appmesh().describe_virtual_node, meshName="shop", virtualNodeName="web"
        )
        assert found["virtualNode"]["spec"] == web(5)
        assert "written to" not in (await server.end())[1]


@pytest.mark.envoy
async def test_a_killed_server_costs_no_request_and_a_new_one_sends_nothing_again(tmp_path: Path) -> None:
    """Definitions over the API, a real Envoy in loopback placement, kill -9, restart, a change."""
    place = fresh_place()

    async def serves() -> bool:
        return await fetch(place.ingress, 8080) == (200, "here")

    async with upstream("here", place.application, 8080), served(tmp_path / "data") as first:
        await asyncio.to_thread(create_web, first.appmesh())
        async with envoy(
            tmp_path, WEB, first.xds, placement=place, credentials=KeyFile(str(first.credentials))
        ) as running:
            await until(serves, str(running.log))
            await until(lambda: _settled(running))
            taken = await _successes(running)
            await first.end(signal.SIGKILL)
            assert [await serves() for _ in range(5)] == [True] * 5
            async with served(tmp_path / "data", first.xds) as second:
                await until(lambda: _connected(running))
                assert await serves()
                assert await _successes(running) == taken
                await asyncio.to_thread(
                    second.appmesh().update_virtual_node, meshName="shop", virtualNodeName="web", spec=web(9)
                )
                await until(lambda: _changed(running, taken))
                assert await serves()
                assert (await second.end())[0] == 0


async def _successes(running: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for prefix in ("cluster_manager.cds", "listener_manager.lds", "http.*rds"):
        stats = await running.stats(prefix)
        found |= {name: value for name, value in stats.items() if name.endswith("update_success")}
    return found


async def _settled(running: Any) -> bool:
    before = await _successes(running)
    await asyncio.sleep(0.05)
    return before == await _successes(running)


async def _connected(running: Any) -> bool:
    return bool((await running.stats("control_plane.connected_state")).get("control_plane.connected_state"))


async def _changed(running: Any, taken: dict[str, int]) -> bool:
    return await _successes(running) != taken


async def test_it_hears_of_commits_by_other_processes(tmp_path: Path) -> None:
    """By looking once a second: the store is the truth."""
    async with served(tmp_path / "data") as server:
        await asyncio.to_thread(create_web, server.appmesh())
        store = sqlite.connect(tmp_path / "data" / "meshwright.db")
        key = Key("shop", Kind.VIRTUAL_NODE, "late")
        put = Resource(key=key, spec=VirtualNodeSpec())
        commit_one(store, 2, puts=(put,), deletes=(), principal="somebody", cause="test", at=1)
        store.close()

        async def known() -> bool:
            async with AdsClient(f"127.0.0.1:{server.xds}", {"id": key.path}, delta=True, key=server.key) as client:
                await client.say(CLUSTER)
                with contextlib.suppress(grpc.aio.AioRpcError):
                    return bool((await client.hear()).nonce)
                return False

        await until(known)


async def test_more_proxies_connect_than_the_usual_limit_of_open_files(tmp_path: Path) -> None:
    """The soft limit is 1,024 on most systems; the hard one is what the operator decided."""
    command = ("-c", 'ulimit -Sn 200; exec "$@"', "sh", sys.executable, *arguments(tmp_path / "data"))
    process = await _start(list(command), "/bin/sh")
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), DEADLINE)
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    process.terminate()
    await process.communicate()
    assert (soft, process.returncode) == (hard, 0)


async def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """Two would not hear of each other's proxies, by whatever path they find the database."""
    async with served(tmp_path / "data"):
        assert "in use by another 'meshwright serve'" in await refused(arguments(tmp_path / "data"))
        (tmp_path / "link").symlink_to(tmp_path / "data")
        same = f"sqlite:///{tmp_path}/link/meshwright.db"
        said = await refused(arguments(tmp_path / "other", 0, "--database", same))
        assert "in use by another 'meshwright serve'" in said


@pytest.mark.parametrize("option", ["--listen", "--xds"])
async def test_a_port_in_use_is_one_clear_message(tmp_path: Path, option: str) -> None:
    """Exit code 2, the address and the option to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        said = await refused(arguments(tmp_path / "data", 0, option, where))
    assert where in said
    assert option in said


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--listen", "0.0.0.0:0"], "--listen 0.0.0.0:0 can be reached from other machines"),
        (["--xds", "[::]:0"], "--insecure-listen-beyond-loopback"),
        (["--xds", "nonsense"], "--xds 'nonsense' is no address; write HOST:PORT"),
        (["--account", "12"], "--account '12' is no AWS account"),
        (["--account", "\N{ARABIC-INDIC DIGIT ONE}" * 12], "is no AWS account"),
        (["--listen", "127.0.0.1:\N{ARABIC-INDIC DIGIT NINE}"], "is no address; write HOST:PORT"),
        (["--database", "postgres://db"], "--database 'postgres://db' cannot be used"),
        (["--data-dir", __file__], "Cannot make the data directory"),
        (["--database", f"sqlite:///{__file__}"], "not a SQLite database"),
    ],
)
async def test_what_cannot_be_served_is_one_clear_message(tmp_path: Path, more: list[str], words: str) -> None:
    """Exit code 2, the value, and what to do; nothing is left listening."""
    assert words in await refused(arguments(tmp_path / "data", 0, *more))


async def test_a_part_that_dies_ends_the_whole_server_with_its_reason(tmp_path: Path) -> None:
    """Half a control plane would look well and publish nothing."""
    settings = Settings(listen=("127.0.0.1", 0), xds=("127.0.0.1", 0), data_dir=tmp_path / "data")
    async with control_plane(settings) as running:
        stop = asyncio.Event()
        waiting = asyncio.create_task(running.until(stop))
        await asyncio.sleep(0)
        assert not waiting.done()
        running.parts[1].cancel()
        with pytest.raises(MeshwrightError, match="following the database ended: cancelled"):
            await asyncio.wait_for(waiting, DEADLINE)
        stop.set()
        await running.until(stop)
