"""A job that waits goes on when the control plane is killed and started again while it does."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from ads_client import AdsClient
from live import live
from meshwright.release import ApplyRequest
from meshwright.remote import Client, find_credentials
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE
from meshwright.trust.credentials import parse
from processes import DEADLINE
from test_releases_propagation import CONTENT, NODE

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_wait_outlives_a_restart_of_the_control_plane_and_says_so(tmp_path: Path) -> None:
    """It asks again until its time is over, and is answered by the one that came."""
    folder = tmp_path / "data"
    with live(folder) as first:
        environment = {"AWS_SHARED_CREDENTIALS_FILE": str(first.credentials), "PATH": os.environ["PATH"]}
        client = Client(first.api, find_credentials(environment, first.api))
        await asyncio.to_thread(client.apply, "m", "shop", ApplyRequest(resources=CONTENT))
        key = parse(first.credentials.read_text())["default"]
        async with AdsClient(f"127.0.0.1:{first.xds}", dict(NODE), delta=True, key=key) as proxy:
            await proxy.say(CLUSTER, resource_names_subscribe=["*"])
            await proxy.hear()
            waiting = await _waiting(tmp_path, environment | {"MESHWRIGHT_ENDPOINT": first.api})
            assert "Waiting for 1 of 1 proxies" in await _line(waiting)
            first.end(signal.SIGKILL)
    assert "Asking again" in await _line(waiting)
    with live(folder, port=first.port) as second:
        assert second.port == first.port
        async with AdsClient(f"127.0.0.1:{second.xds}", dict(NODE), delta=True, key=key) as proxy:
            for type_url in (CLUSTER, LISTENER, ROUTE):
                await proxy.say(type_url, resource_names_subscribe=["*"])
                await proxy.ack(await proxy.hear())
            told, _ = await asyncio.wait_for(waiting.communicate(), DEADLINE)
    assert (waiting.returncode, "shop#1 has reached the one proxy it concerns" in told.decode()) == (0, True), told


async def test_a_release_whose_answer_was_lost_is_asked_for_until_the_control_plane_is_back(tmp_path: Path) -> None:
    """Only then is it known whether it was done; the request has a key, and is done once."""
    folder = tmp_path / "data"
    with live(folder) as first:
        environment = {"AWS_SHARED_CREDENTIALS_FILE": str(first.credentials)}
        client = Client(first.api, find_credentials(environment, first.api))
        first.end()
    with socket.create_server(("127.0.0.1", first.port)) as deaf:
        applying = asyncio.create_task(
            asyncio.to_thread(client.apply, "m", "shop", ApplyRequest(resources=CONTENT)), name="apply"
        )
        taken, _ = await asyncio.to_thread(deaf.accept)
        await asyncio.to_thread(taken.recv, 1)
        taken.close()
    with live(folder, port=first.port):
        found = await asyncio.wait_for(applying, DEADLINE)
    assert (found["changed"], found["release"]["title"]) == (True, "shop#1")


async def _waiting(folder: Path, environment: dict[str, str]) -> Any:
    """`meshwright wait` for the only release, as a process."""
    arguments = ["wait", "1", "--mesh", "m", "--stack", "shop", "--timeout", str(DEADLINE)]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "meshwright.cli", *arguments, cwd=folder, env=environment,
        stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def _line(process: Any) -> str:
    line = await asyncio.wait_for(process.stderr.readline(), DEADLINE)
    return str(line.decode())
