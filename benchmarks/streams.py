"""A process of simulated proxies: delta ADS streams, one TCP connection each, that ack everything at once.

Driven by lines on standard input; answers with JSON lines. Times are CLOCK_MONOTONIC, which all processes share.

    expect N    reset the counters, then report once N streams have received a push: {"first", "last", "bytes", ...}
    counts      report what arrived since the last reset without waiting: {"streams", "bytes"}
    reconnect   end all streams and open them at once with what they have: {"seconds", "resent"} when all are answered
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from meshwright.ads.identities import AUTHORITY
from meshwright.remote import find_credentials
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE
from meshwright.trust.sigv4 import SIGNING_NAME, Request, sign

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


class Counters:
    """What has arrived since the last reset."""

    def __init__(self) -> None:
        self.streams: set[int] = set()
        self.bytes = 0
        self.responses = 0
        self.resent = 0
        self.first = 0.0
        self.last = 0.0
        self.arrived = asyncio.Event()

    def reset(self) -> None:
        """Forget everything."""
        self.streams, self.bytes, self.first, self.last = set(), 0, 0.0, 0.0
        self.responses = self.resent = 0

    def push(self, stream: int, size: int) -> None:
        """Count one response whose ack has just been written."""
        now = time.monotonic()
        self.first = self.first or now
        self.last = now
        self.streams.add(stream)
        self.bytes += size
        self.responses += 1
        self.arrived.set()

    def report(self) -> dict[str, Any]:
        """The counters as JSON."""
        return {
            "streams": len(self.streams),
            "bytes": self.bytes,
            "responses": self.responses,
            "first": self.first,
            "last": self.last,
        }


class Known:
    """What one proxy has, by type and name, over all its connections."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[str, str]] = {CLUSTER: {}, LISTENER: {}, ROUTE: {}}
        self.routes: set[str] = set()

    def take(self, pushed: Any) -> None:
        """Take a response."""
        versions = self.versions.setdefault(pushed.type_url, {})
        for one in pushed.resources:
            versions[one.name] = one.version
        for name in pushed.removed_resources:
            versions.pop(name, None)


async def resume(
    index: int, target: str, node: str, counters: Counters, ready: asyncio.Semaphore, known: Known
) -> None:
    """The same proxy on a new stream: it says what it has, and asks for what is not there to be sure of an answer."""
    request = message("envoy.service.discovery.v3.DeltaDiscoveryRequest")
    response = message("envoy.service.discovery.v3.DeltaDiscoveryResponse")
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.stream_stream(METHOD)(metadata=_signed(target))
        for number, (url, versions) in enumerate(known.versions.items()):
            said = request(type_url=url, initial_resource_versions=versions)
            if number == 0:
                said.node.CopyFrom(_node(node, index))
            if url == ROUTE:
                said.resource_names_subscribe.extend([*known.routes, "absent"])
            await call.write(said.SerializeToString())
        while (raw := await call.read()) is not grpc.aio.EOF:
            pushed = response.FromString(raw)
            await call.write(request(type_url=pushed.type_url, response_nonce=pushed.nonce).SerializeToString())
            counters.resent += len(pushed.resources)
            counters.push(index, len(raw))
            if "absent" in pushed.removed_resources:
                ready.release()


async def lasting(stream: Callable[[], Awaitable[None]]) -> None:
    """A proxy that opens its stream again when the connection broke, as Envoy does."""
    while True:
        try:
            await stream()
        except grpc.aio.AioRpcError as error:
            if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
                raise


