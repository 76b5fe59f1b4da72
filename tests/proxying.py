"""`meshwright proxy` as a running process, with the agent's answers beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from meshwright.proxy.administration import Administration
from meshwright.proxy.settings import Address
from processes import DEADLINE, envoys, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


class Running:
    """A running command."""

    def __init__(self, process: asyncio.subprocess.Process, agent: Address, admin: Address) -> None:
        self.process = process
        self.agent = Administration(agent)
        self.admin = Administration(admin)

    async def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        """What the agent answers; status 0 where it does not."""
        try:
            status, body = await asyncio.to_thread(self.agent.ask, path, method)
        except OSError:
            return 0, ""
        return status, body.decode()

    async def status(self) -> tuple[int, dict[str, Any]]:
        """What the agent says of the proxy."""
        status, body = await self.ask("/status")
        return status, json.loads(body) if body else {}

    async def stats(self, names: str) -> dict[str, int]:
        """Envoy's counters and gauges whose names match."""
        _, body = await asyncio.to_thread(self.admin.ask, f"/stats?filter={names}")
        pairs = (line.split(": ") for line in body.decode().splitlines())
        return {name: int(value) for name, value in pairs if value.isdecimal()}

    @property
    def envoy(self) -> int:
        """Envoy's process id; 0 while there is none."""
        return next(iter(envoys(self.process.pid)), 0)

    async def ended(self, seconds: float = DEADLINE) -> tuple[int, str]:
        """Wait for its end; exit code and standard error."""
        _, err = await asyncio.wait_for(self.process.communicate(), seconds)
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()


@contextlib.asynccontextmanager
async def proxy(
    folder: Path,
    *arguments: str,
    variables: Mapping[str, str] | None = None,
    agent: Address | None = None,
    admin: Address | None = None,
) -> AsyncIterator[Running]:
    """The command with `arguments`, killed on leaving; its agent listens on a Unix socket in `folder`, or as told.

    With `admin` it is the `variables` that say where both listen, which is there and at `agent`.
    """
    where = agent or Address(str(folder / "agent.sock"))
    own = admin or Address("127.0.0.1", free_port())
    options = () if admin else ("--agent", str(where), "--admin-port", str(own.port))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "meshwright.cli", "proxy", *arguments, *options,
        env={**os.environ, **(variables or {})}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Running(process, where, own)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
