"""How long the command line takes to start, beside a bare interpreter."""

from __future__ import annotations

import statistics
import sys

from benchmarks.report import Table, command, ratio, spread, timed

RUNS = 20


def run() -> Table:
    """Start-up of `--help` and of a bare interpreter, in one run."""
    bare = timed(command(sys.executable, "-c", "pass"), RUNS)
    empty = timed(command(sys.executable, "-c", "import click"), RUNS)
    rows = [("python -c pass (floor)", spread(bare), "1.00"), ("import click", spread(empty), _against(empty, bare))]
    for name in ("--help", "validate --help", "rules"):
        taken = timed(command(sys.executable, "-m", "meshwright.cli", *name.split()), RUNS)
        rows.append((f"meshwright {name}", spread(taken), _against(taken, bare)))
    return Table("Start-up", f"Median (range) of {RUNS} runs.", ("command", "time", "ratio to floor"), tuple(rows))


def _against(taken: list[float], floor: list[float]) -> str:
    return ratio(statistics.median(taken), statistics.median(floor))
