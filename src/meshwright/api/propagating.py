"""Noting that a release has propagated or failed, at once for whoever asks and in the background when nobody does.

The one rule: what is noted is what the control plane saw. A release that a newer one of its stack overtook is left as
it is, because the proxies that took the newer one never had it; and one that a proxy rejected stays failed where
another release or write mended it. It has arrived where the proxies that had rejected it took it by themselves, and
nothing of it changed. One that holds on to what failed fails as well.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.api.tracing import traced
from meshwright.complaining import Complaint
from meshwright.errors import RefusedError, StorageError
from meshwright.release import Evidence, Release, Status, content_of, digest_of
from meshwright.telemetry.happening import event
from meshwright.views.wire import to_wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.api.services import Services
    from meshwright.control import Propagation
    from meshwright.model.identity import Key
    from meshwright.release import Rejection

OBSERVER = "control-plane"
"""The principal of what the control plane notes on its own."""
_AGAIN = 1.0
"""Seconds between two looks while no proxy is connected, or one rejects what an older release brought."""
_LATER = 5.0
"""Seconds between two looks at a release that failed: who rejected it is offered it again after ten and more."""
_PATIENCE = 60.0
"""Seconds of one wait for acks; it is begun again."""

_LOOK_BACK = 100
"""Releases among which those are searched that failed since the last that was taken."""

_log = logging.getLogger(__name__)


class Propagating:
    """Follows the newest release of every stack until it has propagated; `close` ends that."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._complaint = Complaint(_log)
        self._following: dict[tuple[str, str], asyncio.Task[None]] = {}

    def resume(self) -> None:
        """Follow what the last run of the server left unfinished."""
        store = self._services.store
        for mesh, stack in store.stacks():
            for newest in store.releases(mesh, stack, 1):
                if newest.status in {Status.APPLIED, Status.FAILED}:
                    self.follow(newest)
                elif newest.status is Status.PROPAGATED:
                    self._services.evidence.follow(newest)
                    self._services.evidence.leave(newest)

    def follow(self, one: Release) -> None:
        """Follow a stack's newest release, in place of the one before."""
        stack = (one.mesh, one.stack)
        older = self._following.pop(stack, None)
        if older is not None:
            older.cancel()
        self._services.evidence.follow(one)
        if one.status in {Status.APPLIED, Status.FAILED}:
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
            seen = await self._services.control.wait(one.revision, _PATIENCE, one.mesh)
            found = with_inherited(self._services, one, seen)
            try:
                one = await observed(self._services, one, found)
            except StorageError as error:
                self._complaint.made(f"what became of {one.title} cannot be noted", error)
            else:
                if one.status is not Status.APPLIED:
                    self._complaint.over("what becomes of releases is noted")
                if one.status not in {Status.APPLIED, Status.FAILED}:
                    return
            rest = _LATER if one.status is Status.FAILED else _AGAIN
            await asyncio.sleep(0 if found.state == "pending" else rest)


def with_inherited(services: Services, one: Release, found: Propagation) -> Propagation:
    """`found`, where proxies that still reject what an older release left in the stack reject `one` too.

    A stack is released whole: its newest release holds what an older one brought, unless it mends that.
    """
    if found.state != "propagated" or not (blamed := _unmended(services, one)):
        return found
    rejected = services.control.rejecting(one.mesh, blamed)
    if not rejected:
        return found
    names = {proxy.id for proxy in rejected}
    return msgspec.structs.replace(
        found,
        state="rejected",
        concerned=tuple(sorted(names.union(found.concerned))),
        acked=tuple(name for name in found.acked if name not in names),
        rejected=rejected,
    )


def _unmended(services: Services, one: Release) -> frozenset[Key]:
    """What the releases changed that failed since the last that was taken; nothing if `one` is not the newest."""
    if not services.control.rejects(one.mesh):
        return frozenset()
    return frozenset(change.key for it in _failed_before(services, one) for change in it.changes)


def _failed_before(services: Services, one: Release) -> tuple[Release, ...]:
    """The releases that failed since the last that was taken, without `one`; none if `one` is not the newest."""
    listed = services.store.releases(one.mesh, one.stack, _LOOK_BACK)
    older = listed[1:] if listed and listed[0].number == one.number else ()
    since = itertools.takewhile(lambda it: it.status not in {Status.PROPAGATED, Status.VERIFIED}, older)
    return tuple(it for it in since if it.status is Status.FAILED)


