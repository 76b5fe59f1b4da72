"""A canary as values: how its steps are judged, where it stands, and what was seen at each step.

The one rule: what is judged is what proxies reported of the targets that gain calls, since the step had reached them;
too little to judge by is a verdict of its own, and never taken for a good one in silence. The words are Flagger's.
Source: https://docs.flagger.app/usage/how-it-works#canary-analysis
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from meshwright.model.identity import Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Verdict: TypeAlias = Literal["passed", "failed", "inconclusive"]
Outcome: TypeAlias = Literal["passed", "failed", "pending"]
"""`pending`: not enough was reported yet."""
Percent: TypeAlias = Annotated[float, Meta(ge=0, le=100)]

MOST_CHECKS = 100
"""Checks of one step that are kept, the newest."""
_SHOWN = 3
"""Targets of which a sentence tells."""


class CanarySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In which steps weights are shifted, and by what each of them is judged."""

    weights: Annotated[tuple[Annotated[int, Meta(ge=1, le=100)], ...], Meta(min_length=1, max_length=100)]
    """Percent of the way from what runs to what is wanted, ever more; what is wanted itself comes after the last."""
    interval: Annotated[float, Meta(ge=0.1, le=3600)] = 60
    """Seconds between two checks."""
    iterations: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Checks that must pass at each step."""
    threshold: Annotated[int, Meta(ge=1, le=1000)] = 5
    """Failed checks, of all steps together, with which the canary fails."""
    progress_deadline: Annotated[float, Meta(ge=1, le=86_400)] = 600
    """Seconds without anything that could be judged after which it is inconclusive."""
    min_success: Percent = 99
    """Percent of the calls to a target that must not fail."""
    max_duration: Annotated[float, Meta(gt=0, le=3_600_000)] | None = 500
    """Milliseconds within which 99 % of them must be answered; None for whatever it takes."""
    min_requests: Annotated[int, Meta(ge=1, le=1_000_000)] = 10
    """Calls to a target without which nothing is judged."""
    shared: Literal["inconclusive", "count"] = "inconclusive"
    """What is made of calls that came to a target by routes that are not shifted, where they cannot be told apart;
    with `count` they are judged like those of the step."""
    inconclusive: Literal["return", "proceed"] = "return"
    """What a step comes to of which too little was reported."""
    lease: Annotated[float, Meta(ge=1, le=3600)] = 60
    """Seconds without a word from the client after which the control plane returns the canary."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A target of a route, and its share of the route's calls in percent."""

    node: Key
    port: int | None = None
    before: float
    after: float


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """A route whose shares differ between what runs and what is wanted."""

    route: Key
    shares: tuple[Share, ...]

    @property
    def rising(self) -> tuple[Key, ...]:
        """The nodes that gain calls, which are those to be judged."""
        return tuple(dict.fromkeys(one.node for one in self.shares if one.after > one.before))


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What was reported of the calls to one target, by the proxies that get to it by a route that is shifted."""

    node: Key
    caller: Key | None = None
    """Of whose proxies; None for those of several callers."""
    requests: int = 0
    """Those that have ended, well or not."""
    errors: int = 0
    """Answers from 500 on, resets, timeouts, calls without a connection; over gRPC, what is the server's fault."""
    unconnected: int = 0
    overdue: int = 0
    """Those since the step began that are under way for longer than the settings' `max_duration`, at least."""
    issued: int = 0
    """Those since the step began, of which `overdue` are; 0 where calls may take whatever they take."""
    measured: int = 0
    """Calls of which the time was told."""
    p99: float | None = None
    """Milliseconds within which 99 % of those were answered; of fewer that are judged, all but 1 % of their sum."""
    others: tuple[Key, ...] = ()
    """Routes that are not shifted, by which the same proxies get to it: their calls are in all figures."""
    own: int | None = None
    """Requests that the shifted routes brought, by their weights; None where that cannot be told."""

    @property
    def success(self) -> float | None:
        """Percent of the calls that did not fail; None without any."""
        return 100 * (self.requests - min(self.errors, self.requests)) / self.requests if self.requests else None


class CanaryCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the figures since the last that could be judged."""

    at: int
    """Milliseconds since the epoch, UTC."""
    outcome: Outcome
    told: str
    figures: tuple[Figures, ...] = ()
    """Of each target, of all callers together."""
    callers: tuple[Figures, ...] = ()
    """Of single callers, where theirs alone fail."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What a step came to: the evidence for the release that follows it."""

    release: int
    """The number of the step's release."""
    step: int
    weight: int
    verdict: Verdict
    told: str
    began_at: int
    """When the step had reached the proxies, in milliseconds since the epoch, UTC; 0 where it never did."""
    ended_at: int
    checks: tuple[CanaryCheck, ...] = ()


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of which canary a release is."""

    first: int
    """The number of the canary's first release, which is its name."""
    returns_to: int
    """The release that is restored where it does not succeed."""
    state: Literal["step", "finished", "returned"]
    step: int
    """Counted from 1; of what ends it, that of the last step."""
    steps: tuple[int, ...]
    """The weights of all steps: those of the settings that differ once they are whole numbers, and before them 0
    where something new has to be there first."""
    weight: int
    """Percent of the way."""
    settings: CanarySettings
    target: str
    """The digest of the content that it leads to."""
    shifts: tuple[Shift, ...]
    failed: int = 0
    """Checks that failed so far."""
    judged: Judged | None = None
    """What the step before came to; None for the first."""

    @property
    def targets(self) -> tuple[Key, ...]:
        """The nodes that any of its routes leads to."""
        return tuple(dict.fromkeys(share.node for one in self.shifts for share in one.shares))

    @property
    def rising(self) -> tuple[Key, ...]:
        """The nodes that gain calls on any of its routes."""
        return tuple(dict.fromkeys(node for one in self.shifts for node in one.rising))


