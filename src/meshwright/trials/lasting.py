"""How long a call may last, as the limits that definitions set and the faults that hold decide.

The one rule: whoever calls waits longer than the mesh does, so that the mesh decides how a call ends, and not the one
who calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.simulate import route
from meshwright.trials.deriving.policies import apart, pauses, tries
from meshwright.trials.trial import Bounds, FaultKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.simulate import Call, Verdict
    from meshwright.trials.deriving.policies import Tries
    from meshwright.trials.trial import Given

LONGEST = 60.0
"""Seconds that calls are waited for at most, unless somebody says otherwise."""
_SLOW = frozenset({FaultKind.LATENCY, FaultKind.BLACKHOLE, FaultKind.BANDWIDTH})
"""Faults under which a call lasts until an answer comes late, or a limit ends it; others are felt at once."""


def lasting(graph: Graph, caller: Key, call: Call, given: Sequence[Given], onward: Sequence[str] = ()) -> Bounds:
    """Milliseconds that a call lasts while the faults `given` hold: what it comes to, and the most of it.

    Both are 0 where nothing holds it up, and where nothing would ever end it. `onward` are the services that
    workloads on its way call in turn: each of them may be late.
    """
    verdict = route(graph, caller, call)
    delayed, held = _delayed(verdict), _held(verdict, given, summed=bool(onward))
    return Bounds(least=delayed + held.least, most=delayed + (held.most or 0))


def _delayed(verdict: Verdict) -> int:
    """What extensions add on its way, which no limit counts."""
    there = [sum(one.delay for one in share.effects) for share in verdict.targets]
    return sum(one.delay for hop in verdict.hops for one in hop.effects) + max(there, default=0)


def _held(verdict: Verdict, given: Sequence[Given], *, summed: bool) -> Bounds:
    """What faults make of it."""
    slow = [one for one in given if one.kind in _SLOW]
    if not slow or not verdict.hops:
        return Bounds(most=0)
    each = [_of_tries(tries(one), verdict, given, summed=summed) for one in apart(verdict)]
    return Bounds(least=min(one.least for one in each), most=max(one.most or 0 for one in each))


def _of_tries(tried: Tries, verdict: Verdict, given: Sequence[Given], *, summed: bool) -> Bounds:
    """The same of a call to targets that make so many tries of it, and so long ones."""
    slow = [one for one in given if one.kind in _SLOW]
    lates = [one.latency + one.jitter for one in slow]
    late = sum(lates) if summed else max(lates)
    if any(one.kind is not FaultKind.LATENCY for one in slow) or 0 < tried.limit <= late:
        return Bounds(least=tried.lasts, most=tried.total or tried.lasts)
    retry = verdict.hops[-1].retry
    # With another fault beside, each try may fail, and each fails late.
    most = 1 + (retry.most if retry and len(slow) < len(given) else 0)
    return Bounds(least=late, most=late * most + pauses(most))
