"""The risks of a release, by what the server knows itself: its own state, and the calls that proxies reported.

The one rule: nothing that the client says decides, but where a risk is written in its files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from meshwright.impact.risks import risks
from meshwright.impact.scene import LATELY, Scene, Seen, asks_for_calls
from meshwright.routing import declared_ways

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.api.services import Services
    from meshwright.diagnostics import Written
    from meshwright.graph import Graph
    from meshwright.impact.values import Risk
    from meshwright.model.identity import Key
    from meshwright.model.state import State
    from meshwright.plan import Plan

    Calls: TypeAlias = tuple[tuple[Key, Key, int], ...]

MOST = 200
"""Risks that are kept with a release."""


def lately_called(services: Services, mesh: str) -> Calls:
    """Who called which node within the last hour, and how often so far; in the thread of the event loop."""
    since = services.now() - LATELY
    edges = services.traffic.edges(mesh)
    return tuple((one.caller, one.callee, one.total.requests) for one in edges if one.last_at >= since)


def all_risks_of(
    plan: Plan, state: State, calls: Calls, sources: Mapping[str, Written], now: int, step: float
) -> tuple[Risk, ...]:
    """Every risk of `plan`, made of `state`; their places are those that the client sent along.

    `step` are percentage points from which on a share that moves is one.
    """
    scene = Scene(plan, state, weight_step=step, now=now)
    if calls and asks_for_calls(plan):
        seen = tuple(_seen(scene.before, plan.mesh, calls))
        scene = Scene(plan, state, seen=seen, weight_step=step, now=now)
    return tuple(_placed(one, sources) for one in risks(scene))


def _seen(graph: Graph, mesh: str, calls: Calls) -> Iterator[Seen]:
    declared = declared_ways(graph, mesh)
    for caller, callee, requests in calls:
        services = declared.get((caller, callee), ())
        if services:
            yield Seen(caller=caller, services=services, requests=requests)


def _placed(one: Risk, sources: Mapping[str, Written]) -> Risk:
    written = sources.get(one.key.path)
    return one if written is None else msgspec.structs.replace(one, source=written.at(one.path))
