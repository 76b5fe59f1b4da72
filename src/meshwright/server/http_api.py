"""Serve the HTTP API on a socket that listens already.

The one rule: a commit reaches the proxies' control loop before the next one of this process begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from meshwright.api.app import Services, build
from meshwright.api.canary_tending import tend
from meshwright.api.connection import Connections
from meshwright.api.http_server import HttpServer
from meshwright.api.identifiers import RandomIds
from meshwright.api.propagating import Propagating
from meshwright.api.writing import Writer
from meshwright.certificates import server_context
from meshwright.server.issuing import own_keys
from meshwright.server.parts import GRACE, now

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable

    from meshwright.control import Control
    from meshwright.model.identity import Key
    from meshwright.server.exporting import Exporting
    from meshwright.server.parts import Parts
    from meshwright.store.contract import Draft, Head


@contextlib.asynccontextmanager
async def http_api(
    parts: Parts, listener: socket.socket, told: Exporting
) -> AsyncIterator[tuple[asyncio.Task[None], asyncio.Task[None]]]:
    """Serve the API until the block ends, leaving events where they are `told`; the tasks that do."""

    def committed(head: Head, drafts: tuple[Draft, ...]) -> None:
        _publish(parts.control, head, drafts)
        for draft in drafts:
            if draft.release is not None:
                propagating.follow(draft.release)
                told.released(draft.release)

    foreseen = functools.partial(_foresee, parts)
    writer = Writer(parts.store, committed, measured=parts.metrics.committed, foreseen=foreseen)
    services = _services(parts, writer, told)
    _watch(parts)
    parts.metrics.watch_releases(services.evidence.under_way)
    propagating = Propagating(services)
    propagating.resume()
    server = _server(parts, services)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="serving the API")
    tending = asyncio.create_task(tend(services), name="looking after canaries")
    try:
        yield serving, tending
    finally:
        server.should_exit = True
        await serving
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)
        await propagating.close()
        await services.evidence.close()
        await services.issuers.close()
        await writer.close()


def _publish(control: Control, head: Head, drafts: tuple[Draft, ...]) -> None:
    """Show the proxies a commit; what it touched says all only where no other process committed in between."""
    control.publish(head, _touched(drafts) if _follows(control, head, drafts) else None)


def _foresee(parts: Parts, head: Head, drafts: tuple[Draft, ...], wanted: Callable[[], bool]) -> None:
    """Have built what a commit will change, as long as it is not done."""
    if _follows(parts.control, head, drafts):
        parts.pace.early(parts.control.foresee(head, _touched(drafts)), wanted)


def _follows(control: Control, head: Head, drafts: tuple[Draft, ...]) -> bool:
    return control.revision == head.revision - len(drafts)


def _touched(drafts: tuple[Draft, ...]) -> list[Key]:
    return [key for draft in drafts for key in (*(one.key for one in draft.puts), *draft.deletes)]


def _services(parts: Parts, writer: Writer, told: Exporting) -> Services:
    return Services(
        store=parts.store,
        writer=writer,
        control=parts.control,
        told=told.tell,
        found=parts.found,
        traffic=parts.traffic,
        now=now,
        uid=RandomIds(),
        account=parts.settings.account,
        region=parts.settings.region,
        authority=parts.trusted.authority,
        sharing=parts.trusted.sharing,
        quotas=None,
        more_quotas=parts.settings.quotas,
        limits=parts.settings.limits,
        metrics=parts.metrics,
        signing_key=parts.signing_key,
        noted=parts.attempts,
        issuer=parts.issuer,
        issuers=own_keys(parts.issuer),
    )


def _watch(parts: Parts) -> None:
    """Let the metrics read what others hold."""
    metrics, control, trusted, tls = parts.metrics, parts.control, parts.trusted, parts.tls
    if tls:
        metrics.watch("api_certificate_expiry_seconds", lambda: tls.pair.expires_at)
    metrics.watch("revision", lambda: control.revision)
    metrics.watch("trust_file_broken", lambda: float(bool(trusted.fault)))
    metrics.watch("proxies_connected", lambda: control.connected)
    metrics.watch_proxies(control.standing)
    metrics.watch("observed_edges", lambda: len(parts.traffic))
    metrics.watch("load_reports", lambda: parts.traffic.reports)


def _server(parts: Parts, services: Services) -> HttpServer:
    connections = Connections(services.limits, parts.metrics)
    config = uvicorn.Config(
        build(services),
        http=cast("Any", connections.protocol),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who calls is who connected: aws:SourceIp is decided on
        timeout_graceful_shutdown=int(GRACE),
    )
    return HttpServer(config, server_context(parts.tls) if parts.tls else None, connections)
