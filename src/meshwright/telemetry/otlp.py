"""Spans by OpenTelemetry: from a receiver of ours, or from a file that a collector writes.

The one rule: whoever sends gets the answer that it expects, whatever is in it.
Sources: https://opentelemetry.io/docs/specs/otlp/ and https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.errors import UnreadableError, UsageError
from meshwright.telemetry.witness import Told, proxy_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_SERVICE = "opentelemetry.proto.collector.trace.v1"
_MOST = 64 * 1024 * 1024
"""Bytes of a file that are read at a time."""


class Receiver:
    """An OTLP receiver over gRPC, without TLS, until it is closed."""

    def __init__(self, address: str) -> None:
        """`address` is HOST:PORT; port 0 is any that is free.

        Raises:
            UsageError: it cannot listen there.
        """
        import grpc  # noqa: PLC0415 - only who listens needs it

        from meshwright.snapshot.messages import message  # noqa: PLC0415 - as gRPC

        request, response = (message(f"{_SERVICE}.ExportTraceService{side}") for side in ("Request", "Response"))
        self._told = SimpleQueue[Told]()

        def export(sent: Any, _context: Any) -> Any:
            for one in _in_message(sent):
                self._told.put(one)
            return response()

        handler = grpc.unary_unary_rpc_method_handler(
            export, request.FromString, lambda value: value.SerializeToString()
        )
        self._server = grpc.server(ThreadPoolExecutor(2, thread_name_prefix="otlp"))
        generic = grpc.method_handlers_generic_handler(f"{_SERVICE}.TraceService", {"Export": handler})
        self._server.add_generic_rpc_handlers((generic,))
        try:
            self.port = int(self._server.add_insecure_port(address))
        except RuntimeError:
            raise UsageError(f"--otlp {address!r}: nobody can listen there; give HOST:PORT that is free.") from None
        self._server.start()

    def told(self) -> Iterator[Told]:
        """As `Witness.told`."""
        while True:
            try:
                yield self._told.get_nowait()
            except Empty:
                return

    def close(self) -> None:
        """As `Witness.close`."""
        self._server.stop(None).wait()


class File:
    """A file of JSON lines, one export request each, that grows while it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def told(self) -> Iterator[Told]:
        """As `Witness.told`; a line that is not ended yet is read the next time, and one that is no export never."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                read = file.read(_MOST)
        except OSError as error:
            raise UnreadableError(f"--otlp-file {self._path} cannot be read: {error.strerror}.") from None
        whole = read[: read.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                found = msgspec.json.decode(line)
            except (ValueError, RecursionError):
                continue
            yield from _in_json(found)

    def close(self) -> None:
        """As `Witness.close`."""


def _in_message(sent: Any) -> Iterator[Told]:
    """What an `ExportTraceServiceRequest` tells; our descriptors call `scope_spans` by its old name."""
    for resource in sent.resource_spans:
        about = {one.key: one.value.string_value for one in resource.resource.attributes}
        for scope in resource.instrumentation_library_spans:
            for span in scope.spans:
                said = about | {one.key: one.value.string_value for one in span.attributes}
                yield from _told(said, span.start_time_unix_nano, span.trace_id.hex())


def _in_json(sent: Any) -> Iterator[Told]:
    """What an export request in JSON tells."""
    for resource in _list(sent, "resourceSpans"):
        about = _texts(resource.get("resource") if isinstance(resource, dict) else None)
        for scope in _list(resource, "scopeSpans"):
            for span in _list(scope, "spans"):
                if isinstance(span, dict) and str(span.get("startTimeUnixNano", "")).isdecimal():
                    said = about | _texts(span)
                    yield from _told(said, int(span["startTimeUnixNano"]), str(span.get("traceId", "")))


def _told(said: Mapping[str, str], nanoseconds: int, trace: str) -> Iterator[Told]:
    proxy = proxy_of(said)
    if proxy is not None:
        deployed = said.get("meshwright.release", "")
        yield Told(proxy=proxy, at=nanoseconds // 1_000_000, what=f"trace {trace}", deployed=deployed)


def _list(value: Any, name: str) -> list[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _texts(value: Any) -> dict[str, str]:
    """The attributes that are text."""
    found = {}
    for one in _list(value, "attributes"):
        text = (
            one.get("value", {}).get("stringValue")
            if isinstance(one, dict) and isinstance(one.get("value"), dict)
            else None
        )
        if isinstance(text, str) and isinstance(one.get("key"), str):
            found[one["key"]] = text
    return found
