"""A child process that is driven by lines and answers in JSON lines; always stopped, by its own id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType


class Process:
    """`python -m MODULE …` with its standard streams in hand."""

    def __init__(self, module: str, *arguments: str, log: IO[str] | None = None) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "GRPC_VERBOSITY": "NONE"},
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.terminate()
            self._child.wait(10)
        self._child.stdout.close()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def seconds(self) -> float:
        """Processor time that it has used."""
        return processor_seconds(self.pid)

    def resident(self) -> int:
        """Resident memory in bytes."""
        return resident(self.pid)

    def terminate(self) -> None:
        """Ask the child to stop."""
        self._child.terminate()

    def tell(self, line: str) -> None:
        """Write one line."""
        assert self._child.stdin is not None
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The next JSON line."""
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"a benchmark process ended early with {self._child.wait(10)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def resident(pid: int) -> int:
    """Resident memory of another process in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float:
    """Processor time of another process with all its threads, also those that have ended.

    Source: clock_getcpuclockid(3), whose way of making a clock's number from a process's is Linux's own.
    """
    return time.clock_gettime((~pid << 3) | 2)


def end_when_asked() -> None:
    """Have SIGTERM end this program as an exception does, so that its processes are ended too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def say(answer: dict[str, Any]) -> None:
    """Answer the driver with one JSON line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
