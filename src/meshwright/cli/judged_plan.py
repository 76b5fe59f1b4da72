"""What a plan means, found out beside it, with what the control plane knows of traffic and of connected proxies.

The one rule: what the control plane does not tell is left out, with a word on it; the plan is shown all the same.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from meshwright.errors import AccessDeniedError, ApiError, StalePlanError
from meshwright.impact.findings import findings
from meshwright.impact.risks import risks
from meshwright.impact.scene import LATELY, Scene, Seen, asks_for_calls
from meshwright.impact.values import Findings, Impact, Objection
from meshwright.model.identity import Key, parse_key
from meshwright.views.wire import from_wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.cli.target import Target
    from meshwright.cli.wanted import Planned
    from meshwright.release import ApplyRequest
    from meshwright.remote import Client


def impact_of(
    target: Target,
    client: Client,
    found: Planned,
    asked: ApplyRequest,
    *,
    weight_step: float,
    protected: tuple[str, ...],
    detail: bool = False,
) -> Impact:
    """What the plan that is `asked` for means, with the file and line of definitions; in `detail`, to Envoys."""
    from meshwright.impact.reach import reach  # protobuf would be half the time of a plan without changes

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
    told = findings(scene)
    return Impact(
        objections=_objections(target, client, asked),
        risks=tuple(placed),
        findings=Findings(new=sources.attach(told.new), mended=told.mended),
        reach=reach(scene, _connected(target, client, plan.mesh), detail=detail),
    )


def _objections(target: Target, client: Client, asked: ApplyRequest) -> tuple[Objection, ...]:
    """What the server's guardrails would say; nothing where that may not be asked."""
    plan = asked.plan
    if plan is None or plan.conflicts:
        return ()
    try:
        if not client.guardrails(plan.mesh)["guardrails"]:
            return ()
        told = client.judge(plan.mesh, plan.stack, asked)
    except (AccessDeniedError, StalePlanError, ApiError) as error:
        target.say(f"What the guardrails say is not known: {error}")
        return ()
    return from_wire(tuple[Objection, ...], told["objections"])


def _connected(target: Target, client: Client, mesh: str) -> Mapping[Key, tuple[str, ...]] | None:
    """The ids of the connected proxies of each node and gateway; None where that may not be asked."""
    try:
        proxies = client.status()["proxies"]
    except (AccessDeniedError, ApiError) as error:
        target.say(f"Which proxies are connected is not known, so that nodes stand for them: {error}")
        return None
    found: defaultdict[Key, list[str]] = defaultdict(list)
    for one in proxies:
        key = parse_key(one["node"])
        if key.mesh == mesh:
            found[key].append(one["id"])
    return {key: tuple(sorted(ids)) for key, ids in found.items()}


def _seen(target: Target, client: Client, found: Planned) -> tuple[Seen, ...]:
    """Who called whom lately; nobody where that does not matter, or may not be asked."""
    mesh = found.plan.mesh
    if Key.of_mesh(mesh) not in found.observed or not asks_for_calls(found.plan):
        return ()
    try:
        told = client.calls(mesh, 1)
    except (AccessDeniedError, ApiError) as error:
        target.say(f"Who calls whom is not known, so that risks count declared callers only: {error}")
        return ()
    return tuple(
        Seen(caller=parse_key(one.caller), services=one.services, requests=one.total.requests)
        for one in told.calls
        if one.last_at is not None and told.at - one.last_at <= LATELY
    )
