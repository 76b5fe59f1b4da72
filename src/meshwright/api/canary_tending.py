"""Returning canaries that nobody looks after any more: a client that was killed, a job that was cut off.

The one rule: it is done in the name of who began it, and judged like all that they do. A control plane that was away
gives clients a whole lease to come back.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from meshwright.api.applying import Caller
from meshwright.api.canaries import turn
from meshwright.api.canary_steps import KEPT, Kept
from meshwright.complaining import Complaint
from meshwright.errors import MeshwrightError, StorageError
from meshwright.release import CanaryRequest

if TYPE_CHECKING:
    from meshwright.api.services import Services
    from meshwright.release import Release

_EVERY = 1.0
"""Seconds between two looks."""
_FORGOTTEN = 3_600_000
"""Milliseconds after which it is forgotten who looked after a canary that is over: none has a longer lease."""

_log = logging.getLogger(__name__)


async def tend(services: Services) -> None:
    """Look for canaries whose clients are not heard of any more, for as long as this runs."""
    since = services.now()
    database = Complaint(_log)
    returning: dict[str, Complaint] = {}
    while True:
        await asyncio.sleep(_EVERY)
        try:
            known = await asyncio.to_thread(services.store.remembered, KEPT)
            for name, text in known.items():
                try:
                    await _tended(services, name, msgspec.json.decode(text, type=Kept), since)
                except StorageError:
                    raise
                except (MeshwrightError, msgspec.MsgspecError) as error:
                    complaint = returning.setdefault(name, Complaint(_log))
                    complaint.made(f"the canary of {name}, which nobody looks after, cannot be returned", error)
        except StorageError as error:
            database.made("canaries cannot be looked after", error)
        else:
            database.over("canaries are looked after")


async def _tended(services: Services, name: str, kept: Kept, since: int) -> None:
    mesh, _, stack = name.partition("/")
    newest = await asyncio.to_thread(services.store.releases, mesh, stack, 1)
    if not newest or not newest[0].is_step:
        services.canaries.end(mesh, stack)
        if kept.heard_at + _FORGOTTEN < services.now():
            await asyncio.to_thread(services.store.remember, KEPT, {name: None})
        return
    if not _overdue(services, newest[0], kept, since):
        return
    async with services.canaries.turn(mesh, stack):
        # Whoever held the turn may have been its client, or have ended it.
        first = await asyncio.to_thread(services.store.release, mesh, stack, newest[0].part.first)
        if first is not None and _overdue(services, newest[0], kept, since):
            seconds = newest[0].part.settings.lease
            leave = CanaryRequest(leave=f"nobody has looked after it for {seconds:g} s", build=first.build)
            await turn(services, first, Caller(kept.principal, kept.facts), leave)
            _log.warning("the canary %s was returned: nobody has looked after it for %g s", first.title, seconds)


def _overdue(services: Services, newest: Release, kept: Kept, since: int) -> bool:
    heard = max(kept.heard_at, since, services.canaries.heard.get((newest.mesh, newest.stack), 0))
    return services.now() > heard + 1000 * newest.part.settings.lease
