"""Looking at processes from outside: who runs, who are whose children, and waiting for a fact with a deadline."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HELD = 40_127
DEADLINE = 30.0
"""Seconds; a generous end for what should take a moment."""


def until(fact: Callable[[], bool]) -> None:
    """Return once `fact()` holds; fail when it does not within the deadline."""
    end = time.monotonic() + DEADLINE
    while not fact():
        assert time.monotonic() < end, f"not so within {DEADLINE:g} s"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """The processes that a running process started; none when it is gone."""
    found: list[int] = []
    # Its threads come and go while they are read; one that went says nothing of the others' children.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in list(Path(f"/proc/{pid}/task").iterdir()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Its children, their children, and so on."""
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_envoy(pid: int) -> bool:
    """Whether a process has become Envoy."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(b"/envoy")
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextlib.contextmanager
def reserved_net() -> Iterator[str]:
    """The first two bytes of addresses of this machine that no other test has until the block ends.

    Whichever process it runs in: whoever has a net holds a port of its last address.
    """
    for number in random.sample(range(64, 254), 190):
        with socket.socket() as held:
            try:
                held.bind((f"127.{number}.255.254", _HELD))
            except OSError:
                continue
            yield f"127.{number}"
            return
    raise AssertionError("every net is taken")


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
