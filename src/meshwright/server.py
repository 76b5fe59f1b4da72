"""The control plane, assembled: store, control loop, HTTP API and xDS on one event loop.

The one rule: the store is the truth and everything else follows it. A commit is durable before anybody hears of it,
and what was missed is caught up with from the newest revision.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import logging
import os
import socket
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec
import uvicorn

from meshwright.ads.admission import Place, identities
from meshwright.ads.identities import Everybody
from meshwright.ads.server import AdsServer
from meshwright.api.app import Services, build
from meshwright.api.connection import Connections
from meshwright.api.limits import Limits
from meshwright.api.metrics import Metrics
from meshwright.api.propagating import Propagating
from meshwright.api.writing import Writer
from meshwright.control import Control
from meshwright.errors import MeshwrightError, StorageError, UsageError
from meshwright.snapshot.build import build as build_snapshot
from meshwright.store import sqlite
from meshwright.store.keys import ensure_administrator, prepare_directory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.snapshot.resources import Placement, Snapshot
    from meshwright.store.contract import Draft, Head, Store

Address: TypeAlias = tuple[str, int]

_POLL = 1.0
"""Seconds between two looks for commits of other processes."""
_GRACE = 2.0
"""Seconds that requests and streams have to end."""

_log = logging.getLogger(__name__)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the control plane listens and keeps its data; port 0 takes one of the kernel's choice."""

    listen: Address = ("127.0.0.1", 9080)
    xds: Address = ("127.0.0.1", 18000)
    data_dir: Path
    database: Path | None = None
    """None for the file in the data directory."""
    account: str = "000000000000"
    region: str = "us-east-1"
    beyond_loopback: bool = False
    """Whether plain HTTP and unauthenticated xDS may be offered to other machines."""
    xds_without_authentication: bool = False
    """Whether anybody may be any node's proxy."""
    limits: Limits = Limits()
    envoys_per_node: int = 50
    """How many Envoys of one virtual node or gateway may be connected."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A control plane that is ready."""

    api: str
    """What `--endpoint` takes."""
    xds: str
    """What `meshwright proxy --xds` takes."""
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
        UsageError: an address cannot be listened on, or the database is another server's.
        StorageError: the data directory or the database cannot be used.
        RefusedError: the credentials file is another database's.
    """
    _require_loopback(settings)
    own = prepare_directory(settings.data_dir)
    database = (settings.database or own).resolve()
    with (
        _listening(settings.listen) as listening,
        contextlib.closing(sqlite.connect(database)) as store,
        _alone(database),
    ):
        key = ensure_administrator(store, settings.data_dir, _now())
        control = Control(_snapshot, _now)
        control.publish(store.head())
        async with _xds(store, control, settings) as xds, _api(store, control, settings, listening) as serving:
            following = asyncio.create_task(_follow(store, control), name="following the database")
            try:
                yield Running(
                    api=_url(settings.listen[0], listening.getsockname()[1]),
                    xds=_join(settings.xds[0], xds),
                    credentials=settings.data_dir / "credentials",
                    created=key is not None,
                    revision=control.revision,
                    parts=(serving, following),
                )
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)


@contextlib.asynccontextmanager
async def _xds(store: Store, control: Control, settings: Settings) -> AsyncIterator[int]:
    """Serve xDS until the block ends; its port."""
    place = Place(account=settings.account, region=settings.region, hosts=(_join(*settings.xds),))
    admission = Everybody() if settings.xds_without_authentication else identities(store, place, _now)
    server = AdsServer(control, admission, home=settings.account, most=settings.envoys_per_node)
    try:
        yield await server.start(*settings.xds)
    finally:
        await server.stop(_GRACE)


@contextlib.asynccontextmanager
async def _api(
    store: Store, control: Control, settings: Settings, listening: socket.socket
) -> AsyncIterator[asyncio.Task[None]]:
    """The HTTP API on a socket that listens already, until the block ends; the task that serves it."""

    def committed(head: Head, drafts: tuple[Draft, ...]) -> None:
        control.publish(head)
        for draft in drafts:
            if draft.release is not None:
                propagating.follow(draft.release)

    metrics = Metrics()
    writer = Writer(store, committed, measured=metrics.committed)
    services = Services(
        store=store,
        writer=writer,
        control=control,
        now=_now,
        uid=lambda: str(uuid.uuid4()),
        account=settings.account,
        region=settings.region,
        limits=settings.limits,
        metrics=metrics,
    )
    connections = Connections(services.limits, metrics)
    metrics.watch("revision", lambda: control.revision)
    metrics.watch("proxies_connected", lambda: len(control.statuses()))
    propagating = Propagating(services)
    propagating.resume()
    config = uvicorn.Config(
        build(services),
        http=cast("Any", connections.protocol),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(_GRACE),
    )
    server = _Uvicorn(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="serving the API")
    try:
        yield serving
    finally:
        server.should_exit = True
        await serving
        await propagating.close()
        await writer.close()


class _Uvicorn(uvicorn.Server):
    """Signals are the caller's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _follow(store: Store, control: Control) -> None:
    """Publish what other processes commit, and whatever was committed when a request was cut off."""
    while True:
        await asyncio.sleep(_POLL)
        try:
            control.publish(await asyncio.to_thread(store.head))
        except StorageError as error:
            _log.error("the database cannot be read, trying again: %s", error)


def _snapshot(graph: Graph, node: Key, placement: Placement) -> Snapshot:
    return build_snapshot(graph, node, {}, placement)


def _now() -> int:
    return time.time_ns() // 1_000_000


@contextlib.contextmanager
def _alone(database: Path) -> Iterator[None]:
    """Be the only server of a database: two would not hear of each other's proxies, and call theirs all there are."""
    path = database.with_name(f"{database.name}.serving")
    try:
        file = path.open("a+")
    except OSError as error:
        raise StorageError(f"Cannot write {path} beside the database: {error.strerror}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"The database {database} is in use by another 'meshwright serve'. Stop it, or give this one a "
                "--data-dir of its own, or a --database."
            ) from None
        except OSError as error:
            raise StorageError(f"Cannot lock {path}: {error.strerror}.") from error
        yield


@contextlib.contextmanager
def _listening(address: Address) -> Iterator[socket.socket]:
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server(address, family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UsageError(
            f"Cannot listen on {_join(host, port)} for the API: {why}. Stop the other process, or choose another "
            "address with --listen."
        ) from error
    with listening:
        # Accepted sockets inherit it. asyncio leaves Nagle's algorithm on for sockets made so, and each answer, sent
        # in two writes, would wait 40 ms for the client's delayed ack; uvloop turns it off by itself.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listening


def _require_loopback(settings: Settings) -> None:
    for option, (host, port) in (("--listen", settings.listen), ("--xds", settings.xds)):
        try:
            inside = host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            inside = False
        if not (inside or settings.beyond_loopback):
            raise UsageError(
                f"{option} {_join(host, port)} can be reached from other machines, and this version has no TLS and "
                "asks no Envoy who it is. Listen on an address of 127.0.0.0/8, or say "
                "--insecure-listen-beyond-loopback where the network itself is trusted."
            )


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _url(host: str, port: int) -> str:
    return f"http://{_join(host, port)}"
