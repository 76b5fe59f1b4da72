"""One control plane from its start to its end.

The one rule: the store is the truth and everything else follows it. A commit is durable before anybody hears of it,
and what was missed is caught up with from the newest revision.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from meshwright.api.attempts import Attempts
from meshwright.api.metrics import Metrics
from meshwright.api.trusted import Trusted
from meshwright.certificates import Watched, followed
from meshwright.complaining import Complaint
from meshwright.control import Control, Paced
from meshwright.discovery import Found
from meshwright.errors import MeshwrightError, StorageError, UsageError
from meshwright.listening import join, listening, url
from meshwright.model.identity import Kind, split_mesh
from meshwright.observe import Traffic
from meshwright.server.exporting import exporting
from meshwright.server.finding import cloud_map, registrations, watch
from meshwright.server.freeing import keep_giving_back
from meshwright.server.http_api import http_api
from meshwright.server.issuing import own_issuer
from meshwright.server.parts import Parts, now
from meshwright.server.publishing import Publisher, publishing
from meshwright.server.settings import refuse_exposed
from meshwright.server.xds import xds
from meshwright.snapshot.build import build as build_snapshot
from meshwright.store import sqlite
from meshwright.store.exclusive import alone
from meshwright.store.keys import ensure_administrator, ensure_signing_key, prepare_directory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.server.settings import Settings
    from meshwright.snapshot.resources import Placement, Snapshot, Traits
    from meshwright.store.contract import Store

_POLL = 1.0
"""Seconds between two looks for commits of other processes."""

_log = logging.getLogger(__name__)


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A control plane that is ready."""

    api: str
    """What `--endpoint` takes."""
    xds: str
    """What `meshwright proxy --xds` takes."""
    xds_mutual: str
    """The same for proxies with client certificates, where that is another address; else ""."""
    xds_sockets: tuple[tuple[str, Path], ...]
    """The nodes that have a Unix socket, each with its path."""
    credentials: Path
    created: bool
    """Whether this start made the administrator's key."""
    revision: int
    parts: tuple[asyncio.Task[None], ...]
    """What must not end while the control plane serves."""

    async def until(self, stop: asyncio.Event) -> None:
        """Return once `stop` is set.

        Raises:
            MeshwrightError: a part ended before; half a control plane is worse than none, because it looks well.
        """
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({stopping, *self.parts}, return_when=asyncio.FIRST_COMPLETED)
            for part in () if stop.is_set() else self.parts:
                if part.done():
                    why = "cancelled" if part.cancelled() else part.exception() or "without a reason"
                    raise MeshwrightError(f"{part.get_name()} ended: {why}. The control plane stops; start it again.")
        finally:
            stopping.cancel()


@contextlib.asynccontextmanager
async def control_plane(settings: Settings) -> AsyncIterator[Running]:
    """A control plane that serves until the block ends; then it has stopped and its database is closed.

    Raises:
        UsageError: an address cannot be listened on, or the database is another server's or account's.
        StorageError: the data directory or the database cannot be used.
        RefusedError: the credentials file is another database's, or the audit log contradicts a published checkpoint.
    """
    refuse_exposed(settings)
    own = prepare_directory(settings.data_dir)
    database = (settings.database or own).resolve()
    with (
        listening(settings.listen) as listener,
        contextlib.closing(sqlite.connect(database)) as store,
        alone(database),
    ):
        _refuse_other_account(store, settings.account)
        key = ensure_administrator(store, settings.data_dir, now())
        parts = _parts(settings, store)
        publisher = Publisher(store, parts.signing_key, settings.checkpoints) if settings.checkpoints else None
        async with (
            publishing(publisher, parts.metrics) as published,
            _noting(parts),
            exporting(settings, store, parts.control, parts.metrics) as (told, reading),
            xds(parts) as (ports, watching),
            http_api(parts, listener, told) as (serving, tending),
            followed(parts.tls) as renewing,
            _following(parts) as following,
        ):
            yield Running(
                api=url(settings.listen[0], listener.getsockname()[1], secure=parts.tls is not None),
                xds=join(settings.xds[0], ports[0]),
                xds_mutual=join(settings.xds_mutual[0], ports[1]) if settings.xds_mutual else "",
                xds_sockets=settings.xds_sockets,
                credentials=settings.data_dir / "credentials",
                created=key is not None,
                revision=parts.control.revision,
                parts=(serving, *following, *watching, *renewing, *published, *reading, tending),
            )


