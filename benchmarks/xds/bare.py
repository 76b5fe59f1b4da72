"""The raw floor as a process: a bare grpc.aio loop that sends ready bytes, without control plane or state.

It answers a subscription with the resources of that name that it was given (`captured.Held`, as JSON), sends what it
is told to, and counts acks; reports of Envoys' calls are read and dropped. Driven by lines, answers in JSON lines:

    hold PATH              answer subscriptions with what is there
    push PATH [NODE…]      send what is there to every stream of these nodes, or of all in there: {"began", "streams"}
    acked                  when all of them have acked: {"last"}
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import msgspec
import uvloop

from benchmarks.process import say
from benchmarks.xds.captured import Held
from meshwright.snapshot.messages import field, message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Handler = grpc.GenericRpcHandler[Any, Any]

_OPTIONS = (("grpc.server.max_pending_requests", 20_000), ("grpc.server.max_pending_requests_hard_limit", 40_000))
"""The control plane's, without which gRPC cancels some of thousands that connect at once."""


class Pushed:
    """One push on its way."""

    def __init__(self, nonce: str, streams: int) -> None:
        self.nonce = nonce
        self.began = time.monotonic()
        self.last = 0.0
        self.waiting = streams
        self.settled = asyncio.Event()

    def ack(self) -> None:
        """One more stream has it."""
        self.waiting -= 1
        if not self.waiting:
            self.last = time.monotonic()
            self.settled.set()


class Bare(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic for the type checker alone
    """All the methods that there are."""

    def __init__(self) -> None:
        self.held: Held = {}
        self.pushed: Pushed | None = None
        self._queues: dict[str, set[asyncio.Queue[bytes]]] = {}
        self._read: dict[str, dict[str, bytes]] = {}

    def service(self, handler_call_details: Any) -> Any:
        """Discovery, load reports, or what else an Envoy tells."""
        method = handler_call_details.method
        if method.endswith("/DeltaAggregatedResources"):
            return grpc.stream_stream_rpc_method_handler(self._discover)
        return grpc.stream_stream_rpc_method_handler(_ask if method.endswith("/StreamLoadStats") else _drop)

    def push(self, path: str, nodes: list[str]) -> dict[str, Any]:
        """Put the ready bytes into every stream's queue."""
        nonce = f"p{time.monotonic_ns()}"
        if path not in self._read:
            found = msgspec.json.decode(Path(path).read_bytes(), type=Held)
            self._read[path] = {node: _only(types) for node, types in found.items()}
        bodies = self._read[path]
        due = [
            (queue, bodies[node] + field(5, nonce.encode()))
            for node in nodes or bodies
            for queue in self._queues.get(node, ())
        ]
        self.pushed = Pushed(nonce, len(due))
        for queue, body in due:
            queue.put_nowait(body)
        return {"began": self.pushed.began, "streams": len(due)}

    async def _discover(self, requests: AsyncIterator[bytes], context: Any) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        reader = asyncio.create_task(self._hear(requests, queue))
        try:
            while True:
                await context.write(await queue.get())
        finally:
            for queues in self._queues.values():
                queues.discard(queue)
            reader.cancel()

    async def _hear(self, requests: AsyncIterator[bytes], queue: asyncio.Queue[bytes]) -> None:
        request = message("envoy.service.discovery.v3.DeltaDiscoveryRequest")
        node, asked = "", set()
        async for raw in requests:
            said = request.FromString(raw)
            if not node:
                node = said.node.id
                self._queues.setdefault(node, set()).add(queue)
            if said.response_nonce and self.pushed is not None and said.response_nonce == self.pushed.nonce:
                self.pushed.ack()
            if said.resource_names_subscribe or said.type_url not in asked:
                asked.add(said.type_url)
                if found := _answer(self.held.get(node, {}).get(said.type_url, {}), said):
                    queue.put_nowait(found)


def _answer(named: dict[str, bytes], said: Any) -> bytes:
    """The response to a subscription; empty where the client has it all."""
    known = said.initial_resource_versions
    names = list(said.resource_names_subscribe) or list(named)
    bodies = [named[name] for name in names if name in named and name not in known]
    absent = [field(6, name.encode()) for name in names if name not in named and name != "*"]
    if "*" in names:
        bodies = [body for name, body in named.items() if name not in known]
    return _response(said.type_url, bodies + absent) + field(5, b"1") if bodies or absent else b""


def _response(url: str, parts: list[bytes]) -> bytes:
    return b"".join(parts) + field(4, url.encode())


def _only(types: dict[str, dict[str, bytes]]) -> bytes:
    """The response with the resources of the one type that there is."""
    ((url, named),) = types.items()
    return _response(url, list(named.values()))


async def _ask(requests: AsyncIterator[bytes], context: Any) -> None:
    """Have the loads of all clusters reported as often as the control plane has."""
    asked = message("envoy.service.load_stats.v3.LoadStatsResponse")(
        send_all_clusters=True, load_reporting_interval={"seconds": 5}
    )
    await context.write(asked.SerializeToString())
    await _drop(requests, context)


async def _drop(requests: AsyncIterator[bytes], _context: Any) -> None:
    async for _ in requests:
        pass


async def main() -> None:
    """Serve until standard input ends."""
    bare = Bare()
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((bare,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    say({"port": port})
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        match line.split():
            case ["hold", path]:
                body = await asyncio.to_thread(Path(path).read_bytes)
                bare.held = msgspec.json.decode(body, type=Held)
                say({"nodes": len(bare.held)})
            case ["push", path, *nodes]:
                say(bare.push(path, nodes))
            case ["acked"] if bare.pushed is not None:
                await asyncio.wait_for(bare.pushed.settled.wait(), 60)
                say({"last": bare.pushed.last})
    await server.stop(1)


if __name__ == "__main__":
    uvloop.run(main())