def ascending(weights: Sequence[int]) -> bool:
    """Whether each step shifts more than the one before it."""
    return all(one < other for one, other in itertools.pairwise(weights))


def weights_of(text: str) -> tuple[int, ...]:
    """The steps in `5,20,50` or, as the width of a step and the highest weight, in `10/50`.

    Raises:
        ValueError: they are neither, or do not rise from 1 to 100 at most.
    """
    width, slash, highest = text.partition("/")
    words = [word.strip() for word in ((width, highest) if slash else text.split(","))]
    numbers = [int(word) for word in words if word.isascii() and word.isdecimal() and len(word) <= 3]
    if len(numbers) == len(words):
        found = tuple(range(numbers[0], numbers[1] + 1, numbers[0] or 1)) if slash else tuple(numbers)
        if found and ascending(found) and found[0] >= 1 and found[-1] <= 100:
            return found
    raise ValueError(
        "takes rising percents of the way to the new weights, such as 5,20,50, or the width of a step and the "
        "highest one, such as 10/50"
    )


def looked(
    figures: Iterable[Figures], settings: CanarySettings, at: int, apart: Iterable[Figures] = ()
) -> CanaryCheck:
    """The check that the figures of all targets come to: failed where one of them fails, passed where all pass.

    It fails as well where the calls of one caller do that `apart` from others: enough of them, but few among all.
    """
    known = tuple(figures)
    bad = [(one, why) for one in apart for came, why in (_judged(one, settings),) if came == "failed"]
    if bad and not any(_judged(one, settings)[0] == "failed" for one in known):
        alone = "; ".join(f"{one.node.name}, of {one.caller.name}: {why}" for one, why in bad[:_SHOWN] if one.caller)
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        failing = tuple(one for one, _ in bad)
        return CanaryCheck(at=at, outcome="failed", told=alone + more, figures=known, callers=failing)
    found = [_judged(one, settings) for one in known]
    for outcome in ("failed", "pending"):
        told = [f"{one.node.name}: {why}" for one, (came, why) in zip(known, found, strict=True) if came == outcome]
        if told:
            more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
            return CanaryCheck(at=at, outcome=outcome, told="; ".join(told[:_SHOWN]) + more, figures=known)
    told = [f"{one.node.name}: {why}" for one, (_, why) in zip(known, found, strict=True)]
    return CanaryCheck(at=at, outcome="passed", told="; ".join(told[:_SHOWN]), figures=known)


def _judged(one: Figures, settings: CanarySettings) -> tuple[Outcome, str]:
    mixed = bool(one.others) and settings.shared != "count"
    own = one.own if mixed and one.own is not None else one.requests
    if own + one.overdue < settings.min_requests:
        among = f" by what is shifted, {one.requests} in all" if mixed else ""
        return "pending", f"{own + one.overdue} of at least {settings.min_requests} requests reported{among}"
    told, why = _answered(one, own, settings)
    if why:
        return "failed", f"{told}{why}"
    if untold(one, settings):
        others = ", ".join(route.path for route in one.others[:_SHOWN])
        return "pending", f"{told}, and it cannot be told which of them came by {others}, which is not shifted"
    if settings.max_duration is None:
        return "passed", told
    if one.p99 is None or one.measured < settings.min_requests:
        return "pending", f"{told}; times of {one.measured} of at least {settings.min_requests} reported"
    told = f"{told}, {'all but 1 % of so many' if own < one.requests else '99 %'} within {one.p99:.0f} ms"
    if one.p99 > settings.max_duration:
        return "failed", f"{told}, at most {settings.max_duration:g} ms are allowed"
    return "passed", told


def _answered(one: Figures, own: int, settings: CanarySettings) -> tuple[str, str]:
    """How many requests were answered, and what is wrong with that, "" for nothing: `own` is how many can be bad."""
    told = "no request has ended"
    if own:
        success = 100 * max(own - one.errors, 0) / own
        many = f"{own} requests" if own == one.requests else f"{own} of {one.requests} requests by what is shifted"
        told = f"{many}, {percent(success)} succeeded"
        if own < one.requests and one.errors:
            told += " if every failure is theirs"
        if success < settings.min_success:
            return told, f", at least {percent(settings.min_success)} must"
    issued = one.issued * own / one.requests if one.requests else one.issued
    if settings.max_duration is not None and 100 * one.overdue > issued:
        late = f"of {one.issued} since the step began, {one.overdue} were still under way"
        return told, f"; {late} after more than {settings.max_duration:g} ms, at most 1 % may be"
    return told, ""


def untold(one: Figures, settings: CanarySettings) -> bool:
    """Whether there are calls enough, and it cannot be told which of them the step brought."""
    mixed = bool(one.others) and settings.shared != "count"
    return mixed and one.own is None and one.requests >= settings.min_requests


def percent(value: float) -> str:
    """`99.4 %`: rounded down, so that what is below a bound never reads as the bound."""
    return f"{int(value * 100) / 100:g} %"
