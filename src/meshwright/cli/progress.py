"""How a run of tests goes on, while it does: a line a test in a log, one changing line on a terminal.

The one rule: what failed stays to be read; on a terminal, what passed does not.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

_CLEAR = "\r\x1b[K"


class Progress:
    """Counts tests as they end."""

    def __init__(self, stream: TextIO, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._total = total
        self._clock = clock
        self._began_at = clock()
        self._done = self._failed = 0

    def told(self, line: str, *, passed: bool) -> None:
        """One more test has ended; `line` says which and how."""
        self._done += 1
        self._failed += not passed
        seconds = self._clock() - self._began_at
        if not self._stream.isatty():
            self._stream.write(f"[{self._done}/{self._total}, {seconds:.0f} s] {line}\n")
        else:
            kept = "" if passed else f"{line}\n"
            failed = f", {self._failed} failed" if self._failed else ""
            self._stream.write(f"{_CLEAR}{kept}{self._done} of {self._total} tests{failed}, {seconds:.0f} s")
        self._stream.flush()

    def end(self) -> None:
        """No more will end."""
        if self._stream.isatty():
            self._stream.write(_CLEAR)
            self._stream.flush()
