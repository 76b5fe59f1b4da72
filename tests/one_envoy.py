"""One Envoy alone, for one node or gateway of a mesh; whatever it calls are small servers of the test's own.

The one rule: no other proxy runs, so what is counted at a server is what this Envoy did.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any, TypeAlias

from meshwright.graph import resolve
from meshwright.lab import http2
from meshwright.lab.exchange import Reply, Request
from meshwright.lab.workload import SERVERS
from meshwright.model import Key, Kind, Resource, State
from meshwright.proxy.extras import sds_cluster
from meshwright.proxy.run import envoy_path
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Endpoint
from meshwright.snapshot.static import static_resources
from processes import DEADLINE, free_port, fresh_address, fresh_place, until
from strategies import MESH, Wire, resource

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from meshwright.lab.exchange import Answer


class Mesh:
    """A mesh of objects as they are written, all on one port, and where its one Envoy is."""

    def __init__(self) -> None:
        self.port = free_port()
        self.place = fresh_place()
        self.hosts: dict[str, str] = {}
        """The address of each other node; servers of the test listen there."""
        self.found: dict[Key, tuple[Endpoint, ...]] = {}
        self.resources: list[Resource] = []

    def add(self, kind: Kind, name: str, spec: Wire, parent: str = "") -> None:
        """Add an object."""
        self.resources.append(resource(kind, name, spec, parent))

    def node(self, name: str, protocol: str = "http", instances: int = 1, port: int = 0, **listener: Any) -> None:
        """Add a node with its own address, on `port` or that of all; `instances` are `NAME-1`, `NAME-2` and so on."""
        listeners = [{"portMapping": {"port": port or self.port, "protocol": protocol}, **listener}]
        self.hosts[name] = fresh_address()
        discovery: Wire = {"dns": {"hostname": self.hosts[name]}}
        if instances > 1:
            names = [f"{name}-{number}" for number in range(1, instances + 1)]
            self.hosts |= {one: fresh_address() for one in names}
            discovery = {"awsCloudMap": {"namespaceName": "n", "serviceName": name}}
            endpoints = tuple(Endpoint(address=self.hosts[one], port=port or self.port) for one in names)
            self.found[Key(MESH, Kind.VIRTUAL_NODE, name)] = endpoints
        self.add(Kind.VIRTUAL_NODE, name, {"listeners": listeners, "serviceDiscovery": discovery})

    def service(self, name: str, *routes: Wire, protocol: str = "http", port: int = 0) -> None:
        """Add a service that a router provides, on `port` or that of all, with these routes in their order."""
        self.add(Kind.VIRTUAL_SERVICE, name, {"provider": {"virtualRouter": {"virtualRouterName": name}}})
        listeners = [{"portMapping": {"port": port or self.port, "protocol": protocol}}]
        self.add(Kind.VIRTUAL_ROUTER, name, {"listeners": listeners})
        for index, route in enumerate(routes):
            self.add(Kind.ROUTE, f"t{index}", route, name)

    @contextlib.contextmanager
    def envoy(self, key: Key, folder: Path, sds: str = "/nowhere/sds.sock") -> Iterator[Callable[[str], str]]:
        """The Envoy of `key`, ready; asks its administration for a path."""
        held = static_resources(build(resolve(State(self.resources)), key, self.found, self.place))
        document = {
            "node": {"id": key.path, "cluster": key.path},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "static_resources": held | {"clusters": [*held["clusters"], sds_cluster(sds)]},
        }
        config, where, log = (folder / f"{key.name}.{suffix}" for suffix in ("json", "admin", "log"))
        config.write_text(json.dumps(document))
        arguments = (
            "-c",
            str(config),
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "-l",
            "warn",
            "--file-flush-interval-msec",
            "50",
        )
        with log.open("wb") as out:
            process = subprocess.Popen(
                [envoy_path(), *arguments, "--admin-address-path", str(where)], stdout=out, stderr=out
            )

        def ask(path: str) -> str:
            port = where.read_text().rpartition(":")[2]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE) as answer:
                return str(answer.read().decode())

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError):
                return where.exists() and ask("/ready") == "LIVE\n"
            return False

        try:
            until(ready)
            yield ask
        finally:
            process.kill()
            process.wait()


def http_route(
    *targets: tuple[str, int], match: Wire | None = None, priority: int | None = None, **rest: Any
) -> Wire:
    """An HTTP route."""
    weighted = [{"virtualNode": name, "weight": weight} for name, weight in targets]
    route = {"match": match or {"prefix": "/"}, "action": {"weightedTargets": weighted}, **rest}
    return {"httpRoute": route, **({} if priority is None else {"priority": priority})}


@contextlib.asynccontextmanager
async def speaking(protocol: str, host: str, port: int, answer: Answer) -> AsyncIterator[None]:
    """A server of any of App Mesh's protocols."""
    # What speaks HTTP/2 alone answers gRPC's calls as gateways and broken servers do: with a status of HTTP.
    server = http2.server(answer, calls=False) if protocol == "http2" else SERVERS[protocol](answer)
    await server.start(host, port)
    try:
        yield
    finally:
        await server.stop()


def named(word: str, delay: float = 0.0) -> Answer:
    """An application that says its name, and takes its time."""

    async def answer(request: Request, protocol: str) -> Reply:
        await asyncio.sleep(delay)
        return Reply(node=word, path=request.path, protocol=protocol)

    return answer


Conversation: TypeAlias = "Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]"


@contextlib.asynccontextmanager
async def listening(
    host: str, port: int, converse: Conversation, context: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """A server that has `converse` on every connection, and leaves none open."""
    open_: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await converse(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=context)
    try:
        yield
    finally:
        server.close()
        for writer in open_:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def answering(
    host: str,
    port: int,
    word: str = "",
    statuses: Sequence[int] = (),
    delay: float = 0.0,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[list[str]]:
    """An HTTP server that answers `word` with `statuses` in turn, the last one for ever; the heads of its requests.

    Status 0 is a connection that is closed without an answer; each answer takes `delay` seconds.
    """
    asked: list[str] = []
    coming = iter(statuses)
    last = [200]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            last[0] = next(coming, last[0])
            await asyncio.sleep(delay)
            if not last[0]:
                return
            head = f"HTTP/1.1 {last[0]} OK\r\ncontent-length: {len(word)}\r\n\r\n"
            writer.write((head + word).encode())
            await writer.drain()

    async with listening(host, port, answer, context):
        yield asked
