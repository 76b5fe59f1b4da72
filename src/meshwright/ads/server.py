"""The aggregated discovery service over gRPC: carries `ads.stream` for each Envoy that connects.

The one rule: a slow or hostile client costs a bounded amount. At most one response of a type waits for its ack, a
write waits for the reader, and everything of a stream ends with it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio

from meshwright.ads.stream import Nacked, Stream
from meshwright.ads.wire import Encoder, decode, identify
from meshwright.errors import MeshwrightError, UnknownProxyError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from meshwright.ads.stream import Event, Request
    from meshwright.control import Control, Delivery
    from meshwright.snapshot.resources import Snapshot

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_MAX_TYPES = 32
_MAX_NAMES = 100_000
"""Names that one stream may subscribe to or claim to have; a node of App Mesh has some hundred."""
_MAX_REASON = 1000
"""Characters of a reason; gRPC carries 16 kB at most, and the reason quotes what the client said."""
_MAX_REQUEST_BYTES = 16 * 1024 * 1024
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a port in use is an error, not a share of its connections
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # App Mesh's bootstrap pings every 10 s, also without data.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
)

_EOF = cast("Any", grpc.aio).EOF  # grpc-stubs does not know it

_log = logging.getLogger(__name__)


class AdsServer:
    """Serves both protocols of ADS for the proxies of `control`."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._server = grpc.aio.server(options=_OPTIONS)
        self._encoders = {delta: Encoder(delta=delta) for delta in (False, True)}
        self._sessions: set[_Session] = set()
        methods = {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._state_of_the_world),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))

    async def start(self, host: str, port: int) -> int:
        """Listen without TLS; answers with the port, of the kernel's choice where `port` is 0.

        Raises:
            UsageError: the address cannot be listened on.
        """
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_insecure_port(where)
        except RuntimeError:
            bound = 0
        if bound == 0:
            raise UsageError(
                f"cannot listen on {where} for xDS: the port is in use or the address is not this machine's; "
                "stop the other process, or choose another address with --xds"
            )
        await self._server.start()
        return bound

    async def stop(self, grace: float = 1.0) -> None:
        """Take no new stream and end the open ones; those left after `grace` seconds are cut."""
        stopped = asyncio.ensure_future(self._server.stop(grace))
        await asyncio.sleep(0)
        for session in list(self._sessions):
            session.end()
        await stopped

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._sessions)

    async def _delta(self, _requests: AsyncIterator[bytes], context: Any) -> None:
        await self._serve(context, delta=True)

    async def _state_of_the_world(self, _requests: AsyncIterator[bytes], context: Any) -> None:
        await self._serve(context, delta=False)

    async def _serve(self, context: Any, *, delta: bool) -> None:
        first = await context.read()
        if first is _EOF:
            return
        session = _Session(context, self._encoders[delta], delta=delta)
        try:
            request, node = decode(first, delta=delta)
            delivery = self._control.connect(identify(node, context.peer()), session.push)
        except (UsageError, UnknownProxyError) as error:
            _log.warning("refused %s: %s", context.peer(), _reason(error))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _reason(error))
        except MeshwrightError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, _reason(error))
        self._sessions.add(session)
        _log.info("%s connected, %s", delivery.proxy.id, "delta" if delta else "state of the world")
        try:
            await session.run(delivery, request)
        finally:
            self._sessions.discard(session)
            delivery.close()
            _log.info("%s disconnected", delivery.proxy.id)


class _Session:
    """One open stream: a reader that feeds the state machine, and a writer that empties it."""

    def __init__(self, context: Any, encode: Encoder, *, delta: bool) -> None:
        self._context = context
        self._encode = encode
        self._delta = delta
        self._woken = asyncio.Event()
        self._ended = False
        self._failure: UsageError | None = None
        self._snapshot: Snapshot | None = None

    def push(self, snapshot: Snapshot | None) -> None:
        """A new snapshot, or None: another stream of the same proxy took over."""
        self._snapshot = snapshot
        self._ended = self._ended or snapshot is None
        self._woken.set()

    def end(self) -> None:
        """Close the stream with status OK: the client connects again."""
        self._ended = True
        self._woken.set()

    async def run(self, delivery: Delivery, first: Request) -> None:
        """Serve until either side ends the stream."""
        stream = Stream(delivery.snapshot, delta=self._delta)
        self._take(stream, delivery, first)
        reader = asyncio.create_task(self._read(stream, delivery))
        try:
            while not self._ended:
                if self._snapshot is not None:
                    stream.publish(self._snapshot)
                    self._snapshot = None
                responses = stream.send()
                self._report(stream, delivery)
                for response in responses:
                    await self._context.write(self._encode(response))
                await self._woken.wait()
                self._woken.clear()
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if self._failure is not None:
            await self._context.abort(grpc.StatusCode.INVALID_ARGUMENT, _reason(self._failure))

    async def _read(self, stream: Stream, delivery: Delivery) -> None:
        try:
            while (body := await self._context.read()) is not _EOF:
                request, _node = decode(body, delta=self._delta)
                self._take(stream, delivery, request)
                self._woken.set()
        except UsageError as error:
            self._failure = error
        finally:
            self.end()

    def _take(self, stream: Stream, delivery: Delivery, request: Request) -> None:
        for event in stream.receive(request):
            self._note(event, delivery)
        types, names = stream.size
        if types > _MAX_TYPES or names > _MAX_NAMES:
            self._failure = UsageError(f"more than {_MAX_TYPES} resource types or {_MAX_NAMES} names on one stream")
            self.end()

    def _note(self, event: Event, delivery: Delivery) -> None:
        if isinstance(event, Nacked):
            _log.warning(
                "%s refused %s of %s: %s",
                delivery.proxy.id,
                ", ".join(event.resources) or "something",
                event.type_url.rpartition(".")[2],
                event.message,
            )

    def _report(self, stream: Stream, delivery: Delivery) -> None:
        refused = {
            url: {name: refusal.message for name, refusal in some.items()} for url, some in stream.refusals().items()
        }
        delivery.report(stream.outstanding(), refused)


def _reason(error: MeshwrightError) -> str:
    text = str(error)
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}…"
