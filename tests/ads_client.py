"""A small xDS client for tests: speaks either protocol, of all types or one, and does nothing by itself."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Self, cast

import grpc
import grpc.aio

from meshwright.ads.identities import AUTHORITY
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, RUNTIME, SECRET
from meshwright.trust.sigv4 import Request, sign
from processes import DEADLINE

if TYPE_CHECKING:
    from types import TracebackType

    from meshwright.trust.credentials import Credentials

_SERVICES = {
    "": "/envoy.service.discovery.v3.AggregatedDiscoveryService/{}AggregatedResources",
    CLUSTER: "/envoy.service.cluster.v3.ClusterDiscoveryService/{}Clusters",
    ENDPOINT: "/envoy.service.endpoint.v3.EndpointDiscoveryService/{}Endpoints",
    LISTENER: "/envoy.service.listener.v3.ListenerDiscoveryService/{}Listeners",
    ROUTE: "/envoy.service.route.v3.RouteDiscoveryService/{}Routes",
    SECRET: "/envoy.service.secret.v3.SecretDiscoveryService/{}Secrets",
    RUNTIME: "/envoy.service.runtime.v3.RuntimeDiscoveryService/{}Runtime",
}
_EOF = cast("Any", grpc.aio).EOF  # grpc-stubs does not know it


def signed(
    key: Credentials, method: str, *, host: str = AUTHORITY, at: int | None = None, region: str = "us-east-1"
) -> tuple[tuple[str, str], ...]:
    """The gRPC metadata of a call of `method` that `key` signs, as Envoy makes it; `at` in milliseconds."""
    request = Request.of("POST", method, [("host", host), ("content-type", "application/grpc"), ("te", "trailers")])
    moment = time.time_ns() // 1_000_000 if at is None else at
    made = sign(request, key.key_id, key.secret, region, "appmesh", moment, key.session_token, hash_header=True)
    return tuple((name.lower(), value) for name, value in made.items())


class AdsClient:
    """One stream of one client; `async with` opens and closes it."""

    def __init__(
        self,
        target: str,
        node: dict[str, Any] | None,
        *,
        delta: bool,
        only: str = "",
        key: Credentials | None = None,
        tls: grpc.ChannelCredentials | None = None,
    ) -> None:
        """`only` is the type whose own service is asked, without naming the type; "" for all. `key` signs."""
        self._only = only
        self._key = key
        self._tls = tls
        self._target = target
        self._node = node
        self.delta = delta
        self._kind = "DeltaDiscovery" if delta else "Discovery"

    async def __aenter__(self) -> Self:
        # Each with a connection of its own: a shared one would keep the certificate of whoever came first.
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        if self._tls is None:
            self._channel = grpc.aio.insecure_channel(self._target, options=options)
        else:
            self._channel = grpc.aio.secure_channel(self._target, self._tls, options=options)
        method = _SERVICES[self._only].format("Delta" if self.delta else "Stream")
        open_stream: Any = self._channel.stream_stream(
            method,
            request_serializer=lambda value: value.SerializeToString(),
            response_deserializer=message(f"envoy.service.discovery.v3.{self._kind}Response").FromString,
        )
        self.call = open_stream(metadata=() if self._key is None else signed(self._key, method))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call.cancel()
        await self._channel.close(None)

    async def say(self, type_url: str, **fields: Any) -> None:
        """Send a request; the first of the stream carries the node, as Envoy does it."""
        request = message(f"envoy.service.discovery.v3.{self._kind}Request")(**fields)
        if type_url != self._only:
            request.type_url = type_url
        if self._node is not None:
            request.node.MergeFrom(message("envoy.config.core.v3.Node")(**self._node))
            self._node = None
        await self.call.write(request)

    async def hear(self, timeout: float = DEADLINE) -> Any:  # noqa: ASYNC109 - a test's patience
        """The next response; fails when none comes in time or the stream ends."""
        found = await asyncio.wait_for(self.call.read(), timeout)
        assert found is not _EOF, "the server ended the stream"
        return found

    async def ended(self) -> int:
        """The gRPC code that the stream ended with, once it has; what was said before is passed over."""
        while await self.call.read() is not _EOF:
            pass
        code: int = (await self.call.code()).value[0]
        return code

    async def silence(self, seconds: float = 0.1) -> bool:
        """Whether the server says nothing for a while. The stream cannot be read any further afterwards."""
        try:
            await asyncio.wait_for(self.call.read(), seconds)
        except TimeoutError:
            return True
        return False

    async def ack(self, response: Any, **fields: Any) -> None:
        """Take `response`."""
        extra = {} if self.delta else {"version_info": response.version_info}
        await self.say(response.type_url, response_nonce=response.nonce, **extra, **fields)

    async def nack(self, response: Any, words: str, **fields: Any) -> None:
        """Refuse `response`."""
        await self.say(response.type_url, response_nonce=response.nonce, error_detail={"message": words}, **fields)
