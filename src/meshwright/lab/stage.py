"""Telling a story that checks itself: steps, commands as a user would type them, claims that are held or fail.

Nothing is claimed that was not looked at: every tick comes from a check, and the first that fails ends the story.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from meshwright.errors import FailedCheckError, MeshwrightError
from meshwright.proxy.run import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_TIMEOUT = 60.0
"""Seconds that one command may take."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A command that has ended."""

    code: int
    text: str
    """All that it said, in the order said; of one that was not shown, what it printed and then what it reported."""
    out: str
    """What one that was not shown printed on standard output."""


class Teller:
    """Writes the story, line by line."""

    def __init__(self, write: Callable[[str], None], *, colour: bool = False, quiet: bool = False) -> None:
        """`write` takes one line without its end; `quiet` keeps the steps and the checks only."""
        self._write = write
        self._colour = colour
        self._quiet = quiet
        self._steps = 0

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._steps += 1
        self._write("")
        self._write(self._painted(f"{self._steps}. {title}", "1"))

    def say(self, text: str, indent: str = "   ") -> None:
        """Prose or output, each of its lines indented."""
        for line in () if self._quiet else text.rstrip().splitlines():
            self._write(f"{indent}{line}".rstrip())

    def typed(self, command: str) -> None:
        """A command, as the user would type it."""
        if not self._quiet:
            self._write(self._painted(f"   $ {command}", "36"))

    def end(self, text: str) -> None:
        """Close the story; what is asked for is told even to those who want it quiet."""
        self._write("")
        for line in text.splitlines():
            self._write(line)

    def check(self, claim: str, *, held: bool, expected: str, seen: str) -> None:
        """Tick off `claim`.

        Raises:
            FailedCheckError: it does not hold; with what was expected and what was seen.
        """
        if not held:
            self._write(self._painted(f"   ✗ {claim}", "31"))
            raise FailedCheckError(f"step {self._steps}, {claim!r} does not hold: expected {expected}; saw {seen}")
        self._write(f"{self._painted('   ✓', '32')} {claim}")

    def _painted(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


class Principal:
    """Somebody who types commands: in a folder, with credentials and settings of their own."""

    def __init__(self, teller: Teller, folder: Path, settings: Mapping[str, str]) -> None:
        """`settings` are environment variables, such as the endpoint and the credentials file."""
        self._teller = teller
        self._folder = folder
        # Nothing of this machine's own AWS or CI settings may leak into the story.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "MESHWRIGHT_", "TRAVIS", "CI", "GITHUB_", "GITLAB_"))
        }
        self._environment = {**inherited, **settings, "NO_COLOR": "1"}

    async def types(self, *arguments: str, show: bool = True, lines: int | None = None) -> Done:
        """Run `meshwright ARGUMENTS`; with `show`, the command and the first `lines` it says are part of the story.

        Raises:
            MeshwrightError: it did not end in time.
        """
        if show:
            self._teller.typed(shlex.join(("meshwright", *arguments)))
        done = await self._run(("meshwright.cli", *arguments), apart=not show)
        if show:
            said = done.text.splitlines()
            more = len(said) - (lines or len(said))
            kept = [*said[:lines], f"… and {more} more lines"] if more > 0 else said
            self._teller.say("\n".join(kept), indent="     ")
        return done

    async def runs(self, module: str, *arguments: str) -> Done:
        """Run `python -m MODULE ARGUMENTS`, which is no part of the story.

        Raises:
            MeshwrightError: it did not end in time.
        """
        return await self._run((module, *arguments), apart=True)

    async def _run(self, arguments: tuple[str, ...], *, apart: bool) -> Done:
        process = await asyncio.create_subprocess_exec(
            *guarded((sys.executable, "-m", *arguments)),
            cwd=self._folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if apart else asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_TIMEOUT):
                out, err = await process.communicate()
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                told = shlex.join(arguments)
                raise MeshwrightError(f"'{told}' did not end within {_TIMEOUT:g} s") from None
            raise
        printed, reported = out.decode(errors="replace"), (err or b"").decode(errors="replace")
        return Done(code=process.returncode or 0, text=printed + reported, out=printed)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds, so far."""
        return time.monotonic() - self._begin
