"""A program of the user's in place of a workload: started beside its proxy, unchanged, and gone with the lab.

The one rule: in a namespace it needs nothing from us. Where addresses are shared, `PORT` says where to listen, and
what is for it is passed on to there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from meshwright.errors import MeshwrightError
from meshwright.lab import keeper
from meshwright.lab.processes import Child
from meshwright.lab.sockets import Server, connect, relay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.documents.settings import Command
    from meshwright.lab.exchange import Reply
    from meshwright.lab.machines import Machine
    from meshwright.lab.sockets import Outlet
    from meshwright.lab.topology import Role

START = 60.0
"""Seconds that a program has until it listens on all of its ports."""
_POLL = 0.05
_HERE = "127.0.0.1"


class Program:
    """One running instance of a user's program."""

    def __init__(self, command: Command, role: Role, name: str, machine: Machine, log: Path) -> None:
        """`name` is the instance's, `log` the file that its output is added to."""
        self.log = log
        self._command = command
        self._role = role
        self._name = name
        self._machine = machine
        self._child: Child | None = None
        self._doors: list[Server] = []

    async def start(self) -> None:
        """Start it; it need not listen yet.

        Raises:
            MeshwrightError: an address is taken.
        """
        numbers = [port.number for port in self._role.ports]
        apart = not self._machine.egress
        ports = {number: number if apart else _free() for number in numbers}
        if not apart:
            for number, port in ports.items():
                await self._open(number, port)
        self._ports = tuple(ports.values())
        arguments = (sys.executable, "-I", "-S", str(Path(keeper.__file__)), str(os.getpid()), "/bin/sh", "-c")
        environment = os.environ | self._variables(ports) | dict(self._command.environment)
        self._child = await Child.start(
            f"The program of {self._name}",
            (*arguments, self._command.command),
            self.log,
            environment,
            within=self._machine.as_program,
            folder=self._command.folder,
        )

    async def ready(self) -> None:
        """Return once it listens on all of its ports.

        Raises:
            MeshwrightError: it ended, or took too long; with the end of its output.
        """
        child = self._child
        if child is None:
            raise MeshwrightError(f"The program of {self._name} was never started")
        waiting = list(self._ports)
        try:
            async with asyncio.timeout(START):
                while waiting:
                    child.check()
                    if await self._listens(waiting[0]):
                        waiting.pop(0)
                    else:
                        await asyncio.sleep(_POLL)
        except TimeoutError:
            where = f"port {waiting[0]}" + ("" if not self._machine.egress else ", its PORT,")
            raise MeshwrightError(
                f"The program of {self._name} does not listen on {where} after {START:g} s.{child.tail()}"
            ) from None

    async def crash(self) -> None:
        """End it and all that it started, without any chance to clean up."""
        if self._child is not None and self._child.status is None:
            await self._child.signal(signal.SIGQUIT)
        await self._close()

    async def stop(self) -> None:
        """Ask it to end, and make it."""
        if self._child is not None and not await self._child.signal(signal.SIGTERM):
            await self.crash()
        await self._close()

    async def become(self, role: Role) -> None:
        """Be an instance of `role`, the same node defined otherwise; on other ports it is started again.

        Raises:
            MeshwrightError: an address is taken, or it does not listen.
        """
        before, self._role = self._role, role
        if role.ports != before.ports and self._child is not None:
            await self.stop()
            await self.start()
            await self.ready()

    async def _close(self) -> None:
        while self._doors:
            await self._doors.pop().stop()

    async def _open(self, number: int, port: int) -> None:
        async def pass_on(reader: asyncio.StreamReader, outlet: Outlet) -> None:
            await relay(reader, outlet, _HERE, port)

        door = Server(pass_on, OSError)
        try:
            await door.start(self._machine.application, number)
        except OSError as error:
            where = f"{self._machine.application}:{number}"
            raise MeshwrightError(f"nothing can listen on {where} for {self._name}: {error.strerror}") from error
        self._doors.append(door)

    async def _listens(self, port: int) -> bool:
        for host in (_HERE, "::1"):
            opened: tuple[asyncio.StreamReader, asyncio.StreamWriter] | Reply
            opened = await connect(host, port, None, "", self._machine.inside)
            if isinstance(opened, tuple):
                opened[1].close()
                return True
        return False

    def _variables(self, ports: Mapping[int, int]) -> dict[str, str]:
        machine = self._machine
        told = {f"PORT_{number}": str(port) for number, port in ports.items()}
        told |= {"MESHWRIGHT_NODE": self._role.key.name, "MESHWRIGHT_INSTANCE": self._name, "HOST": _HERE}
        if self._ports:
            told["PORT"] = str(self._ports[0])
        return told | ({"MESHWRIGHT_EGRESS": machine.egress} if machine.egress else {})


def _free() -> int:
    """A port that is free at every address."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
