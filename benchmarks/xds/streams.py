"""A process of simulated proxies: delta ADS streams, one TCP connection each, that ack everything at once.

Driven by lines on standard input; answers with JSON lines. Times are CLOCK_MONOTONIC, which all processes share.

    expect N    report once N streams have received a push from now on, and the sums since the start
    counts      report the same without waiting: {"first", "last", "responses", "acked", "received"}
    reconnect   end all streams, open them at once with what they have: {"seconds", "resent", "broken"} once answered
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import resource
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpc

from benchmarks.process import say
from meshwright.ads.identities import AUTHORITY
from meshwright.remote import find_credentials
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE
from meshwright.trust.sigv4 import SIGNING_NAME, Request, sign

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

_EOF = cast("Any", grpc.aio).EOF  # grpc-stubs does not know it
BACK_OFF, LONGEST_BACK_OFF = 0.5, 30.0
"""Seconds: a connection that broke is opened again after less than the first, then twice as much, up to the last."""
BROKEN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL}
"""How a stream ends whose connection broke; the last where that is found out by writing."""
AT_ONCE = 100
"""Proxies that connect together at first, when nothing is measured yet; when they reconnect, all do."""
MOST_MEMORY = 8 * 2**30
"""Bytes of address space. On a crowded machine this process grew without end, once in some times that 2,000 streams
connected at once; with a limit the run fails, and nothing else on the machine does."""
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


class Counters:
    """What has arrived: since the last reset, and of each stream since the start."""

    def __init__(self, streams: int) -> None:
        self.streams: set[int] = set()
        self.first = 0.0
        self.last = 0.0
        self.resent = 0
        self.broken = 0
        """Streams that ended otherwise than by us."""
        self.responses = 0
        self.acked = 0
        """Bytes of acks."""
        self.received = [0] * streams
        """Bytes of responses, by stream."""
        self.arrived = asyncio.Event()

    def reset(self) -> None:
        """Forget which streams have received a push; the sums go on."""
        self.streams, self.first, self.last = set(), 0.0, 0.0
        self.resent = self.broken = 0

    def push(self, stream: int, size: int, ack: int) -> None:
        """Count one response whose ack has just been written, with the bytes of both."""
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.streams.add(stream)
        self.responses += 1
        self.received[stream] += size
        self.acked += ack
        self.arrived.set()

    def report(self) -> dict[str, Any]:
        """The counters as JSON."""
        return {
            "first": self.first,
            "last": self.last,
            "responses": self.responses,
            "acked": self.acked,
            "received": self.received,
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


async def lasting(stream: Callable[[], Awaitable[None]], counters: Counters) -> None:
    """A proxy that opens its stream again when the connection broke, after as long as Envoy waits.

    Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/grpc_service.proto (retry_policy)
    """
    longest = BACK_OFF
    while True:
        try:
            await stream()
        except grpc.aio.AioRpcError as error:
            if error.code() not in BROKEN:
                raise
        counters.broken += 1
        await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - no secret depends on it
        longest = min(2 * longest, LONGEST_BACK_OFF)


class Proxy:
    """One proxy, whatever becomes of its streams: each is opened with what it has from those before."""

    def __init__(self, index: int, target: str, node: str, counters: Counters) -> None:
        self._index = index
        self._target = target
        self._node = node
        self._counters = counters
        self._known = Known()

    async def begin(self, ready: asyncio.Semaphore) -> None:
        """Subscribe to clusters and listeners, then to the route configurations; with each of these it is `ready`."""

        async def take(call: Any, pushed: Any) -> None:
            self._known.take(pushed)
            if pushed.type_url == LISTENER:
                wanted = {name for one in pushed.resources for name in route_names(one.resource.value)}
                if new := wanted - self._known.routes:
                    self._known.routes |= new
                    await call.write(
                        _request(type_url=ROUTE, resource_names_subscribe=sorted(new)).SerializeToString()
                    )
            if pushed.type_url == ROUTE:
                ready.release()

        first = _request(type_url=CLUSTER, node=_node(self._node, self._index))
        await self._stream((first, _request(type_url=LISTENER)), take)

    async def resume(self, ready: asyncio.Semaphore) -> None:
        """Say what it has, and ask for what is not there to be sure of an answer, with which it is `ready`."""

        async def take(_call: Any, pushed: Any) -> None:
            self._counters.resent += len(pushed.resources)
            if "absent" in pushed.removed_resources:
                ready.release()

        said = [_request(type_url=url, initial_resource_versions=some) for url, some in self._known.versions.items()]
        said[0].node.CopyFrom(_node(self._node, self._index))
        asked = next(one for one in said if one.type_url == ROUTE)
        asked.resource_names_subscribe.extend([*self._known.routes, "absent"])
        await self._stream(said, take)

    async def _stream(self, said: Iterable[Any], take: Callable[[Any, Any], Awaitable[None]]) -> None:
        """Say that on a new stream, and `take` what comes, each acked and counted, until its end."""
        response = message("envoy.service.discovery.v3.DeltaDiscoveryResponse")
        async with _channel(self._target) as channel:
            call = channel.stream_stream(METHOD)(metadata=signed(self._target))
            for one in said:
                await call.write(one.SerializeToString())
            while (raw := await call.read()) is not _EOF:
                pushed = response.FromString(raw)
                ack = _request(type_url=pushed.type_url, response_nonce=pushed.nonce).SerializeToString()
                await call.write(ack)
                self._counters.push(self._index, len(raw), len(ack))
                await take(call, pushed)


def _request(**members: Any) -> Any:
    return message("envoy.service.discovery.v3.DeltaDiscoveryRequest")(**members)


def route_names(listener: bytes) -> set[str]:
    """The route configurations that a listener asks for."""
    manager = message("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager")
    found = message("envoy.config.listener.v3.Listener").FromString(listener)
    chains = [*found.filter_chains, *([found.default_filter_chain] if found.HasField("default_filter_chain") else [])]
    filters = [one.typed_config for chain in chains for one in chain.filters]
    managers = [manager.FromString(one.value) for one in filters if one.type_url.endswith("HttpConnectionManager")]
    return {one.rds.route_config_name for one in managers if one.HasField("rds")}


def _channel(target: str) -> Any:
    """A TCP connection of its own."""
    return grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])


def signed(target: str, method: str = METHOD) -> tuple[tuple[str, str], ...]:
    """What a call is signed with: the key that the environment names, if it names one."""
    if "AWS_SHARED_CREDENTIALS_FILE" not in os.environ:
        return ()
    key = find_credentials(os.environ, f"http://{target}")
    request = Request.of("POST", method, [("host", AUTHORITY)])
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
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    counters, ready = Counters(chosen.count), asyncio.Semaphore(0)
    nodes = [chosen.node[index % len(chosen.node)] for index in range(chosen.count)]
    proxies = [Proxy(index, chosen.target, node, counters) for index, node in enumerate(nodes)]
    began = time.monotonic()
    tasks: list[asyncio.Task[None]] = []
    while some := range(len(tasks), min(len(tasks) + AT_ONCE, len(nodes))):
        tasks += [opened(partial(proxies[index].begin, ready), counters) for index in some]
        for _ in some:
            await asyncio.wait_for(ready.acquire(), 180)
    say({"connected": chosen.count, "seconds": time.monotonic() - began})
    # What thousands of proxies have stays: to look through it for garbage takes a tenth of a second, and would be
    # measured.
    gc.collect()
    gc.freeze()
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
                tasks = [opened(partial(one.resume, answered), counters) for one in proxies]
                for _ in nodes:
                    await asyncio.wait_for(answered.acquire(), 180)
                took = time.monotonic() - began
                say({"seconds": took, "resent": counters.resent, "broken": counters.broken})
                continue
            case ["counts"]:
                pass
        say(counters.report())
    await ended(tasks)


def opened(stream: Callable[[], Awaitable[None]], counters: Counters) -> asyncio.Task[None]:
    """A proxy on a stream of its own, for as long as its task runs."""
    return asyncio.create_task(lasting(stream, counters))


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


if __name__ == "__main__":
    asyncio.run(main())
