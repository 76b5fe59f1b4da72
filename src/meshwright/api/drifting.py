"""Drift as an event: told once, however often it is looked at.

The one rule: what is told are numbers and who wrote; which objects and values is for those who may read the mesh.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from meshwright.telemetry.happening import beside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.release import Difference, Release
    from meshwright.telemetry.happening import Event


class Drifts:
    """What was told last of each stack; another control plane, or the next start, tells of it again."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[object, ...]] = {}

    def news(self, one: Release, found: Sequence[Difference], *, principal: str, at: int) -> Event | None:
        """The event that a stack drifted from `one`, its newest release, as `principal` found; None for no news.

        What the stack's own owner wrote is no drift; it is counted beside.
        """
        drifted = [difference for difference in found if difference.kind == "drift"]
        place = one.mesh, one.stack
        seen = (one.number, *((it.key, it.state, it.author, it.fields) for it in drifted))
        if not drifted:
            self._told.pop(place, None)
            return None
        if self._told.get(place) == seen:
            return None
        self._told[place] = seen
        states = Counter(difference.state for difference in drifted)
        writers = sorted({difference.author.principal for difference in drifted if difference.author is not None})
        return beside(
            "drift",
            "found",
            at,
            mesh=one.mesh,
            stack=one.stack,
            title=one.title,
            principal=principal,
            said={
                "release": one.title,
                "drift.objects": len(drifted),
                **{f"drift.{state}": states[state] for state in ("changed", "missing", "extra")},
                "drift.unreleased": len(found) - len(drifted),
                "drift.writers": ", ".join(writers),
            },
        )
