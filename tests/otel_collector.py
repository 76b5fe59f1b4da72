"""A real OpenTelemetry Collector that writes what it is sent to files, where there is one.

The one rule: it is only ever found, never built by a test: `make collector` builds it, which takes minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from processes import free_port, until
from settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(os.environ.get("MESHWRIGHT_OTELCOL") or ROOT / "tests" / "otelcol" / "otelcol")
"""Any distribution with OTLP's receiver and the file exporter will do."""
_CONFIGURATION = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}, http: {{endpoint: "127.0.0.1:{http}"}}}}}}}}
exporters:
  file/logs: {{path: "{folder}/logs.json"}}
  file/metrics: {{path: "{folder}/metrics.json"}}
  file/traces: {{path: "{folder}/traces.json"}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [file/logs]}}
    metrics: {{receivers: [otlp], exporters: [file/metrics]}}
    traces: {{receivers: [otlp], exporters: [file/traces]}}
"""


def why_not() -> str:
    """Why there is none here, "" where there is."""
    if not os.access(PROGRAM, os.X_OK):
        return "there is no OpenTelemetry Collector: `make collector` builds one, or MESHWRIGHT_OTELCOL names one"
    return ""


class Collector:
    """A running one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.grpc, self.http = free_port(), free_port()

    @property
    def endpoint(self) -> str:
        """Where it takes OTLP over HTTP."""
        return f"http://127.0.0.1:{self.http}"

    def written(self, signal: str) -> list[dict[str, Any]]:
        """The requests of a signal that it has written so far: `logs`, `metrics` or `traces`."""
        file = self.folder / f"{signal}.json"
        text = file.read_text() if file.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def records(self) -> list[dict[str, Any]]:
        """Log records, each with its attributes by name."""
        return [
            {**record, "attributes": {it["key"]: it["value"] for it in record["attributes"]}}
            for request in self.written("logs")
            for resource in request["resourceLogs"]
            for scope in resource["scopeLogs"]
            for record in scope["logRecords"]
        ]

    def metrics(self) -> dict[str, dict[str, Any]]:
        """The newest metric of each name."""
        return {
            metric["name"]: metric
            for request in self.written("metrics")
            for resource in request["resourceMetrics"]
            for scope in resource["scopeMetrics"]
            for metric in scope["metrics"]
        }


@contextlib.contextmanager
def collector(folder: Path) -> Iterator[Collector]:
    """A collector until the block ends; what it wrote is whole then."""
    found = Collector(folder)
    file = folder / "collector.yaml"
    file.write_text(_CONFIGURATION.format(grpc=found.grpc, http=found.http, folder=folder))
    with (folder / "collector.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "--config", str(file)], stdout=log, stderr=subprocess.STDOUT)
        try:
            until(lambda: process.poll() is not None or (_listens(found.http) and _listens(found.grpc)))
            assert process.poll() is None, (folder / "collector.log").read_text()
            yield found
        finally:
            process.terminate()
            process.wait(60)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
