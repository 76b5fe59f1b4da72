"""gRPC for lab workloads: any method of any service is answered, with the reply as JSON for its message.

Messages are bytes throughout, so that no generated code is needed and no proxy on the way can tell.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import msgspec

from meshwright.lab.exchange import Answer, HangUpError, Reply, Request, plain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"
"""A HealthCheckResponse with status SERVING: field 1, a variant, 1."""


class Server:
    """Answers on one address until it is closed."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def start(self, host: str, port: int) -> int:
        """Listen, on a free port when `port` is 0; the port.

        Raises:
            OSError: the port is taken.
        """
        # Without SO_REUSEPORT a port that is taken is an error, and not shared in silence.
        self._server = grpc.aio.server(handlers=[_Anything(self._answer)], options=[("grpc.so_reuseport", 0)])
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(errno.EADDRINUSE, str(error)) from error
        await self._server.start()
        return bound

    async def stop(self) -> None:
        """Close the listener and every connection."""
        await self._server.stop(None)


class _Anything(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs only
    """Takes every method as one that takes and gives a single message."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        path = str(handler_call_details.method)
        return grpc.unary_unary_rpc_method_handler(_healthy if path == _HEALTH else self._respond(path))

    def _respond(self, path: str) -> Callable[[bytes, grpc.aio.ServicerContext[Any, Any]], Awaitable[bytes]]:
        async def respond(message: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            del message
            headers = {str(name): str(value) for name, value in context.invocation_metadata() or ()}
            request = Request(authority=headers.pop(":authority", ""), path=path, method="POST", headers=headers)
            try:
                reply = await self._answer(request, "grpc")
            except HangUpError:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the workload hung up, as it was told to")
            if reply.status != 200:
                await context.abort(grpc.StatusCode.UNAVAILABLE, f"the workload failed with {reply.status}")
            return msgspec.json.encode(reply)

        return respond


async def _healthy(message: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    del message, context
    return _SERVING


async def call(host: str, port: int, request: Request) -> Reply:
    """Call `request.path` (`/SERVICE/METHOD`) at `host:port` on a channel of its own.

    Never raises for what happens to the call: any status but OK is a reply with status 503 that says so.
    """
    options = [("grpc.default_authority", request.authority), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"{host}:{port}", options=options) as channel:
        method = channel.unary_unary(request.path, request_serializer=None, response_deserializer=None)
        try:
            body = await method(b"", metadata=tuple(request.headers.items()))
        except grpc.aio.AioRpcError as error:
            return Reply(status=503, fault=plain(f"gRPC {error.code().name}: {error.details()}"))
    return msgspec.json.decode(body, type=Reply)
