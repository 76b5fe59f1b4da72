"""One running proxy of a lab and the workload behind it, which may crash and come back.

The one rule: an instance that comes back is another process at the same place, as a task that was started again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from meshwright.documents.settings import Command
from meshwright.errors import MeshwrightError
from meshwright.lab import http1
from meshwright.lab.exchange import Request
from meshwright.lab.machines import Machine
from meshwright.lab.processes import Child
from meshwright.lab.program import Program
from meshwright.lab.workload import Workload
from meshwright.model.identity import Kind
from meshwright.proxy import run
from meshwright.proxy.bootstrap import bootstrap
from meshwright.trials.trial import instance_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.lab.topology import Role
    from meshwright.proxy.settings import Settings

_POLL = 0.05
"""Seconds between two looks at an Envoy that is starting; its administration has no way to be waited for."""


_AGAIN = 60.0
"""Seconds within which an Envoy that is started again has its configuration, on a machine with much else to do."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where an instance is."""

    machine: Machine
    folder: Path
    """For its bootstrap and its log."""
    admin: Path
    """The Unix socket of Envoy's administration interface."""
    lookup: Callable[[str], str]
    """The address of a name, of whoever runs there."""
    command: Command | None = None
    """What runs there in place of a workload."""


class Instance:
    """One running proxy and, unless it is a gateway, the workload behind it."""

    def __init__(self, role: Role, number: int, site: Site, *, calls: bool = True) -> None:
        """The `number`-th of its role; with `calls`, its workload calls all backends for each request."""
        self.role = role
        self.name = instance_name(role.key.name, number)
        self.machine = site.machine
        self.admin = site.admin
        gateway = role.key.kind is Kind.VIRTUAL_GATEWAY
        self.workload: Workload | None = None
        self.program: Program | None = None
        if site.command is not None:
            self.program = Program(site.command, role, self.name, site.machine, site.folder / "program.log")
        elif not gateway:
            self.workload = Workload(role, number, site.machine, site.lookup, calls=calls)
        self.envoy: Child | None = None
        self._folder = site.folder
        self._lookup = site.lookup
        self._environment: Mapping[str, str] | None = None
        self._bootstrap: Path | None = None

    @property
    def log(self) -> Path:
        """What its Envoy says."""
        return self._folder / "envoy.log"

    def towards(self, name: str) -> str:
        """Where its application sends a call to `name`."""
        return self.machine.towards(name, self._lookup)

    async def start(self, settings: Settings, environment: Mapping[str, str] | None = None) -> None:
        """Start the application and the Envoy; they are not ready yet.

        Raises:
            MeshwrightError: a port of the application's is taken.
        """
        for one in self._applications():
            await one.start()
        self._bootstrap, self._environment = run.write(bootstrap(settings), self._folder), environment
        await self._launch(self._bootstrap)

    async def crash(self) -> None:
        """End the Envoy and the workload, without any chance to clean up."""
        if self.envoy is not None:
            await self.envoy.kill()
        for one in self._applications():
            await one.crash()

    async def restart(self) -> None:
        """Start both again after a crash, or the Envoy again where it runs, and wait until it is ready.

        Raises:
            MeshwrightError: it was never started, Envoy ended, or took too long, as without its control plane.
        """
        if self._bootstrap is None or self.envoy is None:
            raise MeshwrightError(f"The Envoy of {self.name} was never started")
        if self.envoy.status is None:
            await self.envoy.kill()
        else:
            for one in self._applications():
                await one.start()
        await self._launch(self._bootstrap)
        try:
            async with asyncio.timeout(_AGAIN):
                await self.ready()
        except TimeoutError:
            raise MeshwrightError(
                f"The Envoy of {self.name} was started again and is not ready after {_AGAIN:g} s.{self.envoy.tail()}"
            ) from None

    async def become(self, role: Role) -> None:
        """Be an instance of `role`, the same node or gateway defined otherwise.

        Raises:
            MeshwrightError: a port of the workload's is taken.
        """
        self.role = role
        for one in self._applications():
            await one.become(role)

    async def warm(self) -> bool:
        """Whether Envoy uses all that it was sent, and is not still looking up or checking what it was sent last."""
        names = "cluster_manager.warming_clusters|listener_manager.total_listeners_warming"
        told = await self.look(f"/stats?filter=^({names})$") or ""
        return [line.rpartition(": ")[2] for line in told.splitlines()] == ["0", "0"]

    async def stop(self) -> None:
        """End the application; the Envoy is whoever's who stops them all at once."""
        for one in self._applications():
            await one.stop()

    async def administration(self, path: str, method: str = "GET") -> tuple[int, str]:
        """What Envoy's administration interface answers: status and text.

        Raises:
            OSError: it does not answer.
        """
        reader, writer = await asyncio.open_unix_connection(self.admin)
        try:
            request = Request(authority="admin", path=path, method=method)
            status, _, body = await http1.exchange(reader, writer, request)
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
        """Return once Envoy has all of its first configuration and serves, and a program listens.

        Raises:
            MeshwrightError: Envoy ended, or the program did; with the end of its log.
        """
        if self.program is not None:
            await self.program.ready()
        if self.envoy is None:
            raise MeshwrightError(f"The Envoy of {self.name} was never started")
        while True:
            self.envoy.check()
            if await self.look("/ready") is not None:
                return
            await asyncio.sleep(_POLL)

    def _applications(self) -> tuple[Workload | Program, ...]:
        return tuple(one for one in (self.workload, self.program) if one is not None)

    async def _launch(self, document: Path) -> None:
        # One worker thread each: a lab runs many Envoys on one machine, and none of them is there for speed.
        arguments = run.command(document, concurrency=1)
        self.envoy = await Child.start(
            f"The Envoy of {self.name}", arguments, self.log, self._environment, self.machine.as_proxy
        )
