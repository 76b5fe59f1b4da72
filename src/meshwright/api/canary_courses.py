"""What is known of the canaries under way, in memory: what was seen since a step began, and what checks came to.

The one rule: only what was reported since the step had reached the proxies counts; after a restart of the control
plane a step is looked at anew.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

from meshwright.api.canary_calls import judged_by
from meshwright.observe import Watch
from meshwright.release.canary import MOST_CHECKS, CanaryCheck, Judged, Verdict, looked

if TYPE_CHECKING:
    from collections.abc import Collection

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.observe import Traffic
    from meshwright.release import Release


@dataclasses.dataclass
class Course:
    """One step under way; times are milliseconds since the epoch, UTC."""

    number: int
    """Of the step's release."""
    since: int
    """When it was looked at first, or could be judged last."""
    failed: int
    """Checks of the canary that failed."""
    watch: Watch
    began_at: int = 0
    """When it had reached the proxies; 0 as long as it has not."""
    checked_at: int = 0
    passed: int = 0
    checks: list[CanaryCheck] = dataclasses.field(default_factory=list)
    present: set[Key] = dataclasses.field(default_factory=set)
    """Targets of which an instance was there."""
    missing: dict[Key, int] = dataclasses.field(default_factory=dict)
    """Since when others, or those, have none."""
    waiting: str = ""
    """What is waited for, in a few words."""

    def judged(self, release: Release, verdict: Verdict, told: str, at: int) -> Judged:
        """What the step came to."""
        canary = release.part
        return Judged(
            release=release.number,
            step=canary.step,
            weight=canary.weight,
            verdict=verdict,
            told=told,
            began_at=self.began_at,
            ended_at=at,
            checks=tuple(self.checks[-MOST_CHECKS:]),
        )


class Canaries:
    """The courses by mesh and stack; for the event loop's thread alone."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._courses: dict[tuple[str, str], Course] = {}
        self._turns: dict[tuple[str, str], asyncio.Lock] = {}
        self.heard: dict[tuple[str, str], int] = {}
        """When the client of each was heard of last by this process."""

    def turn(self, mesh: str, stack: str) -> asyncio.Lock:
        """What keeps two from looking at one canary at once."""
        return self._turns.setdefault((mesh, stack), asyncio.Lock())

    def course(self, newest: Release, now: int) -> Course:
        """That of the step `newest`, begun now where there is none."""
        found = self._courses.get((newest.mesh, newest.stack))
        if found is not None and found.number == newest.number:
            return found
        self.end(newest.mesh, newest.stack)
        canary = newest.part
        found = Course(newest.number, now, canary.failed, Watch(canary.targets, canary.settings.max_duration))
        self._courses[newest.mesh, newest.stack] = found
        return found

    def begin(self, course: Course, now: int) -> None:
        """The step has reached the proxies: what they report from now on counts."""
        course.began_at = course.since = course.checked_at = now
        self._traffic.begin(course.watch)

    def end(self, mesh: str, stack: str) -> None:
        """No step of the stack is under way any more."""
        found = self._courses.pop((mesh, stack), None)
        if found is not None and found.began_at:
            self._traffic.end(found.watch)

    def check(self, course: Course, newest: Release, callers: Collection[Key], graph: Graph, now: int) -> CanaryCheck:
        """Look at what was reported since it could be judged last, and count what comes of it."""
        canary = newest.part
        figures, apart = judged_by(graph, course.watch, canary, callers)
        found = looked(figures, canary.settings, now, apart)
        course.checked_at = now
        if found.outcome == "pending":
            course.waiting = found.told
            return found
        course.watch.forget()
        course.checks.append(found)
        course.since, course.waiting = now, ""
        course.passed += found.outcome == "passed"
        course.failed += found.outcome == "failed"
        return found
