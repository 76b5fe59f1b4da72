"""Child processes of a lab: started guarded, their output in a file, stopped for certain.

None outlives the lab: the lab stops them, and the kernel kills them should the lab's thread die first.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from meshwright.errors import MeshwrightError
from meshwright.proxy.run import guarded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_GRACE = 5.0
"""Seconds between asking a process to end and killing it."""
_TAIL = 15
"""Lines of a log that an error shows."""


class Child:
    """One running process."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @classmethod
    async def start(
        cls,
        name: str,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
        folder: Path | None = None,
    ) -> Child:
        """Run `arguments` in a session of its own, so that Ctrl-C reaches it through us; output is added to `log`.

        `within` are the programs that lead to where it runs, each of which becomes the next one; it runs in `folder`.
        """
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *within,
                # Last: who becomes another user on the way is no longer told of our death.
                *guarded(arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs, negative when a signal ended it."""
        return self._process.returncode

    def check(self) -> None:
        """Do nothing while the process runs.

        Raises:
            MeshwrightError: it has ended; with the end of its log.
        """
        if self.status is not None:
            raise MeshwrightError(f"{self.name} ended with status {self.status}.{self.tail()}")

    def tail(self) -> str:
        """The end of its log, ready to be appended to a message."""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL:]
        return (
            "\n".join(["\nThe end of its log:", *(f"  {line}" for line in lines)]) if lines else " Its log is empty."
        )

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def signal(self, number: int) -> bool:
        """Send it a signal that ends it; whether it has ended, in time."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
        try:
            async with asyncio.timeout(_GRACE):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Ask it to end, and make it."""
        if not await self.signal(signal.SIGTERM):
            await self.kill()


async def stop_all(children: Iterable[Child]) -> None:
    """Stop every child, all at the same time."""
    await asyncio.gather(*(child.stop() for child in children))
