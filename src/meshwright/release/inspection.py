"""What one verification of a release looked at, and what it saw: the evidence that a release is good, or is not.

The one rule: what could not be looked at is told as such, and is taken for good only where somebody said so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from meshwright.release.records import Build, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

Outcome: TypeAlias = Literal["passed", "failed", "inconclusive", "pending"]
"""`pending`: not yet as it should be, and may still become so. None is pending in what is kept."""
Aspect: TypeAlias = Literal["proxies", "endpoints", "routes", "telemetry"]
Judgement: TypeAlias = Literal["verified", "failed", "inconclusive"]

MOST_SIGHTS = 1_000
"""Sights of one check that are kept, those that did not pass first."""
_LONGEST = 2_000
"""Characters of what is told of one."""
_BY_WEIGHT: tuple[Outcome, ...] = ("failed", "pending", "inconclusive", "passed")
"""What one of them makes of all, the first that there is."""
_NEEDED: frozenset[Aspect] = frozenset({"proxies"})
"""What nobody can do without: a release that no proxy has is not known to be good in any way."""


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    subject: str
    """A proxy by its id, an endpoint as `OBJECT ADDRESS[:PORT]`, or an object by its path."""
    outcome: Outcome
    told: str
    """What was seen, in a sentence without its full stop."""
    at: int
    """When, in milliseconds since the epoch, UTC."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One question and what came of it."""

    name: Aspect
    by: Literal["control-plane", "client"]
    """Who looked: what a client saw is its word, which is kept apart from what the control plane saw itself."""
    outcome: Outcome
    told: str
    began_at: int
    ended_at: int
    """Milliseconds since the epoch, UTC."""
    sights: tuple[Sight, ...] = ()
    omitted: int = 0
    """How many more sights there were."""


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """One verification of one release, as it is kept."""

    at: int
    """When it was judged, in milliseconds since the epoch, UTC."""
    principal: str
    judgement: Judgement
    unprobed_allowed: bool = False
    """Whether what could not be looked at was to be taken for good."""
    checks: tuple[Check, ...] = ()
    build: Build | None = None
    """What the job that asked for it claims of itself."""
    tool_version: str = ""

    @property
    def status(self) -> Status | None:
        """What the release becomes by it; None for nothing else than it was."""
        return {"verified": Status.VERIFIED, "failed": Status.FAILED, "inconclusive": None}[self.judgement]


def check(
    name: Aspect, sights: Iterable[Sight], told: str, *, by: Literal["control-plane", "client"], at: int
) -> Check:
    """The check that `sights` come to; what is told of all where there are none, or all passed."""
    found = sorted(sights, key=lambda one: _BY_WEIGHT.index(one.outcome))
    outcome = found[0].outcome if found else "passed"
    told = told if outcome == "passed" else _summary(found)
    return _bounded(
        Check(name=name, by=by, outcome=outcome, told=told, began_at=at, ended_at=at, sights=tuple(found))
    )


def ended(one: Check) -> Check:
    """`one` when its time is over: what was still to come did not, and what was waited for was not seen."""
    left: Outcome = "inconclusive" if one.name in {"routes", "telemetry"} else "failed"

    def over(outcome: Outcome) -> Outcome:
        return left if outcome == "pending" else outcome

    sights = tuple(msgspec.structs.replace(sight, outcome=over(sight.outcome)) for sight in one.sights)
    return msgspec.structs.replace(one, outcome=over(one.outcome), sights=sights)


def judged(checks: Iterable[Check], *, unprobed_allowed: bool) -> Judgement:
    """What all checks together say of a release."""
    known = tuple(checks)
    if any(one.outcome in {"failed", "pending"} for one in known):
        return "failed"
    open_ = [one for one in known if one.outcome == "inconclusive"]
    if not {one.name for one in known} >= _NEEDED or any(one.name in _NEEDED for one in open_):
        return "inconclusive"
    return "inconclusive" if open_ and not unprobed_allowed else "verified"


def _summary(found: list[Sight]) -> str:
    """How many are as the first one, and what is told of it."""
    alike = [one for one in found if one.outcome == found[0].outcome]
    many = f"{len(alike)} of {len(found)}: " if len(found) > 1 else ""
    return f"{many}{found[0].subject}: {found[0].told}"


def _bounded(one: Check) -> Check:
    kept = tuple(
        msgspec.structs.replace(sight, subject=sight.subject[:_LONGEST], told=sight.told[:_LONGEST])
        for sight in one.sights[:MOST_SIGHTS]
    )
    omitted = one.omitted + len(one.sights) - len(kept)
    return msgspec.structs.replace(one, told=one.told[:_LONGEST], sights=kept, omitted=omitted)


def bounded(checks: Iterable[Check]) -> tuple[Check, ...]:
    """`checks` as far as they are kept: sights that did not pass come first, and words are cut."""
    by_weight = (
        msgspec.structs.replace(
            one, sights=tuple(sorted(one.sights, key=lambda sight: _BY_WEIGHT.index(sight.outcome)))
        )
        for one in checks
    )
    return tuple(map(_bounded, by_weight))
