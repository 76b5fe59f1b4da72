"""Sixteen writers and sixteen readers at once, over real HTTP: nothing lost, every read consistent, memory flat."""

from __future__ import annotations

import collections
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from live import Live, live
from load_program import MESH, NODES, OURS, SHARED, Result, Task, spec, together
from settings import PROVE
from wire_client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(600)

SECONDS = 60.0 if PROVE else 2.0
WRITERS, READERS, PROCESSES = 16, 16, 4
GROWTH = 24_000
"""kB that the server may have more at the end than after the first third of the time."""


def prepared(server: Live) -> int:
    """The mesh, and in it what everybody updates; the revision."""
    client = Client(server.port, server.key)
    assert client.ask("PUT", "/v20190125/meshes", {"meshName": "load"}).status == 200
    for number in range(SHARED):
        body = {"virtualNodeName": f"shared-{number}", "spec": spec("first")}
        assert client.ask("PUT", NODES, body).status == 200
    client.close()
    return 1 + SHARED


def tasks(server: Live) -> Iterator[Task]:
    """The work, shared out over some processes."""
    key = server.key
    for part in range(PROCESSES):
        yield Task(
            port=server.port,
            key_id=key.id,
            secret=key.secret,
            writers=list(range(part, WRITERS, PROCESSES)),
            readers=list(range(part, READERS, PROCESSES)),
            releaser=part == 0,
            seconds=SECONDS,
        )


def worked(server: Live) -> tuple[Result, list[int]]:
    """What all of them did and saw, and the server's memory in kB meanwhile."""
    program = [sys.executable, str(Path(__file__).with_name("load_program.py"))]
    clients = [subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(PROCESSES)]
    try:
        for client, task in zip(clients, tasks(server), strict=True):
            assert client.stdin is not None
            client.stdin.write(msgspec.json.encode(task))
            client.stdin.close()
            client.stdin = None
        memory = watched(server, time.monotonic() + SECONDS)
        answers = [client.communicate(timeout=SECONDS + 60)[0] for client in clients]
    finally:
        for client in clients:
            client.kill()
            client.communicate()
    return together([msgspec.json.decode(answer, type=Result) for answer in answers]), memory


def watched(server: Live, end: float) -> list[int]:
    """The server's memory, until `end`."""
    found = []
    while time.monotonic() < end:
        assert server.process.poll() is None, server.log.read_text()[-2000:]
        found.append(server.memory())
        time.sleep(0.25)  # the measurement's own pace
    return found


def test_sixteen_writers_and_sixteen_readers_lose_nothing_and_see_nothing_torn(tmp_path: Path) -> None:
    """Each acknowledged write is in the final state, shared objects count every update, reads only go forward."""
    with live(tmp_path / "data") as server:
        first = prepared(server)
        result, memory = worked(server)
        client = Client(server.port, server.key)
        final = client.ask("GET", OURS).document
        client.close()
        told = [line for line in server.log.read_text().splitlines() if "level=error" in line]
        assert server.end() == 0
    tell(result, memory)
    assert result.faults == []
    assert told == []
    assert_nothing_lost(result, final["resources"])
    assert final["revision"] == first + len(result.acks) + result.releases
    assert_only_what_was(result)
    assert len(result.acks) >= WRITERS, "everybody wrote"
    assert memory[-1] - memory[len(memory) // 3] < GROWTH, memory
    verify(tmp_path / "data")


def tell(result: Result, memory: list[int]) -> None:
    """The figures, for `pytest -s`."""
    writes, reads, third = len(result.acks) / SECONDS, result.reads / SECONDS, memory[len(memory) // 3]
    text = (
        f"{writes:.0f} writes/s, {result.releases} releases, {reads:.0f} objects read/s, 429: {result.pushed_back}, "
        f"slowest {result.slowest:.2f} s, memory {memory[0]}, {third}, {memory[-1]} kB"
    )
    print(text)  # noqa: T201 - figures


def assert_nothing_lost(result: Result, resources: list[dict[str, object]]) -> None:
    """The final state is what the acknowledgements add up to."""
    by_name: dict[str, list[tuple[int, str, str]]] = collections.defaultdict(list)
    for ack in result.acks:
        by_name[ack.name].append((ack.version, ack.verb, ack.host))
    for name, acks in by_name.items():
        start = 2 if name.startswith("shared") else 1
        assert sorted(version for version, _, _ in acks) == list(range(start, start + len(acks))), name
    untouched = {f"shared-{number}": (1, "first") for number in range(SHARED)}
    expected = untouched | {
        name: (version, host)
        for name, acks in by_name.items()
        for version, verb, host in [max(acks)]
        if verb != "delete"
    }
    found = {}
    for one in msgspec.convert(resources, list[Found]):
        name = one.object.rpartition("/")[2]
        if "/virtualNode/" in one.object and not name.startswith("pair-"):
            found[name] = (one.metadata["version"], one.spec["serviceDiscovery"]["dns"]["hostname"])
    assert found == expected


class Found(msgspec.Struct):
    """An object of the final state."""

    object: str
    spec: Any
    metadata: dict[str, Any]


def assert_only_what_was(result: Result) -> None:
    """Nobody saw what was never written."""
    written = {(ack.name, ack.version, ack.host) for ack in result.acks}
    written |= {(f"shared-{number}", 1, "first") for number in range(SHARED)}
    seen = {one for one in result.described if not one[0].startswith("pair-")}
    assert seen - written == set()
    assert {one for one in result.listed if not one[0].startswith("pair-")} <= {one[:2] for one in written}
    pairs = {one for one in result.described if one[0].startswith("pair-")}
    assert all(host == f"pair-{version}" for _, version, host in pairs), "each release changes both, once"
    assert seen
    assert pairs


def verify(folder: Path) -> None:
    """The audit log holds."""
    command = [sys.executable, "-m", "meshwright.cli", "audit", "verify", "--data-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_paths_are_those_of_the_mesh() -> None:
    """The program and the test speak of one mesh."""
    assert NODES.startswith(MESH)
