"""What somebody who is known asked for and nothing came of: refusals, and writes that found nothing to change.

The one rule: it costs those who do come to something nothing. Leaves are written in groups, after the answer, and so
few of each user and role that nobody fills the disk by being refused; the next one tells how many were left out.

What was written has its leaf in its own transaction. What was read leaves none, unless it was refused to the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
from collections import deque
from typing import TYPE_CHECKING

from meshwright.api.limits import Rate
from meshwright.audit import Leaf, Trail
from meshwright.complaining import Complaint
from meshwright.errors import MeshwrightError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

    from meshwright.api.metrics import Metrics
    from meshwright.errors import AccessDeniedError
    from meshwright.store.contract import Store
    from meshwright.trust.principals import Principal

BURST = 20
"""Leaves that a user or a role has at once."""
EVERY = 3_000
"""Milliseconds after which it has one more: 10 MB a day of somebody who never stops.

Of releases that are refused for many objects it may be ten times as much.
"""
QUEUE = 1_000
"""Leaves that wait at most, also while the database cannot be written."""
WRITE_SECONDS = 0.5
"""How long the first of a group waits for others."""

_HOLDERS = 1_000
"""Users and roles that are remembered at most, of those that have left none out."""
_TARGET_LENGTH = 300
_REASON_LENGTH = 300
_OBJECTS = 20
"""Objects that a release was refused for of which its leaf tells."""
_OBJECTS_LENGTH = 4_000
"""Characters of their paths in all."""
_READS = frozenset({"GET", "HEAD"})
_READ_ACTIONS = frozenset({"GetCallerIdentity", "post_judgement"})
"""What only reads although it is no GET."""
_NO_ROOM = 429
_DENIED = 403
_LEFT_OUT = "left out"
_STREAM = "StreamAggregatedResources"
_EMPTY = hashlib.sha256(b"").hexdigest()

_log = logging.getLogger(__name__)


class Attempt:
    """One request whose signature holds; whoever writes what it asks for sets `recorded`."""

    __slots__ = ("_body", "_key", "_request", "_source", "principal", "recorded", "target")

    def __init__(self, principal: Principal, key: str, source: str, request: str, body: bytes) -> None:
        """`key` is the access key's id, `source` the address, `request` the request's id."""
        self.principal = principal
        self._key = key
        self._source = source
        self._request = request
        self._body = body
        self.recorded = False
        """Whether it has its leaf already."""
        self.target: Callable[[], str] | None = None
        """What it is about, once that is known."""

    @property
    def trail(self) -> Trail:
        """How it was asked for."""
        return Trail(key=self._key, source=self._source, request=self._request, verified=self.principal.build)

    def leaf(self, scope: Scope, status: int, at: int, left_out: int) -> Leaf:
        """What the audit log tells of it, answered with `status` at `at`."""
        state = scope["state"]
        code, reason = state.get("refused", ("", "")) if status >= 400 else ("", "")
        objects = state.get("objects", ())
        kept = _first(objects)
        return Leaf(
            kind="attempt",
            at=at,
            principal=self.principal.arn,
            cause=state.get("operation") or "none",
            digest=hashlib.sha256(self._body).hexdigest(),
            by=self.trail,
            target=self._about(scope)[:_TARGET_LENGTH],
            objects=kept,
            more=len(objects) - len(kept),
            outcome="refused" if status >= 400 else "allowed",
            error=code or None,
            reason=reason[:_REASON_LENGTH] or None,
            left_out=left_out or None,
        )

    def _about(self, scope: Scope) -> str:
        if self.target is not None:
            # What was asked for may be nothing that there is a name for.
            with contextlib.suppress(MeshwrightError):
                return self.target()
        return f"{scope['method']} {scope['path']}"


def _first(objects: tuple[str, ...]) -> tuple[str, ...]:
    """As many of the paths as have room; none of them is cut, as it would be another's."""
    length = itertools.accumulate(map(len, objects[:_OBJECTS]))
    return objects[: sum(one <= _OBJECTS_LENGTH for one in length)]


class _Holder:
    """A user, or a role with all its sessions."""

    def __init__(self) -> None:
        self.rate = Rate(BURST, EVERY)
        self.principal = ""
        """Whose attempt was left out last."""


