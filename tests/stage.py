"""A control loop and an ADS server for tests, with snapshots made by hand instead of from definitions."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from ads_client import AdsClient
from envoys import until
from handmade import NODE, faults, snapshot
from meshwright.ads.identities import Identity
from meshwright.ads.server import AdsServer
from meshwright.ads.stream import RETRY_SECONDS
from meshwright.control import Control
from meshwright.model.specs import VirtualNodeSpec
from meshwright.model.state import Resource, State
from meshwright.store.contract import Head
from processes import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from meshwright.ads.identities import Peer
    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.snapshot.resources import EnvoyResource, Placement, Snapshot, Traits


class Everybody:
    """Asks nobody anything: for tests of other things."""

    def authenticate(self, peer: Peer) -> Identity:
        """Anybody."""
        return Identity(name=peer.address)

    def oversee(self, identity: Identity) -> None:
        """All of it."""

    def authorize(self, identity: Identity, node: Key) -> None:
        """Anything."""


class Stage:
    """Publish resources by hand; every publication is a revision that touches `NODE`."""

    def __init__(self, *nodes: Key, retry: float = RETRY_SECONDS, most: int | None = None) -> None:
        self.nodes = nodes or (NODE,)
        self.offered: tuple[EnvoyResource, ...] = ()
        self.control = Control(self.build, lambda: time.time_ns() // 1_000_000)
        self.server = AdsServer(self.control, Everybody(), retry=retry, most=most)
        self.port = 0
        self.builds = 0
        self.built: Callable[[], object] = bool
        """Called with every build."""

    def build(self, _graph: Graph, node: Key, _placement: Placement, traits: Traits, _now: int) -> Snapshot:
        """What was published last; the runtime layer that an Envoy waits for is empty unless it is among that."""
        self.builds += 1
        self.built()
        awaited = (faults(),) if traits.runtime else ()
        return snapshot(*awaited, *self.offered, node=node)

    def publish(self, *resources: EnvoyResource) -> int:
        """Offer exactly `resources`; the revision."""
        self.offered = resources
        number = self.control.revision + 1
        nodes = [Resource(key=node, spec=VirtualNodeSpec(), stack=str(number)) for node in self.nodes]
        self.control.publish(Head(number, State(nodes)))
        return number

    def client(
        self, *, delta: bool, node: Key = NODE, instance: str = "one", only: str = "", **told: Any
    ) -> AdsClient:
        """A client that says it is `instance` of `node` and what is `told`; of the type `only` or "" for all."""
        said = {"id": node.path, "metadata": {"meshwright": {"instance": instance, **told}}}
        return AdsClient(f"127.0.0.1:{self.port}", said, delta=delta, only=only)

    async def restart(self) -> None:
        """Another server on the same port."""
        await self.server.stop()
        self.server = AdsServer(self.control, Everybody())
        await self.server.start("127.0.0.1", self.port)


@contextlib.asynccontextmanager
async def staged(
    *resources: EnvoyResource, nodes: tuple[Key, ...] = (), retry: float = RETRY_SECONDS, most: int | None = None
) -> AsyncIterator[Stage]:
    """A server that offers `resources` to `nodes`, by default to `NODE`; stopped on leaving."""
    stage = Stage(*nodes, retry=retry, most=most)
    stage.publish(*resources)
    stage.port = await stage.server.start("127.0.0.1", free_port())
    try:
        yield stage
    finally:
        await stage.server.stop()


def told(response: Any) -> dict[str, str]:
    """Name to version of what a response of either protocol holds."""
    if hasattr(response, "removed_resources"):
        assert all(one.resource.value == f"{one.name} {one.version}".encode() for one in response.resources)
        return {one.name: one.version for one in response.resources}
    return dict(one.value.decode().split() for one in response.resources)


@contextlib.asynccontextmanager
async def quiet(stage: Stage, *, delta: bool, only: str = "") -> AsyncIterator[AdsClient]:
    """A client of `stage`; at the end the server must have nothing more to say."""
    async with stage.client(delta=delta, only=only) as client:
        yield client
        assert await client.silence(), "the service responded more than necessary"


def names(delta: bool, *wanted: str) -> dict[str, list[str]]:
    """A subscription of either protocol."""
    return {"resource_names_subscribe" if delta else "resource_names": list(wanted)}


def again(delta: bool, *wanted: str) -> dict[str, list[str]]:
    """What an ack or a refusal repeats: in state of the world the names, in delta nothing."""
    return {} if delta else {"resource_names": list(wanted)}


async def read(stage: Stage, client: AdsClient, only: str, other: str, kept: str) -> None:
    """The server has read that a state-of-the-world client wants those named by the letters `kept` alone.

    Requests are read in order: over the aggregated service, the answer about an `other` type tells, of which there
    is a resource X; at the service of one type, `only`, what the control plane says that the client holds.
    """
    if only:
        found = stage.control.delivery(f"{NODE.path}@one")
        assert found is not None
        await until(lambda: {(one.type_url, one.name) for one in found.held()} == {(only, name) for name in kept})
    else:
        await client.say(other, resource_names=["X"])
        await client.ack(await client.hear(), resource_names=["X"])
