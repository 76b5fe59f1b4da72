"""`python -m benchmarks.xds [--only CASE] [--runs N] [--seconds N] [--limit N] [--format markdown|json] [--strict]`.

    build       one proxy's snapshot with 20 backends, after a change that concerns it
    commit      a write (validated, stored) to the last ack of 20 real Envoys, 100 services
    fan-out     1,000 delta streams, all changed, then one of them
    memory      resident memory a proxy with 20 backends
    loads       the same of real Envoys that report whom they call
    reconnect   2,000 streams come back at once with what they have
    burst       200 writes at once: how many pushes a proxy gets
    steady      2,000 streams and a change a second, for `--seconds`

The floor is a bare gRPC loop that sends the same bytes to the same clients in the same run, once the control plane
has told over CSDS what they are. Where nothing is sent it is what the row says, or there is none.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.process import end_when_asked
from benchmarks.report import machine
from benchmarks.xds.figures import combined, document, missed, table
from benchmarks.xds.masses import loads, memory, reconnect, steady
from benchmarks.xds.pushes import build, burst, commit, fan_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from benchmarks.xds.figures import Figure

Case: TypeAlias = "Callable[[int], Iterator[Figure]]"

CASES: dict[str, Case] = {
    "build": build,
    "commit": commit,
    "fan-out": fan_out,
    "memory": memory,
    "loads": loads,
    "reconnect": reconnect,
    "burst": burst,
    "steady": steady,
}
"""Each is told how many seconds the steady case lasts, runs once, and tells its figures."""
FAILURES = 2
"""Runs of a case that may fail, as when a machine is too crowded, before it is given up."""


def parsed(words: Sequence[str] | None, cases: Iterable[str] = CASES) -> argparse.Namespace:
    """What was asked for."""
    arguments = argparse.ArgumentParser(
        prog="python -m benchmarks.xds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--only", choices=list(cases), action="append", help="this case; may be repeated")
    arguments.add_argument("--runs", type=int, default=5, help="of which the median is told [5]")
    arguments.add_argument("--seconds", type=int, default=600, help="how long the steady case lasts, once [600]")
    arguments.add_argument(
        "--limit", type=int, default=300, help="no run of a case begins that would end later [300 s]"
    )
    arguments.add_argument("--format", choices=["markdown", "json"], default="markdown")
    arguments.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    return arguments.parse_args(words)


def measured(chosen: argparse.Namespace, cases: Mapping[str, Case] = CASES) -> list[Figure]:
    """The figures of the chosen cases in order."""
    return [one for name in chosen.only or cases for one in _repeated(name, cases[name], chosen)]


def _repeated(name: str, case: Case, chosen: argparse.Namespace) -> list[Figure]:
    """The medians of one case over its runs: fewer than asked where they would take too long or fail.

    Raises:
        RuntimeError: no run gave a figure.
    """
    runs: list[list[Figure]] = []
    began, tried, due = time.monotonic(), 0, 1 if name == "steady" else chosen.runs
    while len(runs) < due and tried < due + FAILURES:
        took = time.monotonic() - began
        if runs and took + took / tried > chosen.limit:
            break
        tried += 1
        print(f"Running {name}, run {len(runs) + 1} …", file=sys.stderr)
        try:
            runs.append(list(case(chosen.seconds)))
        except (OSError, RuntimeError) as error:
            print(f"A run of {name} failed: {error}", file=sys.stderr)
    if not runs:
        raise RuntimeError(f"none of {tried} runs of {name} came to its end")
    return combined(runs)


def noted(chosen: argparse.Namespace) -> str:
    """How the figures came about."""
    return (
        f"On {machine()}. Medians of up to {chosen.runs} runs (as many as a row says; a case stops after "
        f"{chosen.limit} s), of the floor too. The steady case is one run of {chosen.seconds} s, of 600 in full. "
        "The floor: the same bytes to the same clients from a bare gRPC loop, in the same run; of a build, "
        "to serialise what it made. p99 is by nearest rank, of fewer than 100 values the largest. Times run from "
        "before the request is sent to the answer that all have acked (commit), or to the last ack written (streams)."
    )


def main(words: Sequence[str] | None = None, cases: Mapping[str, Case] = CASES) -> int:
    """Measure and print; the exit code, 1 where a target is missed and that was to count."""
    chosen = parsed(words, cases)
    figures, note = measured(chosen, cases), noted(chosen)
    if chosen.format == "json":
        print(json.dumps(document(figures, note), indent=2))
    else:
        print(table(figures, note).markdown())
    beyond = missed(figures)
    for one in beyond:
        print(f"Missed: {one.what}", file=sys.stderr)
    return int(bool(beyond) and chosen.strict)


if __name__ == "__main__":
    end_when_asked()
    sys.exit(main())
