"""Serve xDS: its ports, Unix sockets and certificates.

The one rule: an address speaks TLS, and asks for client certificates, as the settings say from its first connection.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from meshwright.ads.admission import identities
from meshwright.ads.server import AdsServer
from meshwright.ads.tls import credentials
from meshwright.certificates import Watched, followed
from meshwright.listening import join
from meshwright.model.identity import parse_key
from meshwright.server.parts import GRACE, now

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterator

    from meshwright.ads.identities import Identities
    from meshwright.server.parts import Parts
    from meshwright.server.settings import Settings


@contextlib.asynccontextmanager
async def xds(parts: Parts) -> AsyncIterator[tuple[list[int], tuple[asyncio.Task[None], ...]]]:
    """Serve xDS until the block ends; its ports, and the tasks that must not end before."""
    settings = parts.settings
    shared = settings.xds_tls == settings.tls
    own = Watched(settings.xds_tls) if settings.xds_tls and not shared else None
    tls = parts.tls if shared else own
    ports: list[int] = []
    server = AdsServer(
        parts.control,
        _admission(parts, tls, ports),
        home=settings.account,
        most=settings.envoys_per_node,
        counts=parts.metrics,
        registrations=parts.registrations,
        traffic=parts.traffic,
    )
    parts.metrics.watch("proxies_sharing_an_id", lambda: server.sharing)
    if tls:
        parts.metrics.watch("xds_certificate_expiry_seconds", lambda: tls.pair.expires_at)
    try:
        mutual = settings.xds_mutual is None and bool(tls and tls.authorities)
        ports.append(await server.start(*settings.xds, credentials(tls, clients=mutual) if tls else None))
        if settings.xds_mutual is not None and tls is not None:
            ports.append(await server.start(*settings.xds_mutual, credentials(tls, clients=True)))
        for node, path in settings.xds_sockets:
            await server.listen_for(_arn(node, settings), path)
        async with followed(own) as renewing:
            yield ports, (*server.parts, *renewing)
    finally:
        await server.stop(GRACE)


def _admission(parts: Parts, tls: Watched | None, ports: list[int]) -> Identities:
    """Who may connect; the `ports` are known only once the server listens, and are looked at when somebody comes."""
    settings = parts.settings

    def hosts() -> Iterator[str]:
        names = tls.pair.names if tls else ()
        for port in ports:
            yield from (join(name, port) for name in (settings.xds[0], "localhost", *names))
        yield from names

    found = identities(
        parts.store,
        account=settings.account,
        region=settings.region,
        now=now,
        authority=parts.trusted.authority,
        hosts=hosts,
        authorities=lambda: tls.authorities if tls else (),
        anonymous=settings.xds_without_authentication,
    )
    found.denied = parts.attempts.denied
    return found


def _arn(node: str, settings: Settings) -> str:
    if node.startswith("arn:"):
        return node
    return parse_key(node).arn(region=settings.region, account=settings.account, home=settings.account)