async def simulate(
    index: int, target: str, node: str, counters: Counters, ready: asyncio.Semaphore, known: Known
) -> None:
    """One proxy: subscribe to clusters and listeners, then to the route configurations; ack what comes."""
    request = message("envoy.service.discovery.v3.DeltaDiscoveryRequest")
    response = message("envoy.service.discovery.v3.DeltaDiscoveryResponse")
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        call = channel.stream_stream(METHOD)(metadata=_signed(target))
        await call.write(request(type_url=CLUSTER, node=_node(node, index)).SerializeToString())
        await call.write(request(type_url=LISTENER).SerializeToString())
        routes = known.routes
        while (raw := await call.read()) is not grpc.aio.EOF:
            pushed = response.FromString(raw)
            await call.write(request(type_url=pushed.type_url, response_nonce=pushed.nonce).SerializeToString())
            counters.push(index, len(raw))
            known.take(pushed)
            if pushed.type_url == LISTENER:
                wanted = {name for one in pushed.resources for name in route_names(one.resource.value)}
                if new := wanted - routes:
                    routes |= new
                    await call.write(
                        request(type_url=ROUTE, resource_names_subscribe=sorted(new)).SerializeToString()
                    )
            if pushed.type_url == ROUTE:
                ready.release()


def route_names(listener: bytes) -> set[str]:
    """The route configurations that a listener asks for."""
    manager = message("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager")
    found = message("envoy.config.listener.v3.Listener").FromString(listener)
    chains = [*found.filter_chains, *([found.default_filter_chain] if found.HasField("default_filter_chain") else [])]
    filters = [one.typed_config for chain in chains for one in chain.filters]
    managers = [manager.FromString(one.value) for one in filters if one.type_url.endswith("HttpConnectionManager")]
    return {one.rds.route_config_name for one in managers if one.HasField("rds")}


def _signed(target: str) -> tuple[tuple[str, str], ...]:
    """What a proxy signs its stream with: the key that the environment names, if it names one."""
    if "AWS_SHARED_CREDENTIALS_FILE" not in os.environ:
        return ()
    key = find_credentials(os.environ, f"http://{target}")
    request = Request.of("POST", METHOD, [("host", AUTHORITY)])
    made = sign(request, key.key_id, key.secret, "us-east-1", SIGNING_NAME, time.time_ns() // 1_000_000)
    return tuple((name.lower(), value) for name, value in made.items())


def _node(node: str, index: int) -> Any:
    return message("envoy.config.core.v3.Node")(id=node, metadata={"meshwright": {"instance": f"simulated-{index}"}})


async def main() -> None:
    """Connect, say so, then answer the driver's lines until its end."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--target", required=True)
    arguments.add_argument("--node", action="append", required=True, help="node ids, dealt out in turn")
    arguments.add_argument("--count", type=int, required=True)
    chosen = arguments.parse_args()
    counters, ready = Counters(), asyncio.Semaphore(0)
    nodes = [chosen.node[index % len(chosen.node)] for index in range(chosen.count)]
    known = [Known() for _ in nodes]
    began = time.monotonic()
    tasks = [
        asyncio.create_task(lasting(partial(simulate, index, chosen.target, node, counters, ready, known[index])))
        for index, node in enumerate(nodes)
    ]
    for _ in nodes:
        await asyncio.wait_for(ready.acquire(), 120)
    say({"connected": chosen.count, "seconds": time.monotonic() - began})
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        match line.split():
            case ["expect", number]:
                counters.reset()
                say({"armed": int(number)})
                await asyncio.wait_for(arrival(counters, int(number)), 60)
            case ["reconnect"]:
                await ended(tasks)
                counters.reset()
                answered, began = asyncio.Semaphore(0), time.monotonic()
                tasks = [
                    asyncio.create_task(
                        lasting(partial(resume, index, chosen.target, node, counters, answered, known[index]))
                    )
                    for index, node in enumerate(nodes)
                ]
                for _ in nodes:
                    await asyncio.wait_for(answered.acquire(), 120)
                say({"seconds": time.monotonic() - began, "resent": counters.resent})
                continue
            case ["counts"]:
                pass
        say(counters.report())
    await ended(tasks)


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    """End the streams."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def arrival(counters: Counters, number: int) -> None:
    """Wait until `number` streams have received something."""
    while len(counters.streams) < number:
        counters.arrived.clear()
        await counters.arrived.wait()


def say(answer: dict[str, Any]) -> None:
    """One JSON line to the driver."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
