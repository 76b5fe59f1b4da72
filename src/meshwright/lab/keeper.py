"""Runs one command, and ends everything that it started when it ends, or when whoever asked for it does.

A program of its own, `python keeper.py PARENT COMMAND…`, because commands start others, which the kernel would leave
behind: only a direct child can be told to die with its parent. The one rule: nothing outlives it. SIGTERM asks the
command to end; SIGQUIT, and the death of the parent, end everything at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_PDEATHSIG, _SUBREAPER = 1, 36
"""Of prctl(2)."""
_PAUSE = 0.002
"""Seconds between two looks for who is to be killed."""


def _descendants(pid: int) -> Iterator[int]:
    """The children of a process, theirs, and so on, as far as Linux tells."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in file.read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _end_all() -> None:
    """Kill what is below us until nothing is: whoever lost its parent meanwhile has become our own child.

    One that changes its parent is not among the children of either for a moment; it is certain that nobody is left
    only once there is nobody to wait for.
    """
    while True:
        for pid in _descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            time.sleep(_PAUSE)


def main(parent: int, command: list[str]) -> int:
    """Run `command`; its exit status, 128 and the signal's number when one ended it."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_SUBREAPER, 1)
        prctl(_PDEATHSIG, signal.SIGQUIT)

    def quit_now(_number: int, _frame: FrameType | None) -> None:
        _end_all()
        os._exit(1)

    signal.signal(signal.SIGQUIT, quit_now)
    if os.getppid() != parent:
        return 1
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    started = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - what the user asks for
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(started.pid, signal.SIGTERM))
    if asked:  # before there was anybody to hand it on to
        os.killpg(started.pid, signal.SIGTERM)
    status = started.wait()
    _end_all()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
