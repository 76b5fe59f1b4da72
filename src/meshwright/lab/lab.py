"""A whole mesh on this machine from a state: control plane, DNS, an Envoy and a workload an instance.

Everything is gone when the `async with` block is left, however it is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Self

from meshwright.errors import MeshwrightError, UsageError
from meshwright.lab.addresses import Block
from meshwright.lab.control_plane import ControlPlane
from meshwright.lab.exchange import plain
from meshwright.lab.fleet import Fleet
from meshwright.lab.folders import private_folder
from meshwright.lab.namespaces import Namespaces
from meshwright.model.decoding import encode
from meshwright.model.identity import Key
from meshwright.model.specs import MeshSpec
from meshwright.model.state import Resource
from meshwright.release import ApplyRequest, Item
from meshwright.remote import Client, find_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from meshwright.lab.exchange import Reply, Request
    from meshwright.lab.machines import Ground, Isolation
    from meshwright.lab.surroundings import Surroundings
    from meshwright.lab.workload import Workload
    from meshwright.model.state import State

STACK = "lab"
"""The stack that a lab applies its state as, unless it is told another."""
WAIT = 30.0
"""Seconds that all Envoys together have to connect, and again to ack what was applied."""
_FIRST = 1
"""The number of a control plane's first release."""
_POLL = 0.05
"""Seconds between two looks for Envoys that are connecting."""


def whole(state: State) -> State:
    """`state`, one mesh, with the mesh itself where the definitions leave it to another stack: without any settings.

    Raises:
        UsageError: it is not exactly one mesh.
    """
    if len(state.meshes) != 1:
        raise UsageError(f"A lab runs one mesh; found {', '.join(state.meshes) or 'none'}")
    mesh = Key.of_mesh(state.meshes[0])
    return state if mesh in state else state.put(Resource(key=mesh, spec=MeshSpec()))


class Lab:
    """A running mesh; an async context manager."""

    def __init__(
        self,
        state: State,
        *,
        stack: str = STACK,
        instances: Mapping[str, int] | None = None,
        around: Surroundings | None = None,
        isolation: Isolation = "loopback",
    ) -> None:
        """`state` is one mesh; `instances` says how many of a node to run where it is not one, by name.

        A mesh that the definitions leave to another stack is added, without any settings. What is `around` brings
        what the definitions expect of machines; it is of the same mesh, and stands while the lab runs.

        Raises:
            UsageError: `state` is not exactly one mesh.
        """
        self._state = whole(state)
        self.mesh = state.meshes[0]
        self.stack = stack
        self._instances = instances or {}
        self._around = around
        self._isolation = isolation
        self._exits = contextlib.AsyncExitStack()

    control: ControlPlane
    """The control plane, which may be killed and started again."""
    fleet: Fleet
    """The Envoys and workloads."""
    ground: Ground
    """What they stand on."""

    async def __aenter__(self) -> Self:
        """Start the control plane, apply the state as one release, start the Envoys, and wait for their acks.

        Raises:
            MeshwrightError: something did not start, was refused, or was rejected by an Envoy.
        """
        async with contextlib.AsyncExitStack() as exits:
            folder = exits.enter_context(private_folder())
            block = exits.enter_context(Block())
            apart = self._isolation == "netns"
            namespaces = Namespaces(folder, block.control_plane)
            self.ground = await exits.enter_async_context(namespaces) if apart else block
            around, ready = self._around, self._state
            if around is not None:
                await exits.enter_async_context(around.standing(self.ground, folder))
                ready = around.state
            arguments, environment = (around.arguments, around.environment) if around else ((), None)
            self.control = ControlPlane(block, folder, arguments=arguments, environment=environment)
            self.control.prepare()
            if around is not None:
                around.release = f"{self.stack}#{_FIRST}"
            fleet = Fleet(
                ready,
                xds=await self.ground.passing_on(self.control.xds),
                ground=self.ground,
                folder=folder,
                key=self.control.key,
                instances=self._instances,
                around=around,
            )
            await self._together(exits, fleet, ready)
            await self.propagated(_FIRST)
            self._exits = exits.pop_all()
        return self

    async def _together(self, exits: contextlib.AsyncExitStack, fleet: Fleet, state: State) -> None:
        """Start the control plane, to which `state` is applied, and `fleet`, whose Envoys are refused until it is."""

        async def applied() -> None:
            await exits.enter_async_context(self.control)
            await self.apply(state)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(applied())
                self.fleet = await exits.enter_async_context(fleet)
        except ExceptionGroup as several:
            raise several.exceptions[0] from several

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # It need not end in order: nothing that it holds is kept.
            await self.control.kill()
        finally:
            await self._exits.aclose()

    def client(self) -> Client:
        """A client of the control plane with the administrator's key."""
        profile = {"AWS_SHARED_CREDENTIALS_FILE": str(self.control.credentials)}
        return Client(self.control.url, find_credentials(profile, self.control.url))

    async def apply(self, state: State) -> int:
        """Make `state` the whole of the stack, as a release; its number. Instances stay as they were started.

        Raises:
            RefusedError: the control plane refuses it; nothing was changed.
        """
        resources = tuple(
            Item(key=one.key, spec=encode(one.spec), tags={tag.key: tag.value for tag in one.tags}) for one in state
        )
        request = ApplyRequest(resources=resources)
        applied = await asyncio.to_thread(self.client().apply, self.mesh, self.stack, request)
        return int(applied["release"]["number"])

    async def connected(self) -> None:
        """Return once the control plane sees every Envoy of the lab that runs; after a restart they come one by one.

        Raises:
            MeshwrightError: they took too long; with how many came.
        """
        running = [one for one in self.fleet.instances if one.envoy is not None and one.envoy.status is None]
        wanted, deadline = len(running), time.monotonic() + WAIT
        while (seen := len((await asyncio.to_thread(self.client().status))["proxies"])) < wanted:
            if time.monotonic() > deadline:
                raise MeshwrightError(f"{seen} of {wanted} Envoys connected to the control plane within {WAIT:g} s")
            await asyncio.sleep(_POLL)

    async def propagated(self, number: int) -> None:
        """Return once every Envoy of the lab is connected and those that release `number` concerns have acked it.

        Raises:
            MeshwrightError: one rejected it, or they took too long; with who and why.
        """
        await self.connected()
        found = await asyncio.to_thread(self.client().propagation, self.mesh, self.stack, number, WAIT)
        if found["state"] != "propagated":
            words = [
                f"{one['id']}: {plain(rejection['message'])}"
                for one in found["rejected"]
                for rejection in one["rejections"]
            ]
            if not words:
                awaited = ", ".join(found["pending"]) or "a proxy that it concerns: none is connected"
                words = [f"waited {WAIT:g} s for {awaited}"]
            raise MeshwrightError(f"Release {self.stack}#{number} is {found['state']}: {'; '.join(words)}")

    async def request(self, request: Request, at: str | None = None) -> Reply:
        """Send one request from outside the mesh to the gateway or node `at`, or else to the only gateway."""
        return await self.fleet.request(request, at)

    def workloads(self, node: str) -> tuple[Workload, ...]:
        """The workloads of a virtual node, one an instance; set their `fault` to make them misbehave."""
        return self.fleet.workloads(node)
