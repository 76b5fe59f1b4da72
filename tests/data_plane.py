"""A mesh of real Envoys, fed by a real control loop over real xDS from a state that a test changes as it goes.

No store and no API: a test says what is true from now on, and goes on when every Envoy has taken it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from envoys import Envoy, envoy, until
from meshwright.ads.server import AdsServer
from meshwright.control import Control
from meshwright.lab.addresses import Block
from meshwright.lab.dns import NameServer
from meshwright.model import Key, Kind, Resource, State
from meshwright.snapshot.build import build
from meshwright.store.contract import Head
from processes import DEADLINE
from stage import Everybody
from strategies import Wire, resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from meshwright.graph import Graph
    from meshwright.snapshot.resources import Endpoint, Loopback, Placement, Snapshot, Traits

PORT = 8080


def routed(service: str, route: Wire, protocol: str = "http") -> list[Resource]:
    """A service, the router of the same name on `PORT`, and its one route `all`."""
    provider = {"virtualRouter": {"virtualRouterName": service}}
    listening = {"listeners": [{"portMapping": {"port": PORT, "protocol": protocol}}]}
    return [
        resource(Kind.VIRTUAL_SERVICE, service, {"provider": provider}),
        resource(Kind.VIRTUAL_ROUTER, service, listening),
        resource(Kind.ROUTE, "all", {f"{protocol}Route": route}, parent=service),
    ]


def provided(service: str, node: str) -> Resource:
    """A service that a node provides itself."""
    return resource(Kind.VIRTUAL_SERVICE, service, {"provider": {"virtualNode": {"virtualNodeName": node}}})


def to(**weights: int) -> Wire:
    """What a route does: lead to nodes by weight."""
    return {"weightedTargets": [{"virtualNode": name, "weight": weight} for name, weight in weights.items()]}


class DataPlane:
    """Who is where, what is true, and the Envoys that run."""

    def __init__(self, folder: Path, block: Block, exits: contextlib.AsyncExitStack) -> None:
        self.folder = folder
        self.names = NameServer()
        self.endpoints: dict[Key, tuple[Endpoint, ...]] = {}
        """What was found of nodes that DNS does not find; `control.refresh` pushes a change."""
        self.control = Control(self._build, lambda: time.time_ns() // 1_000_000)
        self._server = AdsServer(self.control, Everybody())
        self._block = block
        self._exits = exits
        self._places: dict[str, Loopback] = {}

    async def start(self) -> None:
        """Serve names and configuration."""
        self.resolver = await self.names.start(self._block.name_server)
        self._exits.push_async_callback(self.names.stop)
        self.xds = await self._server.start("127.0.0.1", 0)
        self._exits.push_async_callback(self.stop)
        self._keeping = asyncio.create_task(self.control.keep_time())

    async def stop(self) -> None:
        """End the control plane; the Envoys go on. May be called twice."""
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        await self._server.stop()

    def place(self, instance: str) -> Loopback:
        """The addresses of a proxy and its application, by the proxy's name."""
        if instance not in self._places:
            self._places[instance] = self._block.place()
        return self._places[instance]

    def node(self, name: str, *backends: str, protocol: str = "http") -> Resource:
        """A node that listens on `PORT`, is found at its ingress address, and may call the services `backends`."""
        spec: Wire = {
            "listeners": [{"portMapping": {"port": PORT, "protocol": protocol}}],
            "serviceDiscovery": {"dns": {"hostname": self.place(name).ingress}},
            "backends": [{"virtualService": {"virtualServiceName": one}} for one in backends],
        }
        return resource(Kind.VIRTUAL_NODE, name, spec)

    async def publish(self, *resources: Resource) -> None:
        """From now on these are all objects of the mesh; returns when every Envoy has taken them."""
        self.control.publish(Head(self.control.revision + 1, State(resources)))
        await self.settled()

    async def settled(self) -> None:
        """Return when every Envoy has taken what was published last; fails when one rejects it."""
        found = await self.control.wait(self.control.revision, DEADLINE)
        assert found.state in {"propagated", "no-proxies"}, found

    async def proxy(self, key: Key, instance: str = "", zone: str = "") -> Envoy:
        """Run an Envoy of `key` until the end; it has its first configuration."""
        instance = instance or key.name
        started = envoy(
            self.folder,
            key,
            self.xds,
            instance=instance,
            placement=self.place(instance),
            resolver=self.resolver,
            zone=zone,
        )
        running = await self._exits.enter_async_context(started)

        async def ready() -> bool:
            return "LIVE" in await running.ask("/ready")

        await until(ready, f"{instance} is ready: {running.log.read_text()[-2000:]}")
        await self.settled()
        return running

    def _build(self, graph: Graph, node: Key, placement: Placement, traits: Traits, now: int) -> Snapshot:
        return build(graph, node, self.endpoints, placement, traits, now)


@contextlib.asynccontextmanager
async def data_plane(folder: Path) -> AsyncIterator[DataPlane]:
    """An empty mesh, gone on leaving."""
    async with contextlib.AsyncExitStack() as exits:
        plane = DataPlane(folder, exits.enter_context(Block()), exits)
        await plane.start()
        yield plane
