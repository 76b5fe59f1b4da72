"""A small ADS client for tests: speaks either protocol over real gRPC and does nothing by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, cast

import grpc
import grpc.aio

from meshwright.snapshot.messages import message

if TYPE_CHECKING:
    from types import TracebackType

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_EOF = cast("Any", grpc.aio).EOF  # grpc-stubs does not know it


class AdsClient:
    """One stream of one client; `async with` opens and closes it."""

    def __init__(self, target: str, node: dict[str, Any] | None, *, delta: bool) -> None:
        self._target = target
        self._node = node
        self.delta = delta
        self._kind = "DeltaDiscovery" if delta else "Discovery"

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._target, options=[("grpc.max_receive_message_length", -1)])
        method = "DeltaAggregatedResources" if self.delta else "StreamAggregatedResources"
        open_stream: Any = self._channel.stream_stream(
            _SERVICE + method,
            request_serializer=lambda value: value.SerializeToString(),
            response_deserializer=message(f"envoy.service.discovery.v3.{self._kind}Response").FromString,
        )
        self.call = open_stream()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call.cancel()
        await self._channel.close(None)

    async def say(self, type_url: str, **fields: Any) -> None:
        """Send a request; the first of the stream carries the node, as Envoy does it."""
        request = message(f"envoy.service.discovery.v3.{self._kind}Request")(type_url=type_url, **fields)
        if self._node is not None:
            request.node.MergeFrom(message("envoy.config.core.v3.Node")(**self._node))
            self._node = None
        await self.call.write(request)

    async def hear(self, timeout: float = 5.0) -> Any:  # noqa: ASYNC109 - a test's patience
        """The next response; fails when none comes in time or the stream ends."""
        found = await asyncio.wait_for(self.call.read(), timeout)
        assert found is not _EOF, "the server ended the stream"
        return found

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
