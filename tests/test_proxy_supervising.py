"""`meshwright proxy` as an orchestrator sees it: health, draining, crashes, and a control plane that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import to_builtins

from envoys import fetch, until
from handmade import NODE, cluster, endpoints, listener, route
from live import live
from meshwright.lab.addresses import Block
from meshwright.proxy.settings import Address
from processes import alive, free_port
from proxying import proxy
from stage import staged
from wire_client import Client

if TYPE_CHECKING:
    from pathlib import Path

    from proxying import Running

pytestmark = pytest.mark.envoy

WEB = NODE.path
UNSIGNED = "--insecure-xds-without-authentication"


async def ready(one: Running) -> bool:
    """Whether it says that it serves."""
    return (await one.status())[0] == 200


async def test_an_orchestrator_sees_a_proxy_become_ready_and_drain(tmp_path: Path) -> None:
    """Before its first configuration and while it drains it takes no traffic; only a dead one is to be replaced."""
    at = Address("127.0.0.1", free_port())
    async with staged() as stage:
        xds = f"127.0.0.1:{stage.port}"
        await stage.server.stop()
        async with proxy(tmp_path, WEB, "--xds", xds, UNSIGNED, "--drain-seconds", "1", agent=at) as one:
            await until(lambda: one.envoy)

            async def waits() -> bool:
                return (await one.status())[1].get("state") in {"INITIALIZING", "PRE_INITIALIZING"}

            await until(waits, "Envoy waits for its control plane")
            assert (await one.status())[0] == 503
            assert (await one.ask("/healthz"))[0] == 200
            assert (await one.ask("/drain_listeners", "POST"))[0] == 503
            await stage.restart()
            await until(lambda: ready(one), "ready")
            status, said = await one.status()
            assert (status, said) == (
                200,
                {
                    "state": "LIVE",
                    "ready": True,
                    "alive": True,
                    "connected": True,
                    "disconnected_seconds": 0,
                    "restarts": 0,
                    "refused_listeners": {},
                    "refused_clusters": [],
                    "awaited_secrets": {},
                },
            )
            assert (await one.ask("/drain_listeners", "POST"))[0] == 200
            status, said = await one.status()
            assert (status, said["state"], said["ready"]) == (503, "DRAINING", False)
            assert (await one.ask("/healthz"))[0] == 200
            envoy = one.envoy
            assert alive(envoy)
            one.process.terminate()
            assert (await one.ended())[0] == 0
            assert not alive(envoy)


async def test_the_agent_hands_on_statistics_and_nothing_else(tmp_path: Path) -> None:
    """Prometheus reads what it reads of Envoy itself; what can change Envoy cannot be reached."""
    async with staged() as stage, proxy(tmp_path, WEB, "--xds", f"127.0.0.1:{stage.port}", UNSIGNED) as one:
        await until(lambda: ready(one), "ready")
        status, text = await one.ask("/stats/prometheus?usedonly&filter=server.live")
        assert status == 200
        assert [line for line in text.splitlines() if not line.startswith("#")] == ["envoy_server_live{} 1"]
        for method, path in (("GET", "/config_dump"), ("POST", "/quitquitquit"), ("GET", "/"), ("GET", "/stats")):
            status, text = await one.ask(path, method)
            assert status == 404
            assert "/drain_listeners" in text
        assert (await one.ask("/stats/prometheus?format=json"))[1].startswith("# TYPE")


async def test_a_web_page_cannot_drain_a_proxy(tmp_path: Path) -> None:
    """A browser asks no leave for a plain POST to this machine, but says where the page is from."""
    async with staged() as stage, proxy(tmp_path, WEB, "--xds", f"127.0.0.1:{stage.port}", UNSIGNED) as one:
        await until(lambda: ready(one), "ready")
        for header in ("Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"):
            with socket.socket(socket.AF_UNIX) as page:
                page.connect(str(tmp_path / "agent.sock"))
                page.sendall(f"POST /drain_listeners HTTP/1.1\r\nHost: localhost:9902\r\n{header}\r\n\r\n".encode())
                assert page.recv(100).startswith(b"HTTP/1.1 403 ")
        assert await ready(one)
        assert (await one.ask("/drain_listeners", "POST"))[0] == 200


async def test_an_envoy_that_crashed_while_it_drained_is_drained_again(tmp_path: Path) -> None:
    """Its successor serves and says so; it is not taken for drained when the proxy is asked to stop."""
    async with (
        staged() as stage,
        proxy(tmp_path, WEB, "--xds", f"127.0.0.1:{stage.port}", UNSIGNED, "--drain-seconds", "600") as one,
    ):
        await until(lambda: ready(one), "ready")
        assert (await one.ask("/drain_listeners", "POST"))[0] == 200
        first = one.envoy
        os.kill(first, signal.SIGKILL)

        async def again() -> bool:
            return await ready(one) and one.envoy not in {0, first}

        await until(again, "serving again")
        one.process.terminate()

        async def drained() -> bool:
            return await asyncio.to_thread(one.admin.state) == "DRAINING"

        await until(drained, "Envoy itself is drained")


async def test_a_proxy_that_lost_its_control_plane_serves_on_and_finds_it_again(tmp_path: Path) -> None:
    """It is ready for as long as `HC_DISCONNECTED_TIMEOUT_S` says, and is sent nothing that it has."""
    door = free_port()
    # Bound and not listening: nobody answers there, and nobody else takes it.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        await lost_and_found(tmp_path, door, nobody.getsockname()[1])


async def lost_and_found(folder: Path, door: int, upstream: int) -> None:
    """A proxy whose listener is at `door` loses its control plane and finds it again."""
    offered = [
        cluster("back"),
        endpoints("back", upstream),
        listener("door", "127.0.0.1", door, "all"),
        route("all", "back"),
    ]
    async with staged(*offered) as stage:
        given = (WEB, "--xds", f"127.0.0.1:{stage.port}", UNSIGNED)
        limit = {"HC_DISCONNECTED_TIMEOUT_S": "1"}
        async with proxy(folder, *given, variables=limit) as one:
            await until(lambda: ready(one), "ready")
            before = await one.stats("update_success$")
            await stage.server.stop()

            async def ill() -> bool:
                status, said = await one.status()
                return status == 503 and said["state"] == "LIVE" and not said["connected"]

            await until(ill, "ill without a control plane for a second")
            assert (await one.ask("/healthz"))[0] == 503
            # The listener answers, and says that nothing listens behind it.
            assert (await fetch("127.0.0.1", door))[0] == 503
            await stage.restart()
            await until(lambda: ready(one), "ready again")
            assert await one.stats("update_success$") == before
            assert (await fetch("127.0.0.1", door))[0] == 503


async def test_a_control_plane_that_takes_no_connection_is_told_as_away(tmp_path: Path) -> None:
    """Envoy calls its stream open from when it begins to connect, which may take for ever."""
    with contextlib.ExitStack() as queue:
        deaf = queue.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):  # nobody takes them on, so that whoever comes next waits
            waits = queue.enter_context(socket.socket())
            waits.setblocking(False)
            waits.connect_ex(deaf.getsockname())
        given = (WEB, "--xds", f"127.0.0.1:{deaf.getsockname()[1]}", UNSIGNED)
        async with proxy(tmp_path, *given, variables={"HC_DISCONNECTED_TIMEOUT_S": "1"}) as one:

            async def ill() -> bool:
                said = (await one.status())[1]
                return said.get("state") in {"INITIALIZING", "PRE_INITIALIZING"} and not said["alive"]

            await until(ill, "ill without a control plane for a second")
            waiting, tried = "cluster.meshwright_xds.upstream_rq_pending_active", 0

            async def told() -> bool:
                nonlocal tried
                tried += bool((await one.stats(f"^{waiting}$"))[waiting])
                said = (await one.status())[1]
                assert (said["connected"], said["alive"]) == (False, False)
                return tried >= 20

            await until(told, "it is looked at while it tries to connect")


async def test_a_crashed_envoy_is_started_again_as_often_as_it_may_be(tmp_path: Path) -> None:
    """Whatever ended it; then the command gives up, and says how and how often."""
    count = {"APPNET_ENVOY_RESTART_COUNT": "1"}
    async with (
        staged() as stage,
        proxy(tmp_path, WEB, "--xds", f"127.0.0.1:{stage.port}", UNSIGNED, variables=count) as one,
    ):
        await until(lambda: ready(one), "ready")
        first = one.envoy
        os.kill(first, signal.SIGKILL)

        async def again() -> bool:
            return await ready(one) and one.envoy not in {0, first}

        await until(again, "serving again")
        assert (await one.status())[1]["restarts"] == 1
        os.kill(one.envoy, signal.SIGABRT)
        code, err = await one.ended()
        assert code == 2
        assert "ended by SIGKILL from outside" in err
        assert "crashed with SIGABRT" in err
        assert "started again 1 times" in err


async def test_an_envoy_that_has_not_answered_yet_is_starting_and_well(tmp_path: Path) -> None:
    """Here its administration listens where nobody looks for it: it is not ready, and need not be replaced."""
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps({"admin": {"address": {"pipe": {"path": f"@{tmp_path.name}-{os.getpid()}"}}}}))
    async with proxy(tmp_path, variables={"ENVOY_CONFIG_FILE": str(config)}) as one:
        await until(lambda: one.envoy)
        status, said = await one.status()
        assert (status, said["state"], said["ready"], said["alive"]) == (503, "STARTING", False, True)
        assert (await one.ask("/healthz"))[0] == 200


async def test_time_without_a_control_plane_counts_from_when_that_was_seen(tmp_path: Path) -> None:
    """Nobody looked for longer than it may be away: whether it was there meanwhile is not known."""
    variables = {"HC_DISCONNECTED_TIMEOUT_S": "1", "HC_POLL_INTERVAL_MS": "600000"}
    async with (
        staged() as stage,
        proxy(tmp_path, WEB, "--xds", f"127.0.0.1:{stage.port}", UNSIGNED, variables=variables) as one,
    ):
        await until(lambda: ready(one), "ready")
        seen = time.monotonic()
        await until(lambda: time.monotonic() > seen + 1.5, "longer than it may be away")
        await stage.server.stop()

        async def alone() -> bool:
            return not await asyncio.to_thread(one.admin.connected)

        await until(alone, "without its control plane")
        status, said = await one.status()
        assert (status, said["connected"], said["disconnected_seconds"]) == (200, False, 0)


async def test_a_second_signal_ends_a_draining_proxy_at_once(tmp_path: Path) -> None:
    """Who cannot wait need not."""
    async with (
        staged() as stage,
        proxy(tmp_path, WEB, "--xds", f"127.0.0.1:{stage.port}", UNSIGNED, "--drain-seconds", "600") as one,
    ):
        await until(lambda: ready(one), "ready")
        envoy = one.envoy
        one.process.terminate()

        async def draining() -> bool:
            return (await one.status())[1].get("state") == "DRAINING"

        await until(draining, "draining")
        assert alive(envoy)
        one.process.terminate()
        assert (await one.ended())[0] == 0
        assert not alive(envoy)


@pytest.mark.parametrize("kind", ["GRPC", "DELTA_GRPC"])
async def test_the_images_own_way_through_a_unix_socket_is_served(kind: str, tmp_path: Path) -> None:
    """As AWS's agent writes it for `APPMESH_XDS_ENDPOINT=unix://…`: Google's gRPC, no TLS, no signature.

    The agent's own bootstrap: https://github.com/aws/amazon-ecs-service-connect-agent
    """
    path, config = tmp_path / "web.sock", tmp_path / "envoy.yaml"
    with live(tmp_path / "data", "--xds-socket", f"{WEB}={path}") as server:
        client = Client(server.port, server.key)
        assert client.ask("PUT", "/v20190125/meshes", {"meshName": "shop"}).status == 200
        spec = {
            "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
            "serviceDiscovery": {"dns": {"hostname": "web.local"}},
        }
        node = {"virtualNodeName": "web", "spec": spec}
        assert client.ask("PUT", "/v20190125/meshes/shop/virtualNodes", node).status == 200
        client.close()
        admin = free_port()
        document = as_the_image_writes_it(kind, str(path), admin)
        with Block() as block:
            place = block.place()
            # The image would listen on every address behind a redirection, which no test may do.
            document["node"]["metadata"]["meshwright"] = {"placement": to_builtins(place)}
            config.write_text(json.dumps(document))
            async with proxy(tmp_path, variables={"ENVOY_CONFIG_FILE": str(config)}) as one:
                await until(lambda: ready(one), "ready")
                assert (await one.status())[1]["connected"]
                status, listeners = await fetch("127.0.0.1", admin, "/listeners")
                assert (status, f"::{place.ingress}:8080" in listeners) == (200, True)


def as_the_image_writes_it(kind: str, socket: str, admin: int) -> dict[str, Any]:
    """The members of the agent's bootstrap that the stream depends on."""
    service = {
        "google_grpc": {
            "target_uri": f"unix://{socket}",
            "stat_prefix": "ads",
            "channel_args": {
                "args": {
                    "grpc.http2.max_pings_without_data": {"int_value": 0},
                    "grpc.keepalive_time_ms": {"int_value": 10_000},
                    "grpc.keepalive_timeout_ms": {"int_value": 20_000},
                }
            },
        }
    }
    source = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    ads = {"transport_api_version": "V3", "api_type": kind, "grpc_services": [service]}
    arn = f"arn:aws:appmesh:us-west-2:000000000000:{WEB}"
    runtime = {
        "re2.max_program_size.error_level": 1000,
        "envoy.reloadable_features.no_extension_lookup_by_name": True,
    }
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "node": {
            "id": arn,
            "cluster": arn,
            "metadata": {"aws.appmesh.platformInfo": {}, "aws.appmesh.task.interfaces": {"ipv4": {}}},
        },
        "layered_runtime": {
            "layers": [
                {"name": "static_layer_0", "static_layer": runtime},
                {"name": "admin_layer", "admin_layer": {}},
            ]
        },
        "dynamic_resources": {"ads_config": ads, "lds_config": source, "cds_config": source},
    }
