"""An SDS server, as a proxy's machine has one: certificates and authorities by name, and the next ones.

The one rule: whoever asked hears of every change.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from meshwright.snapshot.messages import message, packed
from meshwright.snapshot.resources import SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from meshwright.lab.certificates import Issued


class SecretServer:
    """Hands out what it holds: an `Issued` is a certificate with its key, bytes are an authority's certificate."""

    def __init__(
        self,
        secrets: Mapping[str, Issued | bytes],
        of_proxies: Mapping[tuple[str, str], Issued | bytes] | None = None,
    ) -> None:
        """`secrets` by name; `of_proxies`, by node id and name, are what one proxy alone gets under that name."""
        self._secrets = {("", name): secret for name, secret in secrets.items()} | dict(of_proxies or {})
        self._changed = asyncio.Event()
        self._version = 1

    def rotate(self, name: str, following: Issued | bytes, proxy: str = "") -> None:
        """Hand out another one from now on, to all proxies or to the one with that node id."""
        self._secrets[proxy, name], changed = following, self._changed
        self._version += 1
        self._changed = asyncio.Event()
        changed.set()

    @contextlib.asynccontextmanager
    async def serving(self, socket: Path) -> AsyncIterator[None]:
        """Listen on `socket`."""
        handler = grpc.stream_stream_rpc_method_handler(self._stream)
        methods = {"StreamSecrets": handler}
        service = "envoy.service.secret.v3.SecretDiscoveryService"
        server = grpc.aio.server(handlers=[grpc.method_handlers_generic_handler(service, methods)])
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)

    async def _stream(self, requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        request = message("envoy.service.discovery.v3.DiscoveryRequest").FromString(await anext(requests))
        name, proxy = request.resource_names[0], request.node.id
        while True:
            changed, version = self._changed, str(self._version)
            found = self._secrets.get((proxy, name), self._secrets.get(("", name)))
            if found is not None:  # else whoever asks waits, until it is there
                kind = message("envoy.extensions.transport_sockets.tls.v3.Secret")
                secret = packed(kind(name=name, **_written(found)))
                response = message("envoy.service.discovery.v3.DiscoveryResponse")(
                    version_info=version, resources=[secret], type_url=SECRET, nonce=version
                )
                yield response.SerializeToString()
            await changed.wait()


def _written(secret: Issued | bytes) -> dict[str, Any]:
    if isinstance(secret, bytes):
        return {"validation_context": {"trusted_ca": {"inline_bytes": secret}}}
    pair = {"certificate_chain": {"inline_bytes": secret.certificate}, "private_key": {"inline_bytes": secret.key}}
    return {"tls_certificate": pair}
