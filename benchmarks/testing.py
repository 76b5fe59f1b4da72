"""`meshwright test` on the shop and on ten services, beside the longest wait of one call, and the memory of a rig."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.meshes import RESOURCES_A_SERVICE, write_templates
from benchmarks.process import resident
from benchmarks.report import Table, ratio, seconds, spread
from benchmarks.services import write_services
from meshwright.documents import load
from meshwright.documents.settings import LoadSettings
from meshwright.lab import http1
from meshwright.lab.exchange import Request
from meshwright.lab.processes import Child
from meshwright.lab.rig import Rig
from meshwright.model import Kind
from meshwright.proxy import run as envoy
from meshwright.simulate import Call

SHOP = Path(__file__).parent.parent / "examples" / "shop"
RUNS = 3
ENVOYS = 30
_DEADLINE = 30
"""Seconds that an Envoy without any configuration may take to answer."""


def run() -> Table:
    """The whole suites of the shop and of ten services, and a rig of thirty Envoys."""
    with tempfile.TemporaryDirectory() as folder:
        ten = write_services(Path(folder))
        # In turn, so that what else the machine does befalls both.
        runs = [(_suite(SHOP), _suite(ten)) for _ in range(RUNS)]
    rows = [
        _row("the shop: its own and all derived tests, with faults", [one[0] for one in runs]),
        _row("ten services with every policy: all derived tests, with faults", [one[1] for one in runs]),
        *asyncio.run(_memory()),
    ]
    note = f"Median (range) of {RUNS} runs, from the command to its end. Memory is resident, shared pages in each."
    return Table("Tests on real Envoys", note, ("what", "taken", "floor", "ratio"), tuple(rows))


def _row(what: str, runs: list[tuple[float, float]]) -> tuple[str, ...]:
    taken, waits = [one[0] for one in runs], statistics.median(one[1] for one in runs)
    floor = f"{seconds(waits)}, the longest wait of one call"
    return f"meshwright test, {what}", spread(taken), floor, ratio(statistics.median(taken), waits)


def _suite(project: Path) -> tuple[float, float]:
    """Seconds of a run and, of it, of the test that waits longest.

    Raises:
        RuntimeError: a test failed.
    """
    began = time.perf_counter()
    words = (sys.executable, "-m", "meshwright.cli", "test", "--isolation", "loopback", "--format", "json")
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=300, check=False)
    taken = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"meshwright test ended with {done.returncode}: {done.stderr[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return taken, max(one["seconds"] for one in report["tests"])


async def _memory() -> list[tuple[str, ...]]:
    """Thirty Envoys with what a mesh of thirty services sends them, beside as many that have nothing."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_templates(Path(folder), ENVOYS * RESOURCES_A_SERVICE, ENVOYS * RESOURCES_A_SERVICE)
        state = load(paths, LoadSettings()).state
        bare = await _bare(Path(folder))
    nodes = [one.key for one in state.of(Kind.VIRTUAL_NODE)]
    began = time.perf_counter()
    async with Rig(state) as rig:
        ready = time.perf_counter() - began
        calls = [
            rig.send(Call(host=service.name, port=8080), node)
            for node in nodes
            for service in rig.graph.entry_services(node)
        ]
        answered = [one.reply.status for one in await asyncio.gather(*calls)]
        if set(answered) != {200}:
            raise RuntimeError(f"calls were answered with {sorted(set(answered))}")
        envoys = [resident(one.envoy.pid) for one in rig.lab.fleet.instances if one.envoy is not None]
        others = resident(os.getpid()) + resident(rig.lab.control.pid)
    floor = bare * len(envoys)
    return [
        (
            f"{len(envoys)} Envoys on a rig, ready after {seconds(ready)}",
            f"{sum(envoys) / 1e9:.2f} GB",
            f"{floor / 1e9:.2f} GB, as many without any mesh",
            ratio(sum(envoys), floor),
        ),
        (
            "with the control plane and what runs the tests",
            f"{(sum(envoys) + others) / 1e9:.2f} GB",
            f"{floor / 1e9:.2f} GB",
            ratio(sum(envoys) + others, floor),
        ),
    ]


async def _bare(folder: Path) -> int:
    """Bytes of an Envoy that has nothing to do."""
    socket = folder / "admin.sock"
    document = envoy.write({"admin": {"address": {"pipe": {"path": str(socket)}}}}, folder)
    child = await Child.start("A bare Envoy", envoy.command(document, concurrency=1), folder / "envoy.log")
    try:
        async with asyncio.timeout(_DEADLINE):
            while not await _answers(socket):
                child.check()
                await asyncio.sleep(0.05)
        return resident(child.pid)
    finally:
        await child.stop()


async def _answers(socket: Path) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    try:
        status, _, _ = await http1.exchange(reader, writer, Request(authority="admin", path="/ready"))
    finally:
        writer.close()
    return status == 200
