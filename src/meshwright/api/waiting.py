"""Releases that wait for an approval: kept, and told of elsewhere.

The one rule: what waits is no release; nothing is changed by it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from meshwright.telemetry.happening import beside

if TYPE_CHECKING:
    from meshwright.api.attempts import Attempt
    from meshwright.api.services import Services
    from meshwright.store.approvals import Pending
    from meshwright.telemetry.happening import Beside, Event


async def keep(services: Services, waiting: Pending, attempt: Attempt | None) -> Pending:
    """Keep a release that waits; where it waits already, that one.

    Raises:
        RefusedError: too many wait already.
    """
    trail = attempt.trail if attempt is not None else None
    kept, new = await asyncio.to_thread(services.store.add_pending, waiting, trail)
    if attempt is not None:
        attempt.recorded = new
    if new:
        services.told(approval_event("asked", kept, kept.principal.arn, kept.at))
    return kept


def approval_event(what: Beside, one: Pending, principal: str, at: int) -> Event:
    """That somebody asked for the approval of a release, or withdrew that."""
    rules = sorted({objection.rule for objection in one.objections if objection.severity == "approve"})
    return beside(
        "approval",
        what,
        at,
        mesh=one.mesh,
        stack=one.stack,
        title=one.title,
        principal=principal,
        said={
            "pending": one.title,
            "author": one.principal.arn,
            "kind": one.kind,
            "changes": len(one.plan.changes),
            "guardrails": ", ".join(rules),
        },
    )
