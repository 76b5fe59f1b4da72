"""Trials without Envoys: those that ask only where a call goes are judged by what `simulate` says.

The one rule: what simulation cannot know is not judged; a trial that asks for it is not taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from meshwright.simulate import route
from meshwright.trials.judging import Mismatch, Result, judge
from meshwright.trials.seen import CallSeen, Seen
from meshwright.trials.trial import Encryption

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.simulate import Verdict
    from meshwright.trials.trial import Trial

_TOLERANCE = 0.0005
"""Shares are not counted here but known; this much of a call is rounding in a file of tests."""


def needs_envoys(graph: Graph, trial: Trial) -> str:
    """Why `trial` cannot be judged without Envoys; "" when it can."""
    expect = trial.expect
    asked = {
        "faults": trial.given,
        "calls that workloads make in turn": trial.onward,
        "attempts": expect.attempts,
        "given_up": expect.given_up,
        "within": expect.within,
        "headers": expect.headers,
        "arrived": expect.arrived,
        "peer": expect.peer,
        "spans": expect.spans,
        "avoided": expect.avoided,
    }
    wanted = [name for name, value in asked.items() if value]
    if wanted:
        return f"it asks for {', '.join(wanted)}"
    verdict = route(graph, trial.caller, trial.call)
    unsure = [one.told for hop in verdict.hops for one in hop.effects if one.percentage < 100 and one.status]
    if unsure:
        return f"chance decides: {unsure[0]}"
    return "who answers outside is not of the mesh" if verdict.outcome == "outside" else ""


def simulated(graph: Graph, trial: Trial) -> Result:
    """The result of a trial that needs no Envoys: a call to each of its targets, which all must be as expected."""
    verdict = route(graph, trial.caller, trial.call)
    expect = trial.expect
    found = judge(replace(trial, expect=replace(expect, shares={})), Seen(calls=_calls(verdict), ways=_ways(verdict)))
    wrong = tuple(
        Mismatch(what=f"shares.{node}", expected=f"{share:.1%}", happened=f"{_share(verdict, node):.1%}")
        for node, share in expect.shares.items()
        if abs(_share(verdict, node) - share) > _TOLERANCE
    )
    return replace(found, trial=trial, mismatches=(*found.mismatches, *wrong))


def _ways(verdict: Verdict) -> tuple[tuple[Key, Key], ...]:
    nodes = {one.node for one in verdict.targets if one.fraction and not one.refused}
    return tuple((verdict.caller, node) for node in sorted(nodes))


def _share(verdict: Verdict, node: str) -> float:
    return sum(one.fraction for one in verdict.targets if one.node.name == node)


def _calls(verdict: Verdict) -> tuple[CallSeen, ...]:
    """One call a target; of one that is not routed, the one that a proxy answers."""
    here, grpc = verdict.caller.name, verdict.call.protocol == "grpc"
    if verdict.outcome != "routed":
        status, told = verdict.status or 0, verdict.ending
        return (
            CallSeen(id="", status=status, elapsed=0, grpc_status=told.grpc_status, fault=told.reason, path=(here,)),
        )
    found = []
    for one in verdict.targets:
        if not one.fraction:
            continue
        if one.refused:
            found.append(CallSeen(id="", status=503, elapsed=0, fault=one.refused, path=(here,)))
            continue
        encryption = Encryption.NONE
        if one.tls is not None:
            encryption = Encryption.MUTUAL if one.tls.certificate else Encryption.SERVER
        name = one.node.name
        found.append(
            CallSeen(
                id="",
                status=200,
                elapsed=0,
                grpc_status=0 if grpc else None,
                node=name,
                path=(name,) if verdict.call.straight else (here, name),
                encryption=encryption,
            )
        )
    return tuple(found)
