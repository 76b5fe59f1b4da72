"""The push against its targets, each beside the raw floor of the same run: `python -m benchmarks.xds --help`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.report import Table

SHORTLY = ("--runs", "3", "--seconds", "60", "--limit", "60")
"""How it is run beside the other benchmarks."""


def run() -> Table:
    """All the cases, shortened."""
    from benchmarks.xds.__main__ import measured, noted, parsed  # noqa: PLC0415 - its processes are of this package too
    from benchmarks.xds.figures import table  # noqa: PLC0415

    chosen = parsed(SHORTLY)
    note = f"{noted(chosen)} Shortened: `python -m benchmarks.xds` runs it in full."
    return table(measured(chosen), note)
