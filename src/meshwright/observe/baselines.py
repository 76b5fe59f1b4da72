"""What had been counted of calls when a release had propagated, so that what comes after it can be told apart.

The one rule: one release a stack, the newest, and of it the counts of one mesh; in memory, as the counts are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from meshwright.observe.counting import Counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.model.identity import Key
    from meshwright.observe.traffic import Traffic

    Way: TypeAlias = tuple[Key, Key, str]


class Baselines:
    """By mesh and stack, what was counted when the newest release had propagated."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[int, Mapping[Way, tuple[int, int]]]] = {}

    def keep(self, mesh: str, stack: str, number: int, traffic: Traffic) -> None:
        """Release `number` has propagated now, unless that is known."""
        known = self._kept.get((mesh, stack))
        if known is None or known[0] < number:
            found = {
                (one.caller, one.callee, one.way): (one.total.requests, one.total.errors)
                for one in traffic.edges(mesh)
            }
            self._kept[mesh, stack] = (number, found)

    def since(self, mesh: str, stack: str, number: int, traffic: Traffic) -> Mapping[Way, tuple[Counts, Counts]]:
        """What was counted before the release and since, by way; all is since where nothing is known of before."""
        known = self._kept.get((mesh, stack))
        before = known[1] if known is not None and known[0] == number else {}
        found = {}
        for one in traffic.edges(mesh):
            requests, errors = before.get((one.caller, one.callee, one.way), (0, 0))
            after = Counts(requests=one.total.requests - requests, errors=one.total.errors - errors)
            found[one.caller, one.callee, one.way] = (Counts(requests=requests, errors=errors), after)
        return found
