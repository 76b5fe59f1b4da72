"""From a write to the last proxy's ack: real Envoys and simulated delta streams, beside the raw floor.

The clock starts before the signed HTTP request of the write is sent, so validation, the durable commit, building,
pushing and acking are all inside. The floor sends as many bytes to as many streams with nothing else around it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import boto3

from benchmarks.process import Process
from benchmarks.report import Table, ratio, seconds

if TYPE_CHECKING:
    from meshwright.remote import Client

MESH = "bench"
NODES = 100
"""Virtual nodes that call the shared service; the simulated streams are dealt out to them."""
STREAMS = 1000
ROUNDS = 15


def run() -> Table:
    """Commit to last ack for 1 and 20 Envoys and 1,000 streams, all and one of them concerned."""
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        plane = stack.enter_context(ControlPlane(Path(folder)))
        plane.populate()
        simulated, size = plane.with_streams(Path(folder))
        for count in (1, 20):
            with ExitStack() as envoys:
                plane.start_envoys(envoys, count)
                taken = [plane.until_propagated(count) for _ in range(ROUNDS)]
            floor = measure_floor(Path(folder), count, size)
            rows.append(_row(f"{count} real Envoy{'s' * (count > 1)}, all concerned", taken, floor, "-"))
    note = (
        f"Median and maximum of {ROUNDS} writes each, {size} bytes a push, the floor's too. Real Envoys are timed "
        "until the control plane's own answer that the revision has propagated has arrived; simulated streams until "
        "the last has written its ack."
    )
    columns = ("what", "median", "maximum", "floor", "ratio", "bytes to the others")
    return Table("Push", note, columns, (*rows, *simulated))


def _row(what: str, taken: list[float], floor: list[float], others: str) -> tuple[str, ...]:
    middle, least = statistics.median(taken), statistics.median(floor)
    return (what, seconds(middle), seconds(max(taken)), seconds(least), ratio(middle, least), others)


def measure_floor(folder: Path, streams: int, size: int) -> list[float]:
    """Seconds until `streams` streams have acked `size` bytes, `ROUNDS` times."""
    body = folder / "floor.bytes"
    body.write_bytes(os.urandom(size))
    taken = []
    with Process("benchmarks.floor") as floor:
        target = f"127.0.0.1:{floor.answer()['port']}"
        nodes = ("--node", f"mesh/{MESH}/virtualNode/n0")
        with Process("benchmarks.streams", "--target", target, *nodes, "--count", str(streams)) as proxies:
            proxies.answer()
            for _ in range(ROUNDS):
                proxies.tell(f"expect {streams}")
                proxies.answer()
                floor.tell(f"push {body}")
                began = floor.answer()["began"]
                taken.append(proxies.answer()["last"] - began)
    return taken


class ControlPlane:
    """`meshwright serve` on free ports, and a stock boto3 client for it."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._folder = folder
        self._weight = 1
        self.process: Process

    def __enter__(self) -> Self:
        arguments = ("serve", "--listen", "127.0.0.1:0", "--xds", "127.0.0.1:0", "--format", "json")
        arguments += ("--xds-envoys-per-node", "100000")
        data = self._folder / "data"
        log = self._stack.enter_context((self._folder / "serve.log").open("w"))
        process = Process("meshwright.cli", *arguments, "--data-dir", str(data), log=log)
        self._stack.enter_context(process)
        self._stack.callback(process.terminate)
        self.process = process
        ready = process.answer()
        self.xds, self.api = ready["xds"], ready["api"]
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = ready["credentials"]
        self.mesh = boto3.session.Session().client("appmesh", endpoint_url=self.api, region_name="us-east-1")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def populate(self) -> None:
        """A service that every node calls, and one that only the last node calls."""
        self.mesh.create_mesh(meshName=MESH)
        for name in ("shared", "own"):
            self.mesh.create_virtual_node(meshName=MESH, virtualNodeName=name, spec=_node(name))
            listener = {"portMapping": {"port": 8080, "protocol": "http"}}
            self.mesh.create_virtual_router(meshName=MESH, virtualRouterName=name, spec={"listeners": [listener]})
            self.mesh.create_route(meshName=MESH, virtualRouterName=name, routeName="all", spec=_route(name, 1))
            provider = {"virtualRouter": {"virtualRouterName": name}}
            self.mesh.create_virtual_service(
                meshName=MESH, virtualServiceName=f"{name}.internal", spec={"provider": provider}
            )
        for index in range(NODES):
            backends = ("shared", "own") if index == NODES - 1 else ("shared",)
            self.mesh.create_virtual_node(
                meshName=MESH, virtualNodeName=f"n{index}", spec=_node(f"n{index}", *backends)
            )

    def populate_services(self, services: int, backends: int) -> None:
        """`services` services of a node, a router and a route each, of which every node calls the next `backends`."""
        self.mesh.create_mesh(meshName=MESH)
        listener = {"portMapping": {"port": 8080, "protocol": "http"}}
        for index in range(services):
            name = f"n{index}"
            called = [f"n{(index + step) % services}" for step in range(1, backends + 1)]
            self.mesh.create_virtual_node(meshName=MESH, virtualNodeName=name, spec=_node(name, *called))
            self.mesh.create_virtual_router(meshName=MESH, virtualRouterName=name, spec={"listeners": [listener]})
            self.mesh.create_route(meshName=MESH, virtualRouterName=name, routeName="all", spec=_route(name, 1))
            provider = {"virtualRouter": {"virtualRouterName": name}}
            self.mesh.create_virtual_service(
                meshName=MESH, virtualServiceName=f"{name}.internal", spec={"provider": provider}
            )

    def change(self, name: str) -> float:
        """Write one route; when the request was sent."""
        self._weight = self._weight % 90 + 1
        began = time.monotonic()
        self.mesh.update_route(
            meshName=MESH, virtualRouterName=name, routeName="all", spec=_route(name, self._weight)
        )
        return began

    def start_envoys(self, stack: ExitStack, count: int) -> None:
        """`count` real Envoys, one a virtual node, connected and configured."""
        children: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, children)
        for index in range(count):
            places = (
                "--application",
                f"127.201.{index}.1",
                "--ingress",
                f"127.201.{index}.2",
                "--egress",
                f"127.201.{index}.3",
            )
            command = ("proxy", f"mesh/{MESH}/virtualNode/n{index}", "--xds", self.xds, *places)
            admin = (
                "--drain-seconds",
                "1",
                "--admin-port",
                str(19000 + index),
                "--concurrency",
                "1",
                "--log-level",
                "off",
            )
            child = subprocess.Popen(
                [sys.executable, "-m", "meshwright.cli", *command, *admin], stderr=subprocess.DEVNULL
            )
            children.append(child)
        deadline = time.monotonic() + 180
        while not self._settled(count):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{count} Envoys were not configured within 180 s")
            time.sleep(0.05)

    def _settled(self, count: int) -> bool:
        proxies = self.client().status()["proxies"]
        return len(proxies) == count and all(one["state"] == "synced" for one in proxies)

    def until_propagated(self, count: int, service: str = "shared") -> float:
        """Seconds from a write of `service`'s route to the answer that the `count` proxies that call it have it."""
        client = self.client()
        began = self.change(service)
        revision = client.status()["revision"]
        # The endpoint is public; none of the client's commands asks for a revision that is no release.
        answer = client._asked("GET", f"/revisions/{revision}/propagation", {"wait": "30"}, patience=30)  # noqa: SLF001
        took = time.monotonic() - began
        if len(answer["acked"]) != count:
            raise RuntimeError(f"expected {count} acks, got {answer}")
        return took

    def client(self) -> Client:
        """Our own client, for what is not App Mesh's."""
        from meshwright.remote import Client, find_credentials  # noqa: PLC0415 - the environment is set late

        return Client(self.api, find_credentials(os.environ, self.api), region="us-east-1")

    def with_streams(self, folder: Path) -> tuple[list[tuple[str, ...]], int]:
        """1,000 simulated streams: a change for all of them, then one for a single node's; the bytes of a push."""
        # The last node has one stream, so that a change of its own service concerns exactly one.
        dealt = [f"mesh/{MESH}/virtualNode/n{index % (NODES - 1)}" for index in range(STREAMS - 1)]
        nodes = [word for node in [*dealt, f"mesh/{MESH}/virtualNode/n{NODES - 1}"] for word in ("--node", node)]
        with Process("benchmarks.streams", "--target", self.xds, *nodes, "--count", str(STREAMS)) as proxies:
            proxies.answer()
            every, size = self.rounds(proxies, "shared", STREAMS)
            single, _ = self.rounds(proxies, "own", 1)
            proxies.tell("counts")
            last = proxies.answer()
        alone = last["streams"] == 1
        floor_every = measure_floor(folder, STREAMS, size)
        floor_single = measure_floor(folder, 1, size)
        rows = [
            _row(f"{STREAMS:,} delta streams, all concerned", every, floor_every, "-"),
            _row(f"{STREAMS:,} delta streams, one concerned", single, floor_single, "0" if alone else "some"),
        ]
        return rows, size

    def rounds(self, proxies: Process, service: str, count: int) -> tuple[list[float], int]:
        """Seconds from each of some writes to the last ack of `count` streams, and the bytes of one push."""
        taken, size = [], 0
        for _ in range(ROUNDS):
            proxies.tell(f"expect {count}")
            proxies.answer()
            began = self.change(service)
            answer = proxies.answer()
            taken.append(answer["last"] - began)
            size = answer["bytes"] // count
        return taken, size


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    """Each drains for seconds before it ends, all at the same time."""
    for child in children:
        child.terminate()
    for child in children:
        child.wait(60)


def _node(name: str, *backends: str) -> dict[str, Any]:
    return {
        "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
        "serviceDiscovery": {"dns": {"hostname": f"{name}.nodes.internal"}},
        "backends": [{"virtualService": {"virtualServiceName": f"{one}.internal"}} for one in backends],
    }


def _route(name: str, weight: int) -> dict[str, Any]:
    targets = [{"virtualNode": name, "weight": weight}]
    return {"httpRoute": {"match": {"prefix": f"/{weight}"}, "action": {"weightedTargets": targets}}}
