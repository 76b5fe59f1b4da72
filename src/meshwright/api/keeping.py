"""The evidence of releases: what proxies make of a stack's newest one, kept in the database as it comes in.

The one rule: off the way of everything else. It is written in a thread, all that came in meanwhile at once, and
before the status that it proves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from meshwright.api.metrics import UnderWay
from meshwright.api.tracing import Tracing
from meshwright.complaining import Complaint
from meshwright.errors import MeshwrightError
from meshwright.release import Status, evidence_of

if TYPE_CHECKING:
    from meshwright.api.metrics import Metrics
    from meshwright.control import Control, Tracker
    from meshwright.release import Account, Evidence, Release, Tally
    from meshwright.store.contract import Store

    Place: TypeAlias = tuple[str, str, int]

SAVE_SECONDS = 0.5
"""How long what is new waits for more to be written with it."""

_log = logging.getLogger(__name__)


class Keeping:
    """Follows releases and keeps what is seen of them; for one event loop."""

    def __init__(self, store: Store, control: Control, metrics: Metrics) -> None:
        self._store = store
        self._control = control
        self._metrics = metrics
        self._complaint = Complaint(_log)
        self._followed: dict[tuple[str, str], tuple[Release, Tracker]] = {}
        self._leaving: set[Place] = set()
        """Those that are followed only until nobody is on the way to them."""
        self._left: dict[Place, tuple[Account, ...]] = {}
        """What was seen last of releases that are followed no longer, until it is written."""
        self._unsaved: set[Place] = set()
        self._saving: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._ending = asyncio.Event()

    def follow(self, one: Release) -> None:
        """Follow a stack's newest release, in place of the one before."""
        self._end(one.mesh, one.stack)
        known = self._store.evidence(*_place(one))
        accounts = known.accounts if known is not None else ()
        tracker = self._control.track(one.revision, one.mesh, accounts, lambda: self._told(_place(one)))
        self._followed[one.mesh, one.stack] = (one, tracker)

    def leave(self, one: Release) -> None:
        """Follow `one` no longer than until whoever is on the way to it is there: else it would be told as pending.

        They may leave and come back meanwhile. Where a newer one took its place, that goes on.
        """
        if self._follows(one):
            self._followed[one.mesh, one.stack][1].narrow()
            self._leaving.add(_place(one))
            self._end_arrived()

    def noted(self, one: Release) -> bool:
        """A release has the status that `one` says; whether that is news of one that is followed.

        Several may find it out at the same time, the control plane itself and whoever asks: it is news once.
        """
        if not self._follows(one):
            return False
        known, tracker = self._followed[one.mesh, one.stack]
        self._followed[one.mesh, one.stack] = (one, tracker)
        return known.status is not one.status

    def under_way(self) -> UnderWay:
        """The releases that are followed, in numbers."""
        here = [(one, tracker) for one, tracker in self._followed.values() if one.status is not Status.PROPAGATED]
        statuses = Counter(str(one.status) for one, _ in here)
        return UnderWay(statuses, Counter[str](account.state for _, some in here for account in some.accounts))

    async def evidence(self, one: Release) -> Evidence | None:
        """What is known of a release; None where no proxy was ever seen to have to do with it."""
        accounts = self._accounts(_place(one))
        if accounts:
            return evidence_of(await asyncio.to_thread(Tracing(self._store).traced, accounts))
        return await asyncio.to_thread(self._store.evidence, *_place(one))

    def tallies(self, mesh: str, stack: str, after: int = 0) -> dict[int, Tally]:
        """What is known of the releases of a stack numbered over `after`, in a few numbers each."""
        found = dict(self._store.tallies(mesh, stack, after))
        followed = self._followed.get((mesh, stack))
        if followed is not None and followed[0].number > after and (accounts := followed[1].accounts):
            found[followed[0].number] = evidence_of(accounts).tally
        return found

    async def save(self, one: Release) -> None:
        """Write what is known of a release and not written yet.

        Raises:
            StorageError: the database refused.
        """
        await self._save(_place(one))

    async def close(self) -> None:
        """Write what is left and follow nothing any more."""
        self._ending.set()
        if self._saving is not None:
            await self._saving
        await self._save_all()
        for _, tracker in self._followed.values():
            self._control.untrack(tracker)
        self._followed.clear()
        self._leaving.clear()

    def _follows(self, one: Release) -> bool:
        followed = self._followed.get((one.mesh, one.stack))
        return followed is not None and followed[0].number == one.number

    def _end(self, mesh: str, stack: str) -> None:
        older = self._followed.pop((mesh, stack), None)
        if older is not None:
            place = _place(older[0])
            self._leaving.discard(place)
            if place in self._unsaved:
                self._left[place] = older[1].accounts
            self._control.untrack(older[1])

    def _end_arrived(self) -> None:
        """End what is only followed until nobody is on the way any more."""
        for mesh, stack, _ in tuple(self._leaving):
            _, tracker = self._followed[mesh, stack]
            if not tracker.waits:
                self._end(mesh, stack)

    def _told(self, place: Place) -> None:
        self._unsaved.add(place)
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._save_soon(), name="keeping the evidence of releases")

    async def _save_soon(self) -> None:
        while self._unsaved and not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), SAVE_SECONDS)
            await self._save_all()
            self._end_arrived()

    async def _save_all(self) -> None:
        for place in tuple(self._unsaved):
            try:
                await self._save(place)
            except MeshwrightError as error:
                self._complaint.made(f"the evidence of {'/'.join(map(str, place))} cannot be kept", error)
                return

    async def _save(self, place: Place) -> None:
        async with self._turn:
            if place not in self._unsaved:
                return
            accounts = self._accounts(place)
            self._unsaved.discard(place)
            try:
                if accounts:
                    await asyncio.to_thread(self._write, place, accounts)
                    self._complaint.over("the evidence of releases is kept")
            except MeshwrightError:
                self._unsaved.add(place)
                self._metrics.evidence_failed()
                raise
            if place not in self._unsaved:
                self._left.pop(place, None)

    def _accounts(self, place: Place) -> tuple[Account, ...]:
        followed = self._followed.get(place[:2])
        if followed is not None and followed[0].number == place[2]:
            return followed[1].accounts
        return self._left.get(place, ())

    def _write(self, place: Place, accounts: tuple[Account, ...]) -> None:
        self._store.note_evidence(*place, evidence_of(Tracing(self._store).traced(accounts)))


def _place(one: Release) -> Place:
    return one.mesh, one.stack, one.number
