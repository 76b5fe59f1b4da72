"""Noting that a release has propagated, at once for whoever asks and in the background when nobody does.

The one rule: what is noted is what the control plane saw. A release that a newer one of its stack overtook is left as
it is, because the proxies that took the newer one never had it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from meshwright.errors import RefusedError, StorageError
from meshwright.release import Release, Status

if TYPE_CHECKING:
    from meshwright.api.services import Services

OBSERVER = "control-plane"
"""The principal of what the control plane notes on its own."""
_AGAIN = 1.0
"""Seconds between two looks while no proxy is connected, or one rejects the release."""
_PATIENCE = 60.0
"""Seconds of one wait for acks; it is begun again."""

_log = logging.getLogger(__name__)


class Propagating:
    """Follows the newest release of every stack until it has propagated; `close` ends that."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._following: dict[tuple[str, str], asyncio.Task[None]] = {}

    def resume(self) -> None:
        """Follow what the last run of the server left unfinished."""
        store = self._services.store
        for mesh, stack in store.stacks():
            for newest in store.releases(mesh, stack, 1):
                self.follow(newest)

    def follow(self, one: Release) -> None:
        """Follow a stack's newest release, in place of the one before."""
        stack = (one.mesh, one.stack)
        older = self._following.pop(stack, None)
        if older is not None:
            older.cancel()
        if one.status is Status.APPLIED:
            task = asyncio.create_task(self._until_propagated(one))
            self._following[stack] = task
            task.add_done_callback(lambda done: self._forget(stack, done))

    async def close(self) -> None:
        """Follow nothing any more."""
        tasks = list(self._following.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, stack: tuple[str, str], done: asyncio.Task[None]) -> None:
        if self._following.get(stack) is done:
            del self._following[stack]

    async def _until_propagated(self, one: Release) -> None:
        while True:
            found = await self._services.control.wait(one.revision, _PATIENCE, one.mesh)
            if found.state == "propagated":
                try:
                    await noted(self._services, one)
                except StorageError as error:
                    _log.error("the propagation of %s cannot be noted, trying again: %s", one.title, error)
                else:
                    return
            await asyncio.sleep(0 if found.state == "pending" else _AGAIN)


async def noted(services: Services, one: Release) -> Release:
    """`one` with its propagation noted, if it is its stack's newest; what it says then."""
    newest = next(iter(services.store.releases(one.mesh, one.stack, 1)), None)
    if one.status is not Status.APPLIED or newest is None or newest.number != one.number:
        return one
    try:
        # In a thread: another process's write may hold the database for seconds.
        await asyncio.to_thread(
            services.store.mark,
            one.mesh,
            one.stack,
            one.number,
            Status.PROPAGATED,
            principal=OBSERVER,
            at=services.now(),
        )
    except RefusedError:
        # Another process moved it on between the read and the mark; what it says now is the truth.
        return services.store.release(one.mesh, one.stack, one.number) or one
    return msgspec.structs.replace(one, status=Status.PROPAGATED)
