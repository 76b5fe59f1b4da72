"""Trials that were derived from other definitions than those that run, where somebody whom they need is gone.

The one rule: what a mesh promised and does no more, because whoever it was about is not there, is a failure and no
reason to run nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.model.identity import Kind
from meshwright.trials.judging import Mismatch, Result
from meshwright.trials.seen import Seen

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.trials.trial import Trial


def vanished(graph: Graph, trial: Trial) -> Result | None:
    """The result of a trial whose caller, or whoever is to fail in it, is not in the mesh; None where all are."""
    kinds = (Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY)
    known = {one.key.name for kind in kinds for one in graph.state.of(kind)}
    if trial.caller not in graph.state:
        wanted = "is called" if trial.call.straight or trial.caller.kind is Kind.VIRTUAL_GATEWAY else "calls"
        return _failed(trial, "from", f"{trial.caller.kind.type_name} {trial.caller.name!r} {wanted}")
    gone = next((one.at for one in trial.given if one.at and one.at not in known), "")
    return _failed(trial, "given", f"{gone!r} is there, and fails for this test") if gone else None


def _failed(trial: Trial, what: str, expected: str) -> Result:
    wrong = Mismatch(what=what, expected=expected, happened="the definitions that run do not have it")
    return Result(trial=trial, seen=Seen(calls=()), mismatches=(wrong,))
