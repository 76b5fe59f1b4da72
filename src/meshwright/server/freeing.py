"""Memory that is free is given back to the system, and looked for no more often than it pays.

The one rule: nothing rests on it. Where the C library cannot do it, memory stays with the process until it is used.

A push to hundreds of streams allocates and frees megabytes in many threads. What is in use afterwards is the same;
but the C library keeps what is free in pieces, in heaps of its own for each thread, and returns only the end of one.
Source: https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html and malloc_trim(3)
"""

from __future__ import annotations

import asyncio
import ctypes
import gc

EVERY = 60.0
"""Seconds between two times; one takes some milliseconds, in a thread."""


def collect_rarely() -> None:
    """Look for garbage in circles less often: what requests make is freed without, what was imported stays anyway.

    A create costs 7 % less processor time at a threshold of 100,000 than of 10,000. But to look through 100,000 new
    objects took 31 ms, in the middle of a push to 500 proxies, and nobody is served meanwhile. By Python's own
    settings a sixth to a quarter of the time of first builds goes into it.
    """
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def give_back() -> bool:
    """Give back what is free; whether there was any, and the C library can do it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))


async def keep_giving_back() -> None:
    """Give back what is free now and then, until cancelled."""
    while True:
        await asyncio.sleep(EVERY)
        await asyncio.to_thread(give_back)