def _parts(settings: Settings, store: Store) -> Parts:
    def built(graph: Graph, node: Key, placement: Placement, traits: Traits, moment: int) -> Snapshot:
        metrics.snapshot_built()
        return build_snapshot(graph, node, found, placement, traits, moment)

    pace = Paced()
    metrics = Metrics()
    control = Control(built, now, pace, away_seconds=settings.away_seconds)
    registered = registrations(settings, store, control)
    looked_up = cloud_map(settings, store, control, metrics)
    found = Found(registered, *((looked_up,) if looked_up else ()))
    watch(metrics, found)
    control.publish(store.head())
    return Parts(
        settings=settings,
        store=store,
        control=control,
        pace=pace,
        found=found,
        registrations=registered,
        cloud_map=looked_up,
        traffic=Traffic(now(), every=settings.report_seconds),
        metrics=metrics,
        attempts=Attempts(store, now, metrics),
        signing_key=ensure_signing_key(settings.data_dir, settings.account),
        trusted=Trusted(settings.trust, settings.environment, account=settings.account, region=settings.region),
        issuer=own_issuer(settings),
        tls=Watched(settings.tls) if settings.tls else None,
    )


@contextlib.asynccontextmanager
async def _noting(parts: Parts) -> AsyncIterator[None]:
    """Write down, once the block has ended, what was refused in it and is not written yet."""
    try:
        yield
    finally:
        await parts.attempts.close()


@contextlib.asynccontextmanager
async def _following(parts: Parts) -> AsyncIterator[tuple[asyncio.Task[None], ...]]:
    """Follow the database, the trust file and the clock until the block ends; the tasks that do."""
    tasks = [
        asyncio.create_task(_follow(parts.store, parts.control), name="following the database"),
        asyncio.create_task(parts.trusted.follow(), name="following the trust file"),
        asyncio.create_task(parts.control.keep_time(), name="following the clock"),
        asyncio.create_task(parts.registrations.run(), name="keeping registered endpoints"),
        asyncio.create_task(keep_giving_back(), name="giving back free memory"),
    ]
    if parts.issuer is not None:
        tasks.append(asyncio.create_task(parts.issuer.keep_watch(parts.store, now), name="ending sessions of jobs"))
        tasks.append(asyncio.create_task(parts.issuer.turn_keys(), name="turning the issuer's keys"))
    if parts.cloud_map is not None:
        tasks.append(asyncio.create_task(parts.cloud_map.run(), name="looking into Cloud Map"))
    try:
        yield tuple(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if parts.issuer is not None:
            parts.issuer.close()


async def _follow(store: Store, control: Control) -> None:
    """Publish what other processes commit, and whatever was committed when a request was cut off."""
    complaint = Complaint(_log)
    while True:
        await asyncio.sleep(_POLL)
        try:
            control.publish(await asyncio.to_thread(store.head))
        except StorageError as error:
            complaint.made("the database cannot be read", error)
        else:
            complaint.over("the database is read")


def _refuse_other_account(store: Store, account: str) -> None:
    """Raise when the meshes with bare names are of another account: they would be taken for this one's."""
    for one in store.head().state.of(Kind.MESH):
        owner = one.metadata.mesh_owner if one.metadata else account
        if (owner == account) != (split_mesh(one.key.mesh)[1] == ""):
            raise UsageError(
                f"The database holds mesh {one.key.mesh_name!r} of account {owner}, kept by a server of another "
                f"account than {account}. Start with the --account that it was made with, or on another --data-dir."
            )
