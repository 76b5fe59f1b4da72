"""An OpenTelemetry receiver over HTTP, which takes what it is sent, answers with an error, or never answers."""

from __future__ import annotations

import contextlib
import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from meshwright.snapshot.messages import message

if TYPE_CHECKING:
    from collections.abc import Iterator

_REQUESTS = {
    f"/v1/{signal}": message(f"opentelemetry.proto.collector.{signal}.v1.Export{signal.capitalize()}ServiceRequest")
    for signal in ("logs", "metrics")
}


class OtlpReceiver:
    """What was received so far."""

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        """What it answers."""
        self.answer = b""
        """What it says beside that."""
        self.silent = threading.Event()
        """Set while it reads and answers nothing."""
        self.endless = threading.Event()
        """Set while its answers have no end."""
        self.asked = threading.Event()
        """Set once anything was sent to it."""
        self.headers: list[dict[str, str]] = []
        self.requests: list[Any] = []
        self._leave = threading.Event()
        receiver = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Answering)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What `--otlp-endpoint` takes."""
        return f"http://127.0.0.1:{self.port}"

    def _answer(self, asked: BaseHTTPRequestHandler) -> None:
        body = asked.rfile.read(int(asked.headers["content-length"]))
        self.asked.set()
        if self.silent.is_set():
            self._leave.wait()
            return
        if self.status == 200:
            body = gzip.decompress(body) if asked.headers.get("content-encoding") == "gzip" else body
            assert asked.headers["content-type"] == "application/x-protobuf"
            self.headers.append({name.lower(): value for name, value in asked.headers.items()})
            self.requests.append(_REQUESTS[asked.path].FromString(body))
        asked.send_response(self.status)
        asked.send_header("content-length", str(2**40 if self.endless.is_set() else len(self.answer)))
        asked.end_headers()
        with contextlib.suppress(OSError):
            asked.wfile.write(b"" if self.endless.is_set() else self.answer)
            while self.endless.is_set() and not self._leave.is_set():
                asked.wfile.write(bytes(65_536))

    @property
    def events(self) -> list[dict[str, Any]]:
        """Each event as its name, severity and attributes, in order."""
        return [
            {"name": record.event_name, "severity": record.severity_text, **_values(record.attributes)}
            for request in list(self.requests)
            for resource in getattr(request, "resource_logs", ())
            for scope in resource.instrumentation_library_logs
            for record in scope.logs
        ]

    @property
    def names(self) -> list[str]:
        """What became of which release, in order."""
        return [
            f"{one['meshwright.release']} {one['name'].removeprefix('meshwright.release.')}"
            for one in self.events
            if one["name"].startswith("meshwright.release.")
        ]

    @property
    def others(self) -> list[str]:
        """What became of what has to do with releases, in order: the name of the event, and what it is about."""
        about = ("meshwright.release", "meshwright.pending", "meshwright.grant")
        return [
            " ".join((one["name"].removeprefix("meshwright."), *(str(one[name]) for name in about if name in one)))
            for one in self.events
            if not one["name"].startswith("meshwright.release.")
        ]

    @property
    def metrics(self) -> dict[str, Any]:
        """The newest metric of each name."""
        return {
            metric.name: metric
            for request in list(self.requests)
            for resource in getattr(request, "resource_metrics", ())
            for scope in resource.instrumentation_library_metrics
            for metric in scope.metrics
        }

    @property
    def resource(self) -> dict[str, Any]:
        """Who told the first."""
        first = self.requests[0]
        resources = getattr(first, "resource_logs", None) or first.resource_metrics
        return _values(resources[0].resource.attributes)

    def close(self) -> None:
        """Listen no more, and answer nobody."""
        self._leave.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in attributes}


@contextlib.contextmanager
def otlp_receiver(port: int = 0) -> Iterator[OtlpReceiver]:
    """A receiver until the block ends."""
    found = OtlpReceiver(port)
    try:
        yield found
    finally:
        found.close()
