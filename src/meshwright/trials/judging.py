"""Whether what was seen is what was expected, and what is told of it when it is not.

The one rule: every expectation that was not met is told, each with what happened instead.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from meshwright.trials.seen import Seen
from meshwright.trials.shares import interval
from meshwright.trials.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from meshwright.trials.seen import CallSeen
    from meshwright.trials.trial import Expect


_TOLD = 5
"""Calls of a trial that are told in full."""


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation that was not met."""

    what: str
    """The member of `Expect`, as test files write it."""
    expected: str
    happened: str
    calls: tuple[int, ...] = ()
    """The calls that did not meet it, by their place from 0; none where all of them together did not."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A trial, what was seen, and what of it was not as expected."""

    trial: Trial
    seen: Seen
    mismatches: tuple[Mismatch, ...]
    duration: float = 0.0
    """Seconds that it took."""
    again: bool = False
    """Whether it is of a second run, after a first that failed."""

    skipped: str = ""
    """Why it was not run; "" when it was."""

    @property
    def outcome(self) -> str:
        """`passed`, `failed`, `broken` (it could not be run) or `skipped`."""
        if self.skipped:
            return "skipped"
        return "broken" if self.seen.fault else "failed" if self.mismatches else "passed"

    @property
    def telling(self) -> tuple[int, ...]:
        """The calls, by their place from 0, that are told in full: a few, those that were not as expected first."""
        failing = sorted({index for one in self.mismatches for index in one.calls})
        rest = (index for index in range(len(self.seen.calls)) if index not in set(failing))
        return (*failing, *rest)[:_TOLD]

    @property
    def passed(self) -> bool:
        """Whether it ran and all was as expected."""
        return self.outcome == "passed"


def judge(trial: Trial, seen: Seen, duration: float = 0.0) -> Result:
    """The result of `trial`, of whose calls `seen` is what became; `duration` in seconds is told and not judged."""
    if seen.fault:
        return Result(trial=trial, seen=seen, mismatches=(), duration=duration)
    each = [dict(_of_one(trial.expect, one)) for one in seen.calls]
    allowed = trial.expect.errors
    found = list(_of_all(trial.expect, seen))
    failing = [index for index, wrong in enumerate(each) if wrong]
    if allowed is None:
        found = [*_merged(each), *found]
    elif len(failing) > allowed:
        first = "; ".join(f"{what}: expected {want}, {had}" for what, (want, had) in each[failing[0]].items())
        told = f"{len(failing)} of {len(each)} calls, the first: {first}"
        found.insert(0, Mismatch(what="errors", expected=f"at most {allowed}", happened=told, calls=tuple(failing)))
    return Result(trial=trial, seen=seen, mismatches=tuple(found), duration=duration)


def _merged(each: list[dict[str, tuple[str, str]]]) -> Iterator[Mismatch]:
    """One mismatch an expectation, with every call that did not meet it and what happened to the first of them."""
    calls: dict[str, list[int]] = {}
    for index, wrong in enumerate(each):
        for what in wrong:
            calls.setdefault(what, []).append(index)
    for what, indexes in calls.items():
        expected, happened = each[indexes[0]][what]
        if len(each) > 1:
            happened = f"{happened} (call {indexes[0] + 1}; {len(indexes)} of {len(each)} calls)"
        yield Mismatch(what=what, expected=expected, happened=happened, calls=tuple(indexes))


def _of_one(expect: Expect, one: CallSeen) -> Iterator[tuple[str, tuple[str, str]]]:
    """What one call did not meet: the expectation's name, what it asks, what happened."""
    yield from _answer(expect, one)
    yield from _way(expect, one)
    yield from _headers("headers", expect.headers, one.headers)
    yield from _headers("arrived", expect.arrived, one.arrived)


def _answer(expect: Expect, one: CallSeen) -> Iterator[tuple[str, tuple[str, str]]]:
    told = f" ({one.fault})" if one.fault else ""
    if expect.statuses and one.status not in expect.statuses:
        had = f"status {one.status}" if one.status else "no answer"
        yield "status", (_or(expect.statuses), f"{had}{told}")
    if expect.grpc_statuses and one.grpc_status not in expect.grpc_statuses:
        yield "grpc_status", (_or(expect.grpc_statuses), f"gRPC status {one.grpc_status}{told}")
    if expect.within is not None and one.elapsed > expect.within:
        yield "within", (f"at most {expect.within} ms", f"{one.elapsed:.0f} ms")
    if expect.served_by and one.node not in expect.served_by:
        yield "served_by", (_or(expect.served_by), f"{one.node or 'nobody'} answered{told}")
    if one.node in expect.not_served_by:
        yield "not_served_by", (f"not {_or(expect.not_served_by)}", f"{one.node} answered")


def _way(expect: Expect, one: CallSeen) -> Iterator[tuple[str, tuple[str, str]]]:
    if expect.path and one.path != expect.path:
        yield "path", (" → ".join(expect.path), " → ".join(one.path) or "nowhere")
    if expect.attempts is not None and not expect.attempts.hold(len(one.attempts)):
        where = Counter(attempt.instance for attempt in one.attempts)
        at = ", ".join(f"{count} at {instance}" for instance, count in where.items())
        yield "attempts", (str(expect.attempts), f"{len(one.attempts)} arrived{f' ({at})' if at else ''}")
    if expect.given_up is not None:
        yield from _given_up(expect, one)
    if expect.encryption is not None and one.encryption is not expect.encryption:
        yield "tls", (str(expect.encryption), "unknown" if one.encryption is None else str(one.encryption))
    if expect.peer is not None and one.peer != expect.peer:
        yield "peer", (expect.peer, one.peer or "no name")
    missing = [proxy for proxy in expect.spans if proxy not in {span.proxy for span in one.spans}]
    if missing:
        told = ", ".join(dict.fromkeys(span.proxy for span in one.spans)) or "none"
        yield "spans", (f"one from each of {', '.join(expect.spans)}", f"spans from {told}")


def _given_up(expect: Expect, one: CallSeen) -> Iterator[tuple[str, tuple[str, str]]]:
    bounds = expect.given_up
    if bounds is None:
        return
    waits = [attempt.given_up for attempt in one.attempts]
    if not waits:
        yield "given_up", (f"{bounds} ms", "nothing arrived")
    for wait in waits:
        if wait is None:
            yield "given_up", (f"{bounds} ms", "the attempt was not given up")
            return
        if not bounds.hold(round(wait)):
            yield "given_up", (f"{bounds} ms", f"given up after {wait:.0f} ms")
            return


def _headers(
    what: str, expected: Mapping[str, str | None], had: Mapping[str, str]
) -> Iterator[tuple[str, tuple[str, str]]]:
    for name, value in expected.items():
        seen = had.get(name)
        if seen != value:
            wanted = f"no {name}" if value is None else f"{name}: {value}"
            yield f"{what}.{name}", (wanted, f"no {name}" if seen is None else f"{name}: {seen}")


def _of_all(expect: Expect, seen: Seen) -> Iterator[Mismatch]:
    """What all calls together did not meet."""
    count = len(seen.calls)
    served = Counter(one.node for one in seen.calls)
    for node, share in expect.shares.items():
        low, high = interval(count, share, expect.confidence)
        if not low <= served[node] <= high:
            asked = f"{share:.1%} of {count}: {low} to {high} at {expect.confidence:.1%} confidence"
            yield Mismatch(what=f"shares.{node}", expected=asked, happened=f"{served[node]} of {count}")


def _or(values: Iterable[object]) -> str:
    return " or ".join(str(one) for one in values)
