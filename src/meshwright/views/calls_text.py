"""What became of a few alike calls, for people who look for the reason: who answered, the way, who decided it.

The one rule: facts; nothing here knows what was expected.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from meshwright.simulate import route
from meshwright.views.escaping import terminal
from meshwright.views.trials import decisions
from meshwright.views.trials_text import called, direction, given_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.graph import Graph
    from meshwright.trials.seen import CallSeen
    from meshwright.trials.trial import Trial
    from meshwright.views.trials import Finder

_LINES = 5
"""Lines of access logs that are told."""


def render(graph: Graph, trial: Trial, calls: Sequence[CallSeen], find: Finder) -> str:
    """Several lines on `calls`, which `trial` made; of the first that went wrong, or else of the first, more."""
    return "\n".join(_lines(graph, trial, calls, find))


def _lines(graph: Graph, trial: Trial, calls: Sequence[CallSeen], find: Finder) -> Iterator[str]:
    given = "".join(f", {given_fault(one)}" for one in trial.given)
    yield f"{called(trial.call)} {direction(trial.call)} {terminal(trial.caller.name)}{given}"
    for (status, node, reason), count in Counter((one.status, one.node, one.fault) for one in calls).items():
        times = f"{count} times " if len(calls) > 1 else ""
        why = f": {terminal(reason)}" if reason else ""
        yield f"    answered  {times}{status or 'not at all'} by {terminal(node or 'nobody')}{why}"
    one = next((one for one in calls if one.status != 200), calls[0])
    yield f"    took      {one.elapsed:.0f} ms, {' → '.join(map(terminal, one.path))}"
    arrived = Counter(attempt.instance for attempt in one.attempts)
    yield f"    arrived   {', '.join(f'{terminal(name)} {count}' for name, count in arrived.items()) or 'nowhere'}"
    for decision in decisions(graph, route(graph, trial.caller, trial.call), find):
        place = f" at {terminal(decision.source)}" if decision.source else ""
        yield f"    decided   {terminal(decision.told)}{place}"
    yield from (f"    log       {terminal(line)}" for line in one.log[:_LINES])
