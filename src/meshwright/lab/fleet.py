"""The data plane of a lab: one real Envoy and one workload an instance, found through a real DNS server.

Every Envoy gets its configuration from the control plane over xDS; the lab decides addresses and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from meshwright.errors import MeshwrightError, UsageError
from meshwright.graph import resolve
from meshwright.lab import http1, topology
from meshwright.lab.dns import NameServer
from meshwright.lab.exchange import Reply, Request
from meshwright.lab.processes import Child, stop_all
from meshwright.lab.workload import Workload, call
from meshwright.model.identity import Kind
from meshwright.proxy import run
from meshwright.proxy.bootstrap import Address, Settings, bootstrap

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from meshwright.lab.addresses import Block
    from meshwright.lab.topology import Role
    from meshwright.model.state import State
    from meshwright.proxy.bootstrap import KeyFile
    from meshwright.snapshot.resources import Loopback

START = 30.0
"""Seconds that all Envoys together have to become ready, unless told otherwise."""
_LONGEST = 64
"""Bytes of a path that leave room for a socket's name below it."""
_POLL = 0.02
"""Seconds between two looks at an Envoy that is starting; its administration has no way to be waited for."""


class Instance:
    """One running proxy and, unless it is a gateway, the workload behind it."""

    def __init__(self, role: Role, number: int, place: Loopback, folder: Path, admin: Path) -> None:
        self.role = role
        self.name = f"{role.key.name}-{number}"
        self.place = place
        self.admin = admin
        """The Unix socket of Envoy's administration interface."""
        self.workload = None if role.key.kind is Kind.VIRTUAL_GATEWAY else Workload(role, number, place)
        self.envoy: Child | None = None
        self._folder = folder

    async def start(self, xds: Address, resolver: Address, key: KeyFile | None) -> Child:
        """Start the Envoy, which signs with `key`; it is not ready yet."""
        settings = Settings(
            proxy=self.role.key,
            instance=self.name,
            xds=xds,
            admin=Address(str(self.admin)),
            placement=self.place,
            resolver=resolver,
            credentials=key,
        )
        document = run.write(bootstrap(settings), self._folder)
        # One worker thread each: a lab runs many Envoys on one machine, and none of them is there for speed.
        arguments = run.command(document, concurrency=1)
        self.envoy = await Child.start(f"The Envoy of {self.name}", arguments, self._folder / "envoy.log")
        return self.envoy

    async def administration(self, path: str, method: str = "GET") -> tuple[int, str]:
        """What Envoy's administration interface answers: status and text.

        Raises:
            OSError: it does not answer.
        """
        reader, writer = await asyncio.open_unix_connection(self.admin)
        try:
            status, body = await http1.exchange(reader, writer, Request(authority="admin", path=path, method=method))
        finally:
            writer.close()
        return status, body.decode(errors="replace")

    async def look(self, path: str) -> str | None:
        """What the administration interface says with status 200; None when it says anything else or nothing."""
        try:
            status, text = await self.administration(path)
        except OSError:
            return None
        return text if status == 200 else None

    async def ready(self) -> None:
        """Return once Envoy has all of its first configuration and serves.

        Raises:
            MeshwrightError: Envoy ended.
        """
        if self.envoy is None:
            raise MeshwrightError(f"The Envoy of {self.name} was never started")
        while True:
            self.envoy.check()
            if await self.look("/ready") is not None:
                return
            await asyncio.sleep(_POLL)


