"""Memory that is free is given back to the system, so that what a server takes is what it holds.

The one rule: nothing rests on it. Where the C library cannot do it, memory stays with the process until it is used.

A push to hundreds of streams allocates and frees megabytes in many threads. What is in use afterwards is the same;
but the C library keeps what is free in pieces, in heaps of its own for each thread, and returns only the end of one.
Source: https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html and malloc_trim(3)
"""

from __future__ import annotations

import asyncio
import ctypes

EVERY = 60.0
"""Seconds between two times; one takes some milliseconds, in a thread."""


def give_back() -> bool:
    """Give back what is free; whether there was any, and the C library can do it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))


async def keep_giving_back() -> None:
    """Give back what is free now and then, until cancelled."""
    while True:
        await asyncio.sleep(EVERY)
        await asyncio.to_thread(give_back)
