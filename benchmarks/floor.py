"""The raw floor: the same bytes to every stream through a bare grpc.aio loop, without control plane or state.

Run as a process: prints {"port"}, then for every line `push PATH` sends the bytes of PATH to every stream.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


class Floor(grpc.GenericRpcHandler):
    """Answers a stream's first subscriptions with one tiny resource each, then sends what it is told to."""

    def __init__(self) -> None:
        self.queues: set[asyncio.Queue[bytes]] = set()

    def service(self, handler_call_details: Any) -> Any:
        """The one method there is."""
        del handler_call_details
        return grpc.stream_stream_rpc_method_handler(self.stream)

    async def stream(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """One proxy."""
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        reader = asyncio.create_task(self.read(requests, queue))
        self.queues.add(queue)
        try:
            while True:
                await context.write(await queue.get())
        finally:
            self.queues.discard(queue)
            reader.cancel()

    @staticmethod
    async def read(requests: AsyncIterator[bytes], queue: asyncio.Queue[bytes]) -> None:
        """Acks are read and dropped; the first request of clusters and listeners is answered."""
        answered: set[str] = set()
        request = message("envoy.service.discovery.v3.DeltaDiscoveryRequest")
        async for raw in requests:
            url = request.FromString(raw).type_url
            if url not in answered:
                answered.add(url)
                queue.put_nowait(response(url, b"" if url != LISTENER else _listener()))


def response(url: str, body: bytes) -> bytes:
    """A delta response with one resource."""
    made = message("envoy.service.discovery.v3.DeltaDiscoveryResponse")(
        type_url=url,
        nonce="1",
        resources=[{"name": "r", "version": "1", "resource": {"type_url": url, "value": body}}],
    )
    return bytes(made.SerializeToString())


def _listener() -> bytes:
    manager = message("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager")(
        rds={"route_config_name": "r"}
    )
    packed = message("google.protobuf.Any")()
    packed.type_url = "type.googleapis.com/" + manager.DESCRIPTOR.full_name
    packed.value = manager.SerializeToString()
    listener = message("envoy.config.listener.v3.Listener")
    return bytes(listener(filter_chains=[{"filters": [{"typed_config": packed}]}]).SerializeToString())


async def main() -> None:
    """Serve until standard input ends."""
    assert {CLUSTER, LISTENER, ROUTE}
    floor = Floor()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((floor,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    say({"port": port})
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        body = response(ROUTE, await asyncio.to_thread(Path(line.split()[1]).read_bytes))
        began = time.monotonic()
        for queue in floor.queues:
            queue.put_nowait(body)
        say({"began": began})
    await server.stop(1)


def say(answer: dict[str, Any]) -> None:
    """One JSON line to the driver."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
