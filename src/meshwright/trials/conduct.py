"""How a trial is to be run, as what it asks decides: whether it waits, restarts proxies, may be run once more.

Pure. The one rule: it rests on the trial and its result alone, whoever runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.trials.trial import FaultKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.trials.judging import Result
    from meshwright.trials.trial import Trial

RESTARTING = frozenset({FaultKind.CRASH, FaultKind.EXPIRED_CERTIFICATE})
"""Faults that end proxies, and with them what these have not reported yet."""
_LONG = 1_000
"""Milliseconds of latency from which on a trial does little else but wait."""
_AGAIN = frozenset({
    "given_up", "within", "shares", "attempts", "tls", "peer", "spans", "avoided", "ejected", "pool", "arriving_at",
})  # fmt: skip
"""Expectations that chance or a busy machine may upset: a trial that only they fail is run once more."""
_AGAIN_UNDER_LOAD = _AGAIN | {"status", "grpc_status"}
"""The same under a fault or among many calls: limits for each try bite, too, where a machine is slow."""
_CUT_OFF = frozenset({0, 408, 503, 504})
"""Statuses of calls that somebody gave up."""


def restarts(trial: Trial) -> bool:
    """Whether its faults end proxies."""
    return any(one.kind in RESTARTING for one in trial.given)


def waits(trial: Trial) -> bool:
    """Whether it does little else but wait, and keeps nobody from the processors."""
    long = any(one.latency >= _LONG for one in trial.given)
    return long or trial.every is not None or trial.expect.pool is not None


def held(trial: Trial) -> int:
    """Milliseconds for which its faults hold a call up, where nobody gives it up before."""
    return max((one.latency for one in trial.given), default=0)


def unanswered(trial: Trial) -> bool:
    """Whether nobody answers its calls."""
    return any(one.kind is FaultKind.BLACKHOLE for one in trial.given)


def countable(result: Result) -> bool:
    """Whether Envoys count on while the faults of a trial begin, and one more call of it does not take long."""
    trial, quick = result.trial, not waits(result.trial) and not result.seen.unnoticed
    return quick and not restarts(trial) and all(one.at for one in trial.given)


def by_node(trials: Iterable[Trial]) -> Iterable[tuple[str, list[Trial]]]:
    """Trials by the first node that their faults befall."""
    found: dict[str, list[Trial]] = {}
    for one in trials:
        found.setdefault(one.given[0].at, []).append(one)
    return found.items()


def doubtful(result: Result) -> bool:
    """Whether nothing failed but what chance or a busy machine may upset."""
    asked = _AGAIN_UNDER_LOAD if result.trial.given or result.trial.of > 1 else _AGAIN
    grave = [one for one in result.mismatches if one.what.partition(".")[0] not in asked]
    statuses = {result.seen.calls[index].status for one in grave for index in one.calls}
    return statuses <= _CUT_OFF and all(one.calls for one in grave)