async def observed(services: Services, one: Release, found: Propagation) -> Release:
    """`one` with what its propagation `found` means for its status noted, if it is its stack's newest.

    Raises:
        StorageError: the database refused.
    """
    newest = next(iter(services.store.releases(one.mesh, one.stack, 1)), None)
    if newest is None or newest.number != one.number:
        return one
    status = await _status(services, one, found)
    if status is None:
        return one
    await services.evidence.save(one)
    try:
        # In a thread: another process's write may hold the database for seconds.
        await asyncio.to_thread(
            services.store.mark,
            one.mesh,
            one.stack,
            one.number,
            status,
            principal=OBSERVER,
            at=services.now(),
            given=one.status,
        )
    except RefusedError:
        # Another process moved it on between the read and the mark; what it says now is the truth.
        return services.store.release(one.mesh, one.stack, one.number) or one
    moved = msgspec.structs.replace(one, status=status)
    if services.evidence.noted(moved):
        services.metrics.settled(str(status))
        if status is Status.PROPAGATED:
            services.baselines.keep(one.mesh, one.stack, one.number, services.traffic)
            took = await _measure(services, one)
            services.told(event("propagated", one, services.now(), principal=OBSERVER, seconds=took))
            services.evidence.leave(one)
        else:
            rejected = len(found.rejected)
            services.told(event("failed", one, services.now(), principal=OBSERVER, rejected=rejected))
    return moved


async def _status(services: Services, one: Release, found: Propagation) -> Status | None:
    """What the release is to be noted as; None as long as that cannot be told, or where it is that already."""
    if one.status is Status.FAILED:
        arrived = found.state == "propagated" and await _taken_by_all_that_rejected(services, one)
        return Status.PROPAGATED if arrived else None
    if one.status is not Status.APPLIED:
        return None
    if found.state == "propagated":
        return Status.PROPAGATED
    if found.state != "rejected":
        return None
    touched = frozenset(change.key for change in one.changes)
    if services.control.refused(one.revision, one.mesh, touched):
        return Status.FAILED
    return Status.FAILED if services.control.rejects(one.mesh, _unmended(services, one)) else None


async def _taken_by_all_that_rejected(services: Services, one: Release) -> bool:
    """Whether whoever rejected `one`, or what it holds of releases that failed before, has taken it since.

    By itself, that is, as what was in the way is gone: the stack runs as the release left it, and nobody wrote what
    is at fault by the proxies' words. Who is away has not taken it.
    """
    # A verification looks at what it does, and not only at whether it is taken.
    if any(it.judgement == "failed" for it in services.store.inspections(one.mesh, one.stack, one.number)):
        return False
    rejections: list[tuple[str, Rejection]] = []
    for it in (one, *_failed_before(services, one)):
        evidence = await services.evidence.evidence(it)
        accounts = evidence.accounts if evidence is not None else ()
        rejections += ((account.id, each) for account in accounts for each in account.rejections)
    if not rejections or not all(services.control.took(*each) for each in rejections):
        return False
    return await asyncio.to_thread(
        _is_untouched, services, one, {key for _, each in rejections for key in each.origins}
    )


def _is_untouched(services: Services, one: Release, blamed: set[Key]) -> bool:
    """Whether `one` runs as it was released, and none of `blamed` was written since."""
    store = services.store
    if digest_of(content_of(store.head().state, one.mesh, one.stack)) != one.digest:
        return False
    authors = (store.author(key) for key in blamed)
    return all(author is None or author.revision <= one.revision for author in authors)


async def _measure(services: Services, one: Release) -> float | None:
    """The seconds from the commit to the last ack, and each ack; None where the release concerned nobody."""
    evidence = await services.evidence.evidence(one)
    if evidence is None or evidence.tally.last_acked_at is None:
        return None
    last = max(0, evidence.tally.last_acked_at - one.at) / 1000
    # In a thread: a release of thousands of proxies has tens of thousands.
    await asyncio.to_thread(services.metrics.propagated, last, _acks(evidence))
    return last


def _acks(evidence: Evidence) -> Iterator[tuple[str, float]]:
    """The type of each response that was acked, and how many seconds after it was sent."""
    for account in evidence.accounts:
        for step in account.steps:
            if step.state == "acked" and step.sent_at is not None and step.settled_at is not None:
                yield step.type_url, max(0, step.settled_at - step.sent_at) / 1000


async def told(services: Services, found: Propagation, evidence: Evidence | None, *, detail: bool) -> dict[str, Any]:
    """A propagation for the client: where each proxy stands now, and what was seen on the way."""
    rejected = await traced(services.store, found.rejected)
    document: dict[str, Any] = to_wire(msgspec.structs.replace(found, rejected=rejected))
    document["tally"] = to_wire(evidence.tally) if evidence is not None else None
    if detail:
        connected = {one.id for one in services.control.statuses()}
        document["accounts"] = [
            {
                **to_wire(one),
                "sent_at": one.sent_at,
                "settled_at": one.settled_at,
                "connected": one.id in connected,
            }
            for one in (evidence.accounts if evidence is not None else ())
        ]
    return document
