"""What a plan means, found out beside it: its risks, with what the control plane has seen of traffic.

The one rule: what the control plane does not tell is left out, with a word on it; the plan is shown all the same.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from meshwright.errors import AccessDeniedError, ApiError
from meshwright.impact import Impact, Scene, Seen, risks
from meshwright.model.identity import Key, parse_key

if TYPE_CHECKING:
    from meshwright.cli.target import Target
    from meshwright.cli.wanted import Planned
    from meshwright.remote import Client

_MINUTES = 60


def impact_of(
    target: Target, client: Client, found: Planned, *, weight_step: float, protected: tuple[str, ...]
) -> Impact:
    """What the plan means, with the file and line of what the definitions still hold."""
    plan, sources = found.plan, found.read.sources
    if plan.empty:
        return Impact()
    scene = Scene(
        plan,
        found.observed,
        seen=_seen(target, client, found),
        weight_step=weight_step,
        protected=protected,
        now=int(time.time() * 1000),
    )
    placed = (msgspec.structs.replace(one, source=sources.find(one.key.path, one.path)) for one in risks(scene))
    return Impact(risks=tuple(placed))


def _seen(target: Target, client: Client, found: Planned) -> tuple[Seen, ...]:
    """Who called whom in the last hour; nobody where that may not be asked."""
    mesh = found.plan.mesh
    if Key.of_mesh(mesh) not in found.observed or not found.plan.count("delete") + found.plan.count("update"):
        return ()
    try:
        calls = client.calls(mesh, _MINUTES).calls
    except (AccessDeniedError, ApiError) as error:
        target.say(f"Who calls whom is not known, so that risks count declared callers only: {error}")
        return ()
    return tuple(
        Seen(caller=parse_key(one.caller), services=one.services, requests=one.window.requests)
        for one in calls
        if one.window.requests
    )