class Attempts:
    """Writes attempts down; for one event loop."""

    def __init__(self, store: Store, now: Callable[[], int], metrics: Metrics) -> None:
        self._store = store
        self._now = now
        self._metrics = metrics
        self._complaint = Complaint(_log)
        self._holders: dict[tuple[str, str, str], _Holder] = {}
        self._queue: deque[Leaf] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()

    def note(self, scope: Scope, status: int) -> None:
        """A request was answered with `status`: write it down where it is to be, and has no leaf yet."""
        attempt: Attempt | None = scope["state"].get("attempt")
        if attempt is not None and not attempt.recorded and _counts(scope, status):
            self._take(attempt.principal, lambda now, left_out: attempt.leaf(scope, status, now, left_out))

    def denied(self, principal: Principal, target: str, source: str, error: AccessDeniedError) -> None:
        """A stream of a proxy was refused to whoever is known, or ended because it is refused by now."""

        def leaf(now: int, left_out: int) -> Leaf:
            return Leaf(
                kind="attempt",
                at=now,
                principal=principal.arn,
                cause=_STREAM,
                digest=_EMPTY,
                by=Trail(key=principal.key_id, source=source, verified=principal.build),
                target=target[:_TARGET_LENGTH],
                outcome="refused",
                error=error.code,
                reason=str(error)[:_REASON_LENGTH],
                left_out=left_out or None,
            )

        self._take(principal, leaf)

    def unproved(
        self,
        holder: tuple[str, str],
        *,
        who: str,
        cause: str,
        target: str,
        trail: Trail,
        refused: tuple[str, str] | None,
        body: bytes,
    ) -> None:
        """Whoever has no credential of ours asked for one; refused with an error's name and words, or not at all.

        `holder` is whose share of leaves it takes: a repository's, or that of all who are nobody; `who` is what is
        known of them.
        """

        def leaf(now: int, left_out: int) -> Leaf:
            return Leaf(
                kind="attempt",
                at=now,
                principal=who,
                cause=cause,
                digest=hashlib.sha256(body).hexdigest(),
                by=trail,
                target=target[:_TARGET_LENGTH],
                outcome="refused" if refused else "allowed",
                error=refused[0] if refused else None,
                reason=refused[1][:_REASON_LENGTH] if refused else None,
                left_out=left_out or None,
            )

        self._admit(("", *holder), who, leaf)

    def _take(self, principal: Principal, leaf: Callable[[int, int], Leaf]) -> None:
        """As `_admit`, for somebody who is known."""
        self._admit((principal.account, principal.kind, principal.name), principal.arn, leaf)

    def _admit(self, name: tuple[str, str, str], who: str, leaf: Callable[[int, int], Leaf]) -> None:
        """Let the leaf in that `leaf` makes of the time and of how many were left out before it, or leave it out."""
        holder, now = self._holder(name), self._now()
        if len(self._queue) < QUEUE and holder.rate.allow(now):
            self._queue.append(leaf(now, holder.rate.forget()))
        else:
            holder.rate.missed += len(self._queue) >= QUEUE
            holder.principal = who
            self._metrics.attempt_left_out()
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_soon(), name="writing attempts down")

    async def close(self) -> None:
        """Write what is left, and how many were left out."""
        self._ending.set()
        if self._writing is not None:
            await self._writing
        await self._write()

    def _holder(self, name: tuple[str, str, str]) -> _Holder:
        found = self._holders.pop(name, None) or _Holder()
        self._holders[name] = found
        if len(self._holders) > _HOLDERS:
            idle = next((one for one, holder in self._holders.items() if not holder.rate.missed), None)
            if idle not in {None, name}:
                del self._holders[idle]
        return found

    async def _write_soon(self) -> None:
        while (self._queue or any(one.rate.missed for one in self._holders.values())) and not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), WRITE_SECONDS)
            await self._write()

    async def _write(self) -> None:
        self._tell_left_out()
        leaves = tuple(self._queue)
        if not leaves:
            return
        try:
            await asyncio.to_thread(self._store.record, leaves)
        except StorageError as error:
            self._complaint.made("what was refused cannot be written to the audit log", error)
            return
        self._complaint.over("what is refused is written to the audit log")
        for _ in leaves:
            self._queue.popleft()

    def _tell_left_out(self) -> None:
        """A leaf for each who left some out and has one to spend; at the end for each."""
        now = self._now()
        for holder in self._holders.values():
            missed = holder.rate.forget()
            if not missed:
                continue
            if not self._ending.is_set() and (len(self._queue) >= QUEUE or not holder.rate.allow(now)):
                holder.rate.missed = missed
                continue
            self._queue.append(
                Leaf(
                    kind="attempt",
                    at=now,
                    principal=holder.principal,
                    cause=_LEFT_OUT,
                    digest=_EMPTY,
                    left_out=missed,
                )
            )


def _counts(scope: Scope, status: int) -> bool:
    """Whether a request that wrote nothing is one to write down.

    A server that is busy, stopping or broken has refused nobody; who went away was not answered.
    """
    if status >= 499 or status == _NO_ROOM:
        return False
    operation = scope["state"].get("operation", "")
    writes = operation not in _READ_ACTIONS and (scope["method"] not in _READS or operation == "AssumeRole")
    return writes or status == _DENIED
