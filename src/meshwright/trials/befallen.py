"""What is expected of single instances: those that a fault befalls are left alone for as long as they should be.

The one rule: it rests on which calls arrived at them, and when, as they saw it themselves. Times are milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from meshwright.model.identity import Kind
from meshwright.trials.trial import instance_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.trials.seen import Attempt, CallSeen, Seen
    from meshwright.trials.trial import Ejection, Trial

_OK = 200
_BEFORE = 0.9
"""What arrives within this part of the time for which calls are held came before any of them was answered."""

Wrong: TypeAlias = tuple[str, str, tuple[int, ...]]
"""What was expected, what happened, and the calls that did not meet it; none where all of them together did not."""


def avoided(trial: Trial, seen: Seen) -> Iterator[Wrong]:
    """What is wrong where a trial expects that nobody calls those whom its faults befall."""
    if not trial.expect.avoided:
        return
    if seen.unnoticed:
        yield "callers find out who is ill", seen.unnoticed, ()
    moments = {one.moment for one in seen.calls}
    for given in trial.given:
        names = _instances(given.at, given.instances)
        told = ", ".join(sorted(names)) or given.at
        found = _arrived(seen, given.at, names)
        wrong = tuple(index for index, moment in found.items() if moment == "during")
        if wrong:
            yield f"no call at {told} while the fault holds", f"{len(wrong)} arrived (call {wrong[0] + 1})", wrong
        for moment in ("before", "after"):
            if moment in moments and moment not in found.values():
                yield f"some calls at {told} {moment} the fault", "none arrived", ()


def ejected(trial: Trial, seen: Seen) -> Iterator[Wrong]:
    """What is wrong where a trial expects that an instance is called so often, and then not for a while."""
    wanted = trial.expect.ejected
    if wanted is None:
        return
    (name,) = _instances(trial.given[0].at, 1)
    times = sorted(
        one.began + attempt.at for one in seen.calls for attempt in one.attempts if attempt.instance == name
    )
    happened = _away(wanted, times, max((one.began + one.elapsed for one in seen.calls), default=0.0))
    if happened:
        yield f"{name} is {wanted}", happened, ()


def filled(trial: Trial, seen: Seen) -> Iterator[Wrong]:
    """What is wrong where a trial expects that so much gets through at once, and no more.

    Calls are held, so that those that came before the first of them was answered were under way together.
    """
    pool = trial.expect.pool
    if pool is None:
        return
    apart = pool.at.kind is Kind.VIRTUAL_NODE
    places = {attempt.instance if apart else pool.at.name for _, attempt in _at(seen, pool.at.name if apart else "")}
    for place in sorted(places) or [pool.at.name]:
        times = sorted(
            one.began + attempt.at
            for one, attempt in _at(seen, pool.at.name if apart else "")
            if not apart or attempt.instance == place
        )
        at_once = sum(time < times[0] + trial.given[0].latency * _BEFORE for time in times)
        through = sum(one.status == _OK and (not apart or one.instance == place) for one in seen.calls)
        wanted = at_once == pool.at_once and (pool.waiting is None or through == pool.at_once + pool.waiting)
        if not wanted:
            yield f"{place} takes {pool}", f"{at_once} were under way at once, and {through} were answered", ()


def _at(seen: Seen, node: str) -> Iterator[tuple[CallSeen, Attempt]]:
    """Everything that arrived at instances of a node, or anywhere."""
    return ((one, attempt) for one in seen.calls for attempt in one.attempts if node in {"", attempt.node})


def _arrived(seen: Seen, node: str, names: frozenset[str]) -> dict[int, str]:
    """The moments of the calls that came to some instances of a node, by their places."""
    return {
        index: one.moment
        for index, one in enumerate(seen.calls)
        if any(attempt.node == node and (not names or attempt.instance in names) for attempt in one.attempts)
    }


def _away(wanted: Ejection, times: list[float], end: float) -> str:
    """What is wrong with the times of the calls that arrived, the last of all calls having ended at `end`."""
    gaps = [after - before for before, after in zip(times, [*times[1:], end], strict=True)] if times else []
    long = next((index for index, gap in enumerate(gaps) if gap >= wanted.away.least), None)
    if long is None:
        return f"it was called {len(times)} times and never left alone for so long"
    if long + 1 != wanted.errors:
        return f"it was called {long + 1} times, and then not for {gaps[long]:.0f} ms"
    if wanted.away.most is not None and gaps[long] > wanted.away.most:
        return f"it was not called for {gaps[long]:.0f} ms"
    return ""


def _instances(node: str, count: int | None) -> frozenset[str]:
    """The names of the first instances of a node; none where all of them are meant."""
    return frozenset(instance_name(node, number) for number in range(1, (count or 0) + 1))
