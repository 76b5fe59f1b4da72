"""`kill -9` of a run of tests, at any moment: nothing is left that would be in the way of a later one."""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from meshwright.documents import LoadSettings, load
from meshwright.documents.settings import Command
from meshwright.errors import MeshwrightError, UsageError
from meshwright.lab import keeper
from meshwright.lab.namespaces import missing
from meshwright.lab.rig import Rig
from processes import until
from settings import PROVE

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")]

KILLS = 30 if PROVE else 2
MARK = "LEFT_BY"
MESH = """
meshName: small
spec: {egressFilter: {type: DROP_ALL}}
---
virtualNodeName: web
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}}]
  serviceDiscovery: {dns: {hostname: web.nodes}}
  backends: [{virtualService: {virtualServiceName: pay.local}}]
---
virtualNodeName: pay
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}}]
  serviceDiscovery: {dns: {hostname: pay.nodes}}
---
virtualServiceName: pay.local
spec: {provider: {virtualNode: {virtualNodeName: pay}}}
"""
PROGRAM = """
import http.server, os, subprocess
subprocess.Popen(["sleep", "600"], start_new_session=True)
address = ("", int(os.environ.get("PORT", "8080")))
http.server.ThreadingHTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""
PROJECT = f"""
stack: small
definitions: [mesh.yaml]
workloads:
  pay: {{command: "{sys.executable} program.py; true"}}
"""


class Place:
    """A project, and runs of its tests that can be told from everybody else's by a variable of their environment."""

    def __init__(self, folder: Path, isolation: str) -> None:
        for name, text in {"mesh.yaml": MESH, "meshwright.yaml": PROJECT, "program.py": PROGRAM}.items():
            (folder / name).write_text(text)
        self.temporary = folder / "t"
        self.temporary.mkdir()
        self._folder = folder
        self._mark = uuid.uuid4().hex
        arguments = ("test", ".", "--isolation", isolation, "--only", "pay.local")
        self._command = (sys.executable, "-m", "meshwright.cli", *arguments)

    @property
    def environment(self) -> dict[str, str]:
        """That of a run, and of all that it starts."""
        return os.environ | {MARK: self._mark, "TMPDIR": str(self.temporary)}

    def start(self) -> subprocess.Popen[bytes]:
        """Start a run."""
        with (self._folder / "said").open("wb") as said:
            return subprocess.Popen(self._command, cwd=self._folder, env=self.environment, stdout=said, stderr=said)

    def whole(self) -> float:
        """Run to the end, and find all well; the seconds that it took."""
        began = time.monotonic()
        code = self.start().wait(timeout=300)
        assert code == 0, (self._folder / "said").read_text()
        assert not self.running()
        assert not list(self.temporary.iterdir())
        return time.monotonic() - began

    def running(self) -> list[str]:
        """What runs of all that a run started, and what started that, and so on: their command lines."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found


def outside() -> tuple[str, ...]:
    """What this machine's own network consists of: interfaces, rules, what has a name or a place in the file tree."""
    interfaces = sorted(one.name for one in Path("/sys/class/net").iterdir())
    told = (
        subprocess.run(("iptables-save",), capture_output=True, text=True, check=False).stdout
        if not missing()
        else ""
    )
    rules = [line for line in told.splitlines() if line.startswith(("-", ":")) and "MESH" in line]
    named = [str(one) for one in Path("/run/netns").glob("*")]
    mounted = [
        line for line in Path("/proc/self/mounts").read_text().splitlines() if "nsfs" in line or "mw-lab" in line
    ]
    return (*interfaces, *rules, *named, *mounted)


@pytest.mark.parametrize("isolation", [
    "loopback",
    pytest.param("netns", marks=pytest.mark.skipif(bool(missing()), reason=missing())),
])  # fmt: skip
def test_a_run_that_is_killed_leaves_nothing_in_the_way_of_a_later_one(tmp_path: Path, isolation: str) -> None:
    """No process, programs of the user's and what they started included; no interface, rule, name or mount outside.

    A folder stays until the next run, which removes it.
    """
    place, before = Place(tmp_path, isolation), outside()
    seconds = place.whole()
    chance = random.Random(isolation)  # noqa: S311 - moments, not secrets
    for _ in range(KILLS):
        run = place.start()
        time.sleep(chance.uniform(0.2, 1) * seconds)  # the moment is what is tried
        run.send_signal(signal.SIGKILL)
        run.wait()
        until(lambda: not place.running())
        assert outside() == before
    place.whole()


def test_whatever_a_command_started_ends_with_it(tmp_path: Path) -> None:
    """Also what loses its parent in the moment that it is looked for."""
    place = Place(tmp_path, "loopback")
    inner = "setsid sleep 600 & setsid sleep 600 & wait; true"
    outer = f"sh -c {shlex.quote(inner)} & sh -c {shlex.quote(inner)} & wait; true"
    command = (sys.executable, "-I", "-S", keeper.__file__, str(os.getpid()), "/bin/sh", "-c", outer)
    for _ in range(300 if PROVE else 20):
        with subprocess.Popen(command, env=place.environment) as run:
            until(lambda: place.running().count("sleep 600 ") == 4)
            run.terminate()
        assert place.running() == []


async def test_a_program_that_ends_or_is_of_no_node_is_told_with_what_it_said(tmp_path: Path) -> None:
    """And nothing of it runs any more."""
    (tmp_path / "mesh.yaml").write_text(MESH)
    state = load([tmp_path / "mesh.yaml"], LoadSettings()).state
    command = Command(command="sleep 600 & echo no database >&2; exit 3", folder=tmp_path)
    with pytest.raises(UsageError, match="workloads names 'pai', which is no virtual node; did you mean 'pay'"):
        Rig(state, programs={"pai": command})
    with pytest.raises(MeshwrightError, match=r"program of pay-1 ended with status 3(.|\n)*no database"):
        async with Rig(state, programs={"pay": command}):
            pass
