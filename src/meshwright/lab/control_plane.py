"""The control plane of a lab: `meshwright serve` as a process of its own, which can be killed and started again.

It is the product's own server on its own addresses; the lab reaches it the way any user does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Self

import h11

from meshwright.errors import MeshwrightError
from meshwright.lab import http1
from meshwright.lab.exchange import Request
from meshwright.lab.processes import Child
from meshwright.proxy.bootstrap import Address, KeyFile
from meshwright.store import sqlite
from meshwright.store.keys import ensure_administrator, prepare_directory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from meshwright.lab.addresses import Block

START = 60.0
"""Seconds that the server has to become ready."""
_POLL = 0.02
"""Seconds between two looks at a server that is starting."""


class ControlPlane:
    """A running server, as an async context manager: started and ready inside it, gone after it."""

    def __init__(
        self,
        block: Block,
        folder: Path,
        trust: str = "",
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Its data and its log go into `folder`, which exists; `trust` is its trust file, "" for none.

        `arguments` of `meshwright serve` and variables of its `environment` come on top of the lab's own.
        """
        # The whole block is ours, so the usual ports are free and a restarted server gets them again.
        self.api = Address(block.control_plane, 9080)
        self.xds = Address(block.control_plane, 18000)
        self.folder = folder / "control-plane"
        """The data directory, with the administrator's `credentials`."""
        self._trust = trust
        self._arguments = tuple(arguments)
        self._more = dict(environment or {})
        self._log = folder / "control-plane.log"
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """What `--endpoint` takes."""
        return f"http://{self.api}"

    @property
    def credentials(self) -> Path:
        """The administrator's key, as an AWS shared credentials file."""
        return self.folder / "credentials"

    @property
    def key(self) -> KeyFile:
        """The same, for the Envoys that connect here."""
        return KeyFile(str(self.credentials.absolute()))

    def prepare(self) -> None:
        """Make the administrator's key, which the first start would make: proxies that sign with it need not wait.

        Raises:
            StorageError: it cannot be written.
        """
        with contextlib.closing(sqlite.connect(prepare_directory(self.folder))) as store:
            ensure_administrator(store, self.folder, time.time_ns() // 1_000_000)

    async def start(self) -> None:
        """Start the server and wait until it is ready.

        Raises:
            MeshwrightError: it ended, or was not ready in time; with the end of its log.
        """
        if self._trust:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            (self.folder / "trust.yaml").write_text(self._trust)
        command = [sys.executable, "-m", "meshwright.cli", "serve", "--listen", str(self.api), "--xds", str(self.xds)]
        # A lab is looked at soon after it was used.
        arguments = [*command, "--data-dir", str(self.folder), "--xds-report-seconds", "0.5"]
        arguments += self._arguments
        self._child = await Child.start("The control plane", arguments, self._log, _environment() | self._more)
        try:
            async with asyncio.timeout(START):
                await self._ready(self._child)
        except TimeoutError:
            raise MeshwrightError(
                f"The control plane at {self.url} was not ready within {START:g} s.{self._child.tail()}"
            ) from None

    async def kill(self) -> None:
        """End it without any chance to clean up, as a crash would; `start` starts it again."""
        if self._child is not None:
            await self._child.kill()

    async def stop(self) -> None:
        """Ask it to end, and make it."""
        if self._child is not None:
            await self._child.stop()

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises:
            MeshwrightError: it was never started.
        """
        if self._child is None:
            raise MeshwrightError("The control plane was never started")
        return self._child.pid

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _ready(self, child: Child) -> None:
        while True:
            child.check()
            with contextlib.suppress(OSError, h11.ProtocolError):
                reader, writer = await asyncio.open_connection(self.api.host, self.api.port)
                try:
                    request = Request(authority=str(self.api), path="/readyz")
                    status, _, _ = await http1.exchange(reader, writer, request)
                finally:
                    writer.close()
                if status == 200:
                    return
            await asyncio.sleep(_POLL)


def _environment() -> dict[str, str]:
    """Ours, without the settings that would turn the server into something else than what its arguments say."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MESHWRIGHT_")}