class Fleet:
    """Every proxy and workload of a state, as an async context manager: running inside it, gone after it."""

    def __init__(
        self,
        state: State,
        *,
        xds: Address,
        block: Block,
        folder: Path,
        key: KeyFile | None = None,
        instances: Mapping[str, int] | None = None,
        within: float = START,
    ) -> None:
        """`key` is what the Envoys sign with, as a control plane asks for it.

        `instances` says how many of a node or gateway to run where it is more than one, by name.

        `within` so many seconds all Envoys together must be ready.

        Raises:
            UsageError: `instances` names no node, or asks for less than one.
        """
        self.roles = topology.roles(resolve(state), instances or {})
        self.names = NameServer()
        self.instances: tuple[Instance, ...] = ()
        self._xds = xds
        self._key = key
        self._block = block
        self._folder = folder
        self._within = within
        self._exits = contextlib.AsyncExitStack()

    resolver: Address
    """Where the DNS server for the discovery names answers."""

    async def __aenter__(self) -> Self:
        """Start everything at once, and wait until every Envoy is ready.

        Raises:
            MeshwrightError: an Envoy ended or did not become ready in time; with the end of its log.
        """
        async with contextlib.AsyncExitStack() as exits:
            exits.push_async_callback(self.names.stop)
            self.resolver = await self.names.start(self._block.name_server)
            sockets = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="mw-", dir=_short_folder())))
            self.instances = tuple(self._placed(sockets))
            self.names.publish(self._records())
            children: list[Child] = []
            exits.push_async_callback(self._end, children)
            for one in self.instances:
                if one.workload is not None:
                    await one.workload.start()
            for one in self.instances:
                children.append(await one.start(self._xds, self.resolver, self._key))  # noqa: PERF401 - one that fails must not hide those started
            await self._all_ready()
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    def workloads(self, node: str) -> tuple[Workload, ...]:
        """The workloads of every instance of a virtual node.

        Raises:
            UsageError: there is no such node.
        """
        found = tuple(
            one.workload for one in self.instances if one.role.key.name == node and one.workload is not None
        )
        if not found:
            raise UsageError(f"no workload of a virtual node {node!r} runs here")
        return found

    def entrance(self, name: str | None = None) -> Instance:
        """The first instance of the virtual gateway or node `name`; of the only gateway when that is None.

        Raises:
            UsageError: there is none, or there are several to choose from.
        """
        gateways = {one.role.key.name for one in self.instances if one.role.key.kind is Kind.VIRTUAL_GATEWAY}
        if name is None and len(gateways) == 1:
            name = next(iter(gateways))
        for one in self.instances:
            if one.role.key.name == name and one.role.ports:
                return one
        known = ", ".join(sorted({one.role.key.name for one in self.instances if one.role.ports}))
        raise UsageError(f"no entrance {name!r} to the mesh; choose one of {known}")

    async def request(self, request: Request, at: str | None = None) -> Reply:
        """Send one request from outside the mesh to the first listener of `entrance(at)`."""
        entrance = self.entrance(at)
        port = entrance.role.ports[0]
        return await call(port.protocol, entrance.place.ingress, port.number, request)

    def _placed(self, sockets: Path) -> list[Instance]:
        placed: list[Instance] = []
        for role in self.roles:
            for number in range(1, role.instances + 1):
                # Numbered, not named, because a node's name may be longer than a file's.
                folder = self._folder / f"proxy-{len(placed)}"
                folder.mkdir(mode=0o700)
                placed.append(Instance(role, number, self._block.place(), folder, sockets / f"{len(placed)}.sock"))
        return placed

    def _records(self) -> dict[str, list[str]]:
        """Every discovery name with the ingress addresses of the instances behind it."""
        records: dict[str, list[str]] = {}
        for one in self.instances:
            if one.role.hostname:
                records.setdefault(one.role.hostname, []).append(one.place.ingress)
        return records

    async def _all_ready(self) -> None:
        try:
            async with asyncio.timeout(self._within):
                await asyncio.gather(*(one.ready() for one in self.instances))
        except TimeoutError:
            raise MeshwrightError(await self._late()) from None

    async def _late(self) -> str:
        """Which Envoys are not ready, and what is known of the first of them."""
        late = [one for one in self.instances if await one.look("/ready") is None]
        if not late:
            return f"Envoys became ready, but not within {self._within:g} s"
        connected = await late[0].look("/stats?filter=^control_plane.connected_state$") or ""
        reached = "reached" if connected.strip().endswith("1") else "did not reach"
        names = ", ".join(one.name for one in late)
        tail = late[0].envoy.tail() if late[0].envoy is not None else ""
        return (
            f"Envoys not ready within {self._within:g} s: {names}. "
            f"{late[0].name} {reached} the control plane at {self._xds}.{tail}"
        )

    async def _end(self, children: list[Child]) -> None:
        """Proxies first, so that none of them sees its workload vanish."""
        await stop_all(children)
        for one in self.instances:
            if one.workload is not None:
                await one.workload.stop()


def _short_folder() -> str | None:
    """Where a folder for Unix sockets goes: their paths may have 103 bytes on the strictest system (unix(7), 4)."""
    return None if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST else "/tmp"  # noqa: S108 - made private there
