"""An SDS server of tests, as a proxy's machine has one: certificates and authorities by name, and the next ones.

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
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pki import Issued


class SecretServer:
    """Hands out what it holds: an `Issued` is a certificate with its key, bytes are an authority's certificate."""

    def __init__(self, **secrets: Issued | bytes) -> None:
        self._secrets = secrets
        self._changed = asyncio.Event()
        self._version = 1

    def rotate(self, name: str, following: Issued | bytes) -> None:
        """Hand out another one from now on."""
        self._secrets[name], changed = following, self._changed
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
        name = request.resource_names[0]
        while True:
            changed, version = self._changed, str(self._version)
            kind = message("envoy.extensions.transport_sockets.tls.v3.Secret")
            secret = packed(kind(name=name, **_written(self._secrets[name])))
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
