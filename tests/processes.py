"""Processes seen from outside, waiting for a fact with a deadline, and addresses and ports that no other test has."""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from meshwright.lab.addresses import Block
from meshwright.snapshot.resources import Loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_numbers = itertools.count(1)
_held = contextlib.ExitStack()
_PORTS = range(20_000, 32_000, 100)
DEADLINE = 60.0
"""Seconds; a generous end for what should take a moment."""


def until(fact: Callable[[], bool]) -> None:
    """Return once `fact()` holds; fail when it does not within the deadline."""
    end = time.monotonic() + DEADLINE
    while not fact():
        assert time.monotonic() < end, f"not so within {DEADLINE:g} s"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """The processes that a running process started; none when it is gone.

    By whom each process of the machine names as its parent: what the kernel lists of a thread's children may lack
    some of them while others of them end.
    """
    return _started().get(pid, [])


def descendants(pid: int) -> list[int]:
    """Its children, their children, and so on."""
    started = _started()
    found = list(started.get(pid, ()))
    for child in found:  # those that are added on the way too
        found += started.get(child, ())
    return found


def envoys(pid: int) -> list[int]:
    """Those of the processes that a running process started which have become Envoy."""
    return [child for child in children(pid) if is_envoy(child)]


def _started() -> dict[int, list[int]]:
    """Who started whom, of all processes: parent to children."""
    found: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parent = int(_stat(process)[1])
            found.setdefault(parent, []).append(int(process.name))
    return found


def _stat(process: Path) -> list[str]:
    """What the kernel says of a process from its state on: the name before that may hold anything."""
    return (process / "stat").read_text().rpartition(")")[2].split()


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet buried does not."""
    try:
        return _stat(Path(f"/proc/{pid}"))[0] != "Z"
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

    Whichever process it runs in: it is a block such as each lab has one.
    """
    with Block() as block:
        yield block.name_server.rpartition(".0.")[0]


def fresh_address() -> str:
    """An address of this machine that nothing else in the tests uses."""
    number = next(_numbers)
    return f"{_net()}.{number // 250}.{number % 250 + 1}"


def fresh_place() -> Loopback:
    """Such addresses for a proxy and its application."""
    return Loopback(application=fresh_address(), ingress=fresh_address(), egress=fresh_address())


@functools.cache
def _net() -> str:
    """One for all tests of this process, held until it ends."""
    return _held.enter_context(reserved_net())


def free_port() -> int:
    """A port of 127.0.0.1, and of addresses of the test's own, that is this process's until it ends.

    It is none of those that the kernel gives to whoever asks for any, connections included, and no other process of
    the tests is given it: so it may be closed and listened on again.
    """
    for port in _ports:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("every port is taken")


def _reserved() -> Iterator[int]:
    """One port after the other, of ranges that no other process has: whoever has one holds a socket of datagrams."""
    for first in random.sample(_PORTS, len(_PORTS)):
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            held.bind(("127.255.255.254", first))
        except OSError:
            held.close()
            continue
        held.detach()  # open for as long as this process runs
        yield from range(first, first + _PORTS.step)


_ports = _reserved()
