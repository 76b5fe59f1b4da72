"""A collector of OpenTelemetry for a lab: a real gRPC server that keeps what proxies report, by trace.

The one rule: of the newest traces all is kept, of older ones nothing. The descriptors that we have call `scope_spans`
by its old name; the bytes are the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import grpc
import msgspec

from meshwright.lab.sockets import HERE
from meshwright.model.identity import Key, Kind
from meshwright.snapshot.messages import message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from meshwright.lab.sockets import Inside

_PACKAGE = "opentelemetry.proto.collector"
_TRACES = 20_000
"""Traces that are kept."""
_CONNECTIONS = 5_000
"""Records of connections that belong to no trace that are kept."""
_FAILED = 2
_LULLS = 6
"""So many times as long as for nothing is waited at most while something comes."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One span, and the service that sent it."""

    service: str
    proxy: str
    """The path of the node or gateway whose proxy it is, as `Key.path`."""
    name: str
    kind: int
    """2 for a server's, 3 for a client's."""
    trace: str
    id: str
    parent: str
    began_at: float
    ended_at: float
    """Seconds since the epoch."""
    failed: bool
    attributes: dict[str, str]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One log record: what a proxy says of a request or a connection, and which proxy that is."""

    proxy: str
    """The path of the node or gateway whose proxy it is, as `Key.path`."""
    resource: dict[str, str]
    body: str
    trace: str
    at: float
    """When it was written, in seconds since the epoch."""
    attributes: dict[str, str]


class Trace(msgspec.Struct):
    """What was received of one trace."""

    spans: list[Span] = []
    records: list[Record] = []


class _Waiting:
    """Somebody who waits for what is to hold of traces."""

    def __init__(self, wanted: Iterable[tuple[str, Callable[[], bool]]]) -> None:
        self.missing: dict[str, list[Callable[[], bool]]] = {}
        """By trace, what does not hold yet; it is looked at again when something of that trace comes."""
        for name, holds in wanted:
            self.missing.setdefault(name, []).append(holds)
        self.over = asyncio.Event()

    def looks(self, name: str) -> bool:
        """Whether all that is wanted of a trace holds now."""
        self.missing[name] = [holds for holds in self.missing[name] if not holds()]
        if self.missing[name]:
            return False
        del self.missing[name]
        if not self.missing:
            self.over.set()
        return True


class Collector:
    """What was received so far."""

    def __init__(self) -> None:
        self.port = 0
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._news = asyncio.Condition()
        self._awaited: dict[str, list[_Waiting]] = {}
        """By trace, who waits for more of it."""
        self._came_at = -math.inf
        """When something of a trace with a name came last that somebody waited for."""

    @property
    def spans(self) -> list[Span]:
        """Every span that is kept."""
        return [span for trace in self._traces.values() for span in trace.spans]

    @property
    def records(self) -> list[Record]:
        """Every record that is kept."""
        return [record for trace in self._traces.values() for record in trace.records]

    def trace(self, name: str) -> Trace:
        """What is known of a trace now; of "", what belongs to none."""
        return self._traces.get(name) or Trace()

    async def until(self, wanted: Callable[[], bool], seconds: float) -> bool:
        """Return once `wanted` holds, which is asked whenever something was received; whether it does in time."""
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(wanted)
        except TimeoutError:
            return wanted()
        return True

    async def heard(self, wanted: Iterable[tuple[str, Callable[[], bool]]], seconds: float) -> None:
        """Return once all that is `wanted` of traces holds, or `seconds` brought nothing that anybody waits for.

        A machine that is out of breath is late with all of them. Each is looked at when something of its trace comes,
        so that news of one is no work for the others. Of "", what belongs to no trace, news come all the time, and
        nobody waits for longer because of them.
        """
        waiting = _Waiting(wanted)
        for name in waiting.missing:
            self._awaited.setdefault(name, []).append(waiting)
        for name in tuple(waiting.missing):
            self._look(name, waiting)
        began_at = time.monotonic()
        try:
            while waiting.missing and (end := self._lull(began_at, seconds)) > (now := time.monotonic()):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(end - now):
                        await waiting.over.wait()
        finally:
            for name in waiting.missing:
                self._forget(name, waiting)

    def _look(self, name: str, waiting: _Waiting) -> None:
        """Let somebody look who waits for a trace, and forget those who have seen enough of it."""
        if waiting.looks(name):
            self._forget(name, waiting)

    def _forget(self, name: str, waiting: _Waiting) -> None:
        self._awaited[name].remove(waiting)
        if not self._awaited[name]:
            del self._awaited[name]

    def _news_of(self, names: Iterable[str]) -> None:
        """Let those look who wait for these traces."""
        for name in self._awaited.keys() & set(names):
            if name:
                self._came_at = time.monotonic()
            for one in tuple(self._awaited[name]):
                self._look(name, one)

    def _lull(self, began_at: float, seconds: float) -> float:
        """When a wait that began then has heard nothing for so many seconds, unless something comes meanwhile."""
        return min(max(began_at, self._came_at) + seconds, began_at + _LULLS * seconds)

    def keep_spans(self, request: Any) -> None:
        """Take an `ExportTraceServiceRequest`."""
        for resource in request.resource_spans:
            service = _texts(resource.resource.attributes)["service.name"]
            for scope in resource.instrumentation_library_spans:
                spans = [_span(service, one) for one in scope.spans]
                for span in spans:
                    self._of(span.trace).spans.append(span)
                self._news_of(span.trace for span in spans)

    def keep_records(self, request: Any) -> None:
        """Take an `ExportLogsServiceRequest`."""
        for resource in request.resource_logs:
            known = _texts(resource.resource.attributes)
            for scope in resource.instrumentation_library_logs:
                records = [_record(known, one) for one in scope.logs]
                for record in records:
                    kept = self._of(record.trace).records
                    kept.append(record)
                    if not record.trace and len(kept) > _CONNECTIONS:
                        del kept[0]
                self._news_of(record.trace for record in records)

    def _of(self, name: str) -> Trace:
        kept = self._traces.setdefault(name, Trace())
        if len(self._traces) > _TRACES:
            self._traces.popitem(last=False)
        return kept

    async def announce(self) -> None:
        """Wake whoever waits in `until`."""
        async with self._news:
            self._news.notify_all()


def _span(service: str, one: Any) -> Span:
    attributes = _texts(one.attributes)
    return Span(
        service=service,
        proxy=attributes.get("node_id", ""),
        name=one.name,
        kind=one.kind,
        trace=one.trace_id.hex(),
        id=one.span_id.hex(),
        parent=one.parent_span_id.hex(),
        began_at=one.start_time_unix_nano / 1e9,
        ended_at=one.end_time_unix_nano / 1e9,
        failed=one.status.code == _FAILED,
        attributes=attributes,
    )


def _record(resource: dict[str, str], one: Any) -> Record:
    return Record(
        proxy=_proxy(resource),
        resource=resource,
        body=one.body.string_value,
        trace=one.trace_id.hex(),
        at=one.time_unix_nano / 1e9,
        attributes=_texts(one.attributes),
    )


@contextlib.asynccontextmanager
async def collector(host: str = "127.0.0.1", inside: Inside = HERE) -> AsyncIterator[Collector]:
    """A collector on a free port of `host`, `inside` a network."""
    kept = Collector()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (_service("trace.v1.Trace", kept, kept.keep_spans), _service("logs.v1.Logs", kept, kept.keep_records))
    )
    with inside():
        kept.port = server.add_insecure_port(f"{host}:0")
    await server.start()
    try:
        yield kept
    finally:
        await server.stop(None)


def _service(name: str, kept: Collector, keep: Callable[[Any], None]) -> Any:
    version, _, kind = name.rpartition(".")
    request, response = (
        message(f"{_PACKAGE}.{version}.Export{kind}Service{side}") for side in ("Request", "Response")
    )

    async def export(sent: Any, _context: Any) -> Any:
        keep(sent)
        await kept.announce()
        return response()

    handler = grpc.unary_unary_rpc_method_handler(export, request.FromString, lambda value: value.SerializeToString())
    return grpc.method_handlers_generic_handler(f"{_PACKAGE}.{name}Service", {"Export": handler})


def _proxy(resource: dict[str, str]) -> str:
    mesh = resource.get("meshwright.mesh", "")
    for kind, name in (
        (kind, resource.get(f"meshwright.{attribute}"))
        for kind, attribute in ((Kind.VIRTUAL_NODE, "virtual_node"), (Kind.VIRTUAL_GATEWAY, "virtual_gateway"))
    ):
        if name:
            return Key(mesh, kind, name).path
    return ""


def _texts(attributes: Iterable[Any]) -> dict[str, str]:
    return {one.key: one.value.string_value for one in attributes}
