"""The control plane, assembled: store, control loop, HTTP API and xDS on one event loop.

The one rule: the store is the truth and everything else follows it. A commit is durable before anybody hears of it,
and what was missed is caught up with from the newest revision.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import uvicorn

from meshwright.ads.admission import identities
from meshwright.ads.server import AdsServer
from meshwright.ads.tls import credentials
from meshwright.api.app import Services, build
from meshwright.api.connection import Connections
from meshwright.api.http_server import HttpServer
from meshwright.api.identifiers import RandomIds
from meshwright.api.limits import Limits
from meshwright.api.metrics import Metrics
from meshwright.api.propagating import Propagating
from meshwright.api.trusted import Trusted
from meshwright.api.writing import Writer
from meshwright.certificates import TlsFiles, Watched, server_context
from meshwright.control import Control
from meshwright.errors import MeshwrightError, StorageError, UsageError
from meshwright.listening import Address, join, listening, refuse_exposure, url
from meshwright.model.identity import Kind, parse_key, split_mesh
from meshwright.snapshot.build import build as build_snapshot
from meshwright.store import sqlite
from meshwright.store.exclusive import alone
from meshwright.store.keys import ensure_administrator, prepare_directory

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Iterator

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.snapshot.resources import Placement, Snapshot
    from meshwright.store.contract import Draft, Head, Store
    from meshwright.trust.authorization import Authority

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
    trust: Path | None = None
    """The trust file; None for nobody but the administrator."""
    environment: str | None = None
    """Which of its environments this is."""
    beyond_loopback: bool = False
    """Whether plain HTTP and unauthenticated xDS may be offered to other machines."""
    tls: TlsFiles | None = None
    """The API's certificate and key; None for plain HTTP."""
    xds_tls: TlsFiles | None = None
    """Those of xDS, with the authorities that issue client certificates where those count."""
    xds_mutual: Address | None = None
    """Where Envoys with client certificates connect; None for `xds` itself where there are authorities."""
    xds_sockets: tuple[tuple[str, Path], ...] = ()
    """Unix sockets, each for the node of one ARN or path."""
    xds_without_authentication: bool = False
    """Whether anybody may be any node's proxy."""
    limits: Limits = Limits()
    quotas: dict[str, int] = {}
    """What beats the trust file's quotas and App Mesh's documented ones, by the names of `operations.Quotas`."""
    envoys_per_node: int = 50
    """How many Envoys of one virtual node or gateway may be connected."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A control plane that is ready."""

    api: str
    """What `--endpoint` takes."""
    xds: str
    """What `meshwright proxy --xds` takes."""
    xds_mutual: str
    """The same for proxies with client certificates, where that is another address; else ""."""
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
        RefusedError: the credentials file is another database's.
    """
    _refuse_exposure(settings)
    own = prepare_directory(settings.data_dir)
    database = (settings.database or own).resolve()
    with (
        listening(settings.listen) as listener,
        contextlib.closing(sqlite.connect(database)) as store,
        alone(database),
    ):
        _refuse_other_account(store, settings.account)
        key = ensure_administrator(store, settings.data_dir, _now())
        control = Control(_snapshot, _now)
        control.publish(store.head())
        metrics = Metrics()
        trusted = Trusted(settings.trust, settings.environment, account=settings.account, region=settings.region)
        tls = Watched(settings.tls) if settings.tls else None
        shared = tls if settings.xds_tls == settings.tls else None
        async with (
            _xds(store, control, settings, trusted.authority, shared, metrics) as (ports, watching),
            _api(store, control, settings, listener, tls, trusted, metrics) as serving,
            _followed(tls) as renewing,
        ):
            following = asyncio.create_task(_follow(store, control), name="following the database")
            rereading = asyncio.create_task(trusted.follow(), name="following the trust file")
            try:
                yield Running(
                    api=url(settings.listen[0], listener.getsockname()[1], secure=tls is not None),
                    xds=join(settings.xds[0], ports[0]),
                    xds_mutual=join(settings.xds_mutual[0], ports[1]) if settings.xds_mutual else "",
                    credentials=settings.data_dir / "credentials",
                    created=key is not None,
                    revision=control.revision,
                    parts=(serving, following, rereading, *watching, *renewing),
                )
            finally:
                following.cancel()
                rereading.cancel()
                await asyncio.gather(following, rereading, return_exceptions=True)


@contextlib.asynccontextmanager
async def _xds(
    store: Store,
    control: Control,
    settings: Settings,
    authority: Callable[[], Authority],
    shared: Watched | None,
    metrics: Metrics,
) -> AsyncIterator[tuple[list[int], tuple[asyncio.Task[None], ...]]]:
    """Serve xDS until the block ends; its ports, and the tasks that must not end before."""
    tls = Watched(settings.xds_tls) if settings.xds_tls and shared is None else shared
    ports: list[int] = []

    def hosts() -> Iterator[str]:
        for port in ports:
            yield from (join(name, port) for name in (settings.xds[0], "localhost", *(tls.pair.names if tls else ())))
        yield from tls.pair.names if tls else ()

    admission = identities(
        store,
        account=settings.account,
        region=settings.region,
        now=_now,
        authority=authority,
        hosts=hosts,
        authorities=lambda: tls.authorities if tls else (),
        anonymous=settings.xds_without_authentication,
    )
    server = AdsServer(control, admission, home=settings.account, most=settings.envoys_per_node, counts=metrics)
    if tls:
        metrics.watch("xds_certificate_expiry_seconds", lambda: tls.pair.expires_at)
    try:
        mutual = settings.xds_mutual is None and bool(tls and tls.authorities)
        ports.append(await server.start(*settings.xds, credentials(tls, clients=mutual) if tls else None))
        if settings.xds_mutual is not None and tls is not None:
            ports.append(await server.start(*settings.xds_mutual, credentials(tls, clients=True)))
        for node, path in settings.xds_sockets:
            await server.listen_for(_arn(node, settings), path)
        async with _followed(None if tls is shared else tls) as renewing:
            yield ports, (*server.parts, *renewing)
    finally:
        await server.stop(_GRACE)


def _arn(node: str, settings: Settings) -> str:
    if node.startswith("arn:"):
        return node
    return parse_key(node).arn(region=settings.region, account=settings.account, home=settings.account)


@contextlib.asynccontextmanager
async def _followed(tls: Watched | None) -> AsyncIterator[tuple[asyncio.Task[None], ...]]:
    """Follow the files of a certificate until the block ends; the tasks that do."""
    tasks = (asyncio.create_task(tls.follow(), name=f"following {tls.files.certificate}"),) if tls else ()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _api(
    store: Store,
    control: Control,
    settings: Settings,
    listener: socket.socket,
    tls: Watched | None,
    trusted: Trusted,
    metrics: Metrics,
) -> AsyncIterator[asyncio.Task[None]]:
    """The HTTP API on a socket that listens already, until the block ends; the task that serves it."""

    def committed(head: Head, drafts: tuple[Draft, ...]) -> None:
        follows = control.revision == head.revision - len(drafts)
        touched = [key for draft in drafts for key in (*(one.key for one in draft.puts), *draft.deletes)]
        control.publish(head, touched if follows else None)
        for draft in drafts:
            if draft.release is not None:
                propagating.follow(draft.release)

    writer = Writer(store, committed, measured=metrics.committed)
    services = Services(
        store=store,
        writer=writer,
        control=control,
        now=_now,
        uid=RandomIds(),
        account=settings.account,
        region=settings.region,
        authority=trusted.authority,
        sharing=trusted.sharing,
        quotas=None,
        more_quotas=settings.quotas,
        limits=settings.limits,
        metrics=metrics,
    )
    if tls:
        metrics.watch("api_certificate_expiry_seconds", lambda: tls.pair.expires_at)
    connections = Connections(services.limits, metrics)
    metrics.watch("revision", lambda: control.revision)
    metrics.watch("trust_file_broken", lambda: float(bool(trusted.fault)))
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
        proxy_headers=False,  # who calls is who connected: aws:SourceIp is decided on
        timeout_graceful_shutdown=int(_GRACE),
    )
    server = HttpServer(config, server_context(tls) if tls else None, connections)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="serving the API")
    try:
        yield serving
    finally:
        server.should_exit = True
        await serving
        await propagating.close()
        await services.issuers.close()
        await writer.close()


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


def _refuse_other_account(store: Store, account: str) -> None:
    """Raise when the meshes with bare names are of another account: they would be taken for this one's."""
    for one in store.head().state.of(Kind.MESH):
        owner = one.metadata.mesh_owner if one.metadata else account
        if (owner == account) != (split_mesh(one.key.mesh)[1] == ""):
            raise UsageError(
                f"The database holds mesh {one.key.mesh_name!r} of account {owner}, kept by a server of another "
                f"account than {account}. Start with the --account that it was made with, or on another --data-dir."
            )


def _refuse_exposure(settings: Settings) -> None:
    if settings.beyond_loopback:
        return
    refuse_exposure(
        "--listen",
        settings.listen,
        secure=settings.tls is not None,
        authenticated=True,
        remedy="--tls-certificate and --tls-key",
    )
    for option, address in (("--xds", settings.xds), ("--xds-mutual", settings.xds_mutual)):
        if address is not None:
            refuse_exposure(
                option,
                address,
                secure=settings.xds_tls is not None,
                authenticated=not settings.xds_without_authentication,
                remedy="--tls-certificate and --tls-key, or --xds-tls-certificate and --xds-tls-key",
            )
