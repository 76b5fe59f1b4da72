"""The control plane under measurement: `meshwright serve`, its mesh, and writes from the first byte to the last ack.

The clock of a write starts before its signed HTTP request is sent, so validation, the durable commit, building,
pushing and acking are all inside.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from contextlib import ExitStack, closing
from http import HTTPStatus
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from benchmarks.process import Process

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.lab.addresses import Block
    from meshwright.remote import Client
    from meshwright.snapshot.resources import Loopback

MESH = "bench"
REGION = "us-east-1"
PORT = 8080


class ControlPlane:
    """`meshwright serve` on free ports, and a stock boto3 client for it."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._folder = folder
        self._weight = 1
        self.process: Process
        self.places: list[Loopback] = []

    def __enter__(self) -> Self:
        places = ("--listen", "127.0.0.1:0", "--xds", "127.0.0.1:0", "--data-dir", str(self._folder / "data"))
        options = ("--xds-envoys-per-node", "100000", "--format", "json")
        log = self._stack.enter_context((self._folder / "serve.log").open("w"))
        process = Process("meshwright.cli", "serve", *places, *options, log=log)
        self._stack.enter_context(process)
        self._stack.callback(process.terminate)
        self.process = process
        ready = process.answer()
        self.xds, self.api = ready["xds"], ready["api"]
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = ready["credentials"]
        self.mesh = boto3.session.Session().client("appmesh", endpoint_url=self.api, region_name=REGION)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def populate_shared(self, nodes: int) -> None:
        """A service that every node calls, and one that only the last node calls."""
        self.mesh.create_mesh(meshName=MESH)
        for name in ("shared", "own"):
            self._service(name, "shared.nodes.internal")
        for index in range(nodes):
            backends = ("shared", "own") if index == nodes - 1 else ("shared",)
            spec = _node(f"n{index}.nodes.internal", *backends)
            self.mesh.create_virtual_node(meshName=MESH, virtualNodeName=f"n{index}", spec=spec)

    def populate_services(self, services: int, backends: int, block: Block) -> None:
        """`services` services of a node, a router and a route each, of which every node calls the next `backends`.

        Each node has its place in `block`, whether an Envoy runs there or not.
        """
        self.places = [block.place() for _ in range(services)]
        self.mesh.create_mesh(meshName=MESH)
        for index in range(services):
            called = [f"n{(index + step) % services}" for step in range(1, backends + 1)]
            self._service(f"n{index}", self.places[index].ingress, *called)

    def _service(self, name: str, hostname: str, *called: str) -> None:
        self.mesh.create_virtual_node(meshName=MESH, virtualNodeName=name, spec=_node(hostname, *called))
        listener = {"portMapping": {"port": PORT, "protocol": "http"}}
        self.mesh.create_virtual_router(meshName=MESH, virtualRouterName=name, spec={"listeners": [listener]})
        self.mesh.create_route(meshName=MESH, virtualRouterName=name, routeName="all", spec=_route(name, 1))
        provider = {"virtualRouter": {"virtualRouterName": name}}
        self.mesh.create_virtual_service(
            meshName=MESH, virtualServiceName=f"{name}.internal", spec={"provider": provider}
        )

    def change(self, name: str) -> float:
        """Write one route; when the request was sent."""
        spec = self._changed(name)
        began = time.monotonic()
        self.mesh.update_route(meshName=MESH, virtualRouterName=name, routeName="all", spec=spec)
        return began

    def _changed(self, name: str) -> dict[str, Any]:
        """The spec of a service's route, other than it was."""
        self._weight = self._weight % 90 + 1
        return _route(name, self._weight)

    def until_propagated(self, count: int, service: str) -> float:
        """Seconds from a write of `service`'s route to the answer that the `count` proxies that call it have it.

        Both requests are signed before, and sent over an open connection: what a client's libraries take is no part
        of a push, and on two cores would be taken from it.
        """
        revision = self.client().status()["revision"] + 1
        body = json.dumps({"spec": self._changed(service)}).encode()
        write = self._signed("PUT", f"/v20190125/meshes/{MESH}/virtualRouter/{service}/routes/all", body)
        # The endpoint is public; none of the client's commands asks for a revision that is no release.
        ask = self._signed("GET", f"/meshwright/v1/revisions/{revision}/propagation?wait=30")
        with closing(HTTPConnection(urlsplit(self.api).netloc, timeout=60)) as connection:
            connection.connect()
            began = time.monotonic()
            _sent(connection, write)
            answer = _sent(connection, ask)
            took = time.monotonic() - began
        if len((said := json.loads(answer))["acked"]) != count:
            raise RuntimeError(f"expected {count} acks, got {said}")
        return took

    def _signed(self, method: str, path: str, body: bytes = b"") -> AWSRequest:
        headers = {"content-type": "application/json"}
        request = AWSRequest(method=method, url=self.api + path, data=body, headers=headers)
        SigV4Auth(boto3.session.Session().get_credentials(), "appmesh", REGION).add_auth(request)
        return request

    def gauge(self, name: str) -> float:
        """What its metrics say of `name`, which has no labels."""
        with urllib.request.urlopen(f"{self.api}/metrics", timeout=5) as answer:  # noqa: S310 - it is this machine's
            lines = answer.read().decode().splitlines()
        return float(next(line for line in lines if line.startswith(name + " ")).rpartition(" ")[2])

    def client(self) -> Client:
        """Our own client, for what is not App Mesh's."""
        from meshwright.remote import Client, find_credentials  # noqa: PLC0415 - the environment is set late

        return Client(self.api, find_credentials(os.environ, self.api), region=REGION)


def _node(hostname: str, *backends: str) -> dict[str, Any]:
    return {
        "listeners": [{"portMapping": {"port": PORT, "protocol": "http"}}],
        "serviceDiscovery": {"dns": {"hostname": hostname}},
        "backends": [{"virtualService": {"virtualServiceName": f"{one}.internal"}} for one in backends],
    }


def _route(name: str, weight: int) -> dict[str, Any]:
    targets = [{"virtualNode": name, "weight": weight}]
    return {"httpRoute": {"match": {"prefix": f"/{weight}"}, "action": {"weightedTargets": targets}}}


def _sent(connection: HTTPConnection, request: AWSRequest) -> bytes:
    """The body of the answer.

    Raises:
        RuntimeError: it was refused.
    """
    target = request.url.removeprefix(f"http://{connection.host}:{connection.port}")
    connection.request(request.method, target, request.data or None, dict(request.headers))
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != HTTPStatus.OK:
        raise RuntimeError(f"{request.method} {target} was answered with {answer.status}: {said!r}")
    return said
