"""A collector of OpenTelemetry for tests: a real gRPC server that keeps what it is sent.

The descriptors that we have call `scope_spans` by its old name; the bytes are the same.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import msgspec

from meshwright.snapshot.messages import message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

_PACKAGE = "opentelemetry.proto.collector"


class Span(msgspec.Struct, frozen=True):
    """One span, and the service that sent it."""

    service: str
    kind: int
    """2 for a server's, 3 for a client's."""
    trace: str
    id: str
    parent: str
    attributes: dict[str, str]


class Record(msgspec.Struct, frozen=True):
    """One log record."""

    resource: dict[str, str]
    body: str
    trace: str
    attributes: dict[str, str]


class Collector:
    """What was received so far."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.records: list[Record] = []
        self.port = 0

    def keep_spans(self, request: Any) -> None:
        """Take an `ExportTraceServiceRequest`."""
        for resource in request.resource_spans:
            service = _texts(resource.resource.attributes)["service.name"]
            self.spans += [
                Span(
                    service=service,
                    kind=one.kind,
                    trace=one.trace_id.hex(),
                    id=one.span_id.hex(),
                    parent=one.parent_span_id.hex(),
                    attributes=_texts(one.attributes),
                )
                for scope in resource.instrumentation_library_spans
                for one in scope.spans
            ]

    def keep_records(self, request: Any) -> None:
        """Take an `ExportLogsServiceRequest`."""
        for resource in request.resource_logs:
            self.records += [
                Record(
                    resource=_texts(resource.resource.attributes),
                    body=one.body.string_value,
                    trace=one.trace_id.hex(),
                    attributes=_texts(one.attributes),
                )
                for scope in resource.instrumentation_library_logs
                for one in scope.logs
            ]


@contextlib.asynccontextmanager
async def collector(host: str = "127.0.0.1") -> AsyncIterator[Collector]:
    """A collector on a free port of `host`."""
    kept = Collector()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (_service("trace.v1.Trace", kept.keep_spans), _service("logs.v1.Logs", kept.keep_records))
    )
    kept.port = server.add_insecure_port(f"{host}:0")
    await server.start()
    try:
        yield kept
    finally:
        await server.stop(None)


def _service(name: str, keep: Callable[[Any], None]) -> Any:
    version, _, kind = name.rpartition(".")
    request, response = (
        message(f"{_PACKAGE}.{version}.Export{kind}Service{side}") for side in ("Request", "Response")
    )

    async def export(sent: Any, _context: Any) -> Any:
        keep(sent)
        return response()

    handler = grpc.unary_unary_rpc_method_handler(export, request.FromString, lambda value: value.SerializeToString())
    return grpc.method_handlers_generic_handler(f"{_PACKAGE}.{name}Service", {"Export": handler})


def _texts(attributes: Iterable[Any]) -> dict[str, str]:
    return {one.key: one.value.string_value for one in attributes}
