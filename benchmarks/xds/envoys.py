"""Real Envoys, one a virtual node, as `meshwright proxy` runs them; of any server that speaks delta xDS."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.xds.plane import MESH, PORT
from meshwright.proxy.connection import XDS_CLUSTER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.snapshot.resources import Loopback

START = 180
"""Seconds that all together have until they serve."""
_ALWAYS = (
    "control_plane.connected_state",
    "cluster_manager.cds.update_success",
    "listener_manager.lds.update_success",
)
_TAKEN = f"^({'|'.join(_ALWAYS)}|http\\..*\\.rds\\..*\\.update_success)$"
"""Statistics that are above 0 for one that is connected and configured; of routes each listener has one."""
_RECEIVED = "upstream_cx_rx_bytes_total"


class Envoy:
    """One that runs."""

    def __init__(self, xds: str, number: int, place: Loopback) -> None:
        """That of the node `number`, at its place, with a free port for its administration."""
        self.name = f"envoy-{number}"
        self._egress = place.egress
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._admin = free.getsockname()[1]
        places = ("--application", place.application, "--ingress", place.ingress, "--egress", place.egress)
        quiet = ("--drain-seconds", "1", "--concurrency", "1", "--log-level", "off")
        who = (f"mesh/{MESH}/virtualNode/n{number}", "--instance", self.name, "--admin-port", str(self._admin))
        command = [sys.executable, "-m", "meshwright.cli", "proxy", *who, "--xds", xds, *places, *quiet]
        self.child = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    @property
    def ready(self) -> bool:
        """Whether it has its first configuration whole, and serves.

        Where nothing comes for some seconds, as on a crowded machine, Envoy starts without and says that it is ready.
        """
        try:
            self._asked("/ready")
            taken = self._asked(f"/stats?filter={_TAKEN}").splitlines()
        except OSError:
            return False
        return len(taken) > len(_ALWAYS) and not any(line.endswith(": 0") for line in taken)

    @property
    def received(self) -> int:
        """Bytes that the control plane has sent it so far, with the frames of HTTP/2 around them."""
        lines = self._asked(f"/stats?filter=^cluster\\.[^.]*\\.{_RECEIVED}$").splitlines()
        (found,) = [line for line in lines if line.startswith(f"cluster.{XDS_CLUSTER}.")]
        return int(found.rpartition(" ")[2])

    def call(self, services: Sequence[str]) -> None:
        """Send one request to each of these services, whatever becomes of it."""
        for name in services:
            client = http.client.HTTPConnection(self._egress, PORT, timeout=20)
            client.request("GET", "/1", headers={"Host": f"{name}.internal:{PORT}"})
            client.getresponse().read()
            client.close()

    def _asked(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._admin}{path}", timeout=5) as answer:
            return str(answer.read().decode())


@contextmanager
def envoys(xds: str, numbers: range, places: Sequence[Loopback]) -> Iterator[list[Envoy]]:
    """The Envoys of these nodes, configured and ready."""
    running: list[Envoy] = []
    try:
        for number in numbers:
            running.append(Envoy(xds, number, places[number]))  # noqa: PERF401 - one that fails must not hide those started
        deadline = time.monotonic() + START
        for one in running:
            while not one.ready:
                if time.monotonic() > deadline or one.child.poll() is not None:
                    raise RuntimeError(f"{one.name} was not configured within {START} s, or ended")
                time.sleep(0.05)
        yield running
    finally:
        _end(running)


def _end(running: list[Envoy]) -> None:
    """Each drains for seconds before it ends, all at the same time."""
    for one in running:
        one.child.terminate()
    for one in running:
        one.child.wait(60)
