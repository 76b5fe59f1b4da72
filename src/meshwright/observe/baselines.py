"""What had been counted of calls when each release had propagated, so that what came while it ran can be told apart.

The one rule: a release is measured against what ran well before it, never against one that failed; in memory, as the
counts are.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeAlias

from meshwright.observe.counting import Counts

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from meshwright.model.identity import Key
    from meshwright.observe.traffic import Traffic

    Way: TypeAlias = tuple[Key, Key, str]


_MOST = 50
"""Releases of a stack that are remembered."""


class Baselines:
    """By mesh and stack, what was counted when each of the newest releases had propagated."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[tuple[int, Mapping[Way, tuple[int, int]]]]] = {}

    def keep(self, mesh: str, stack: str, number: int, traffic: Traffic) -> None:
        """Release `number` has propagated now, unless that is known."""
        known = self._kept.setdefault((mesh, stack), [])
        if not known or known[-1][0] < number:
            known.append((number, _counted(mesh, traffic)))
            del known[:-_MOST]

    def since(
        self, mesh: str, stack: str, number: int, traffic: Traffic, bad: Container[int] = ()
    ) -> Mapping[Way, tuple[Counts, Counts]]:
        """What was counted before release `number` and since, by way; all is since where nothing is known of before.

        Before is what was counted while other releases ran than those that are `bad`.
        """
        now, known = _counted(mesh, traffic), self._kept.get((mesh, stack), [])
        place = next((at for at, (one, _) in enumerate(known) if one == number), None)
        marks = known[: place + 1] if place is not None else []
        found = {way: (Counts(), Counts(requests=one[0], errors=one[1])) for way, one in now.items()}
        if not marks:
            return found
        # What came before the first that is remembered is nobody's whose number is known.
        spans = [(0, {}, marks[0][1]), *((one, begin, end) for (one, begin), (_, end) in itertools.pairwise(marks))]
        for way, (before, after) in found.items():
            for _, begin, end in (span for span in spans if span[0] not in bad):
                (first, failed_first), (last, failed_last) = begin.get(way, (0, 0)), end.get(way, (0, 0))
                before.add(Counts(requests=last - first, errors=failed_last - failed_first))
            requests, errors = marks[-1][1].get(way, (0, 0))
            after.requests -= requests
            after.errors -= errors
        return found


def _counted(mesh: str, traffic: Traffic) -> Mapping[Way, tuple[int, int]]:
    """Calls and those that failed since the control plane was started, by way."""
    return {(one.caller, one.callee, one.way): (one.total.requests, one.total.errors) for one in traffic.edges(mesh)}
