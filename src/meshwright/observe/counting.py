"""Calls as they are counted, whoever adds them up."""

from __future__ import annotations

import msgspec


class Counts(msgspec.Struct, gc=False):
    """What was counted; requests that found no connection are in all but `successes`."""

    requests: int = 0
    successes: int = 0
    errors: int = 0
    unconnected: int = 0

    def add(self, other: Counts) -> None:
        """Add all of another one."""
        self.requests += other.requests
        self.successes += other.successes
        self.errors += other.errors
        self.unconnected += other.unconnected
