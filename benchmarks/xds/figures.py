"""One measured figure beside its floor, the judgement of it, and both as a table or JSON.

The one rule: like is compared with like. A percentile's floor is the same percentile of the floor, measured in the
same run with the same bytes; what has neither floor nor target is told and not judged.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from benchmarks.report import Table, machine, ratio, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = ("what", "measured", "floor", "ratio", "target", "runs", "verdict")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of one run, or the median of several; in seconds unless `unit` says otherwise."""

    what: str
    value: float
    unit: str = "s"
    floor: float | None = None
    """The same of a bare gRPC loop, in the same run."""
    target: float | None = None
    """What it may be at most."""
    most: float | None = None
    """How many times the floor it may be at most."""
    runs: int = 1

    @property
    def ratio(self) -> float | None:
        """How many times the floor it is; None without a floor, or above one of nothing."""
        return self.value / self.floor if self.floor else None

    @property
    def verdict(self) -> Literal["met", "missed", ""]:
        """Whether it is within its targets, of which it may have none."""
        if self.target is None and self.most is None:
            return ""
        within = self.target is None or self.value <= self.target
        near = self.most is None or (self.ratio is not None and self.ratio <= self.most)
        return "met" if within and near else "missed"

    @property
    def row(self) -> tuple[str, ...]:
        """What the table tells, in the order of `COLUMNS`."""
        targets = [] if self.target is None else [f"≤ {_shown(self.target, self.unit)}"]
        targets += [] if self.most is None else [f"≤ {self.most:g} times the floor"]
        floor = "" if self.floor is None else _shown(self.floor, self.unit)
        over = ratio(self.value, self.floor) if self.floor else ""
        measured = _shown(self.value, self.unit)
        return (self.what, measured, floor, over, ", ".join(targets), str(self.runs), self.verdict)

    @property
    def document(self) -> dict[str, Any]:
        """The same for programs."""
        return {**msgspec.to_builtins(self), "ratio": self.ratio, "verdict": self.verdict}


def combined(runs: Sequence[Sequence[Figure]]) -> list[Figure]:
    """The medians of each figure and of its floor over runs of the same case."""
    found = []
    for several in zip(*runs, strict=True):
        floors = [one.floor for one in several if one.floor is not None]
        found.append(
            msgspec.structs.replace(
                several[0],
                value=statistics.median(one.value for one in several),
                floor=statistics.median(floors) if floors else None,
                runs=len(several),
            )
        )
    return found


def missed(figures: Sequence[Figure]) -> list[Figure]:
    """Those that are beyond a target."""
    return [one for one in figures if one.verdict == "missed"]


def table(figures: Sequence[Figure], note: str) -> Table:
    """The figures for people."""
    return Table("Push", note, COLUMNS, tuple(one.row for one in figures))


def document(figures: Sequence[Figure], note: str) -> dict[str, Any]:
    """The figures for programs."""
    return {"machine": machine(), "note": note, "figures": [one.document for one in figures]}


def late(taken: Sequence[float]) -> float:
    """The 99th percentile by nearest rank: of fewer than a hundred the largest."""
    return sorted(taken)[math.ceil(0.99 * len(taken)) - 1]


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """How steeply the line that lies closest to (time, value) rises, by least squares."""
    return statistics.linear_regression([at for at, _ in samples], [value for _, value in samples]).slope


def _shown(value: float, unit: str) -> str:
    if unit == "s":
        return seconds(value) if value >= 0.001 else f"{value * 1e6:.0f} µs"
    return f"{value:,.1f} {unit}".rstrip()
