"""Events and readings by OTLP over HTTP, in protobuf.

The one rule: a message names the receiver and never a header, and nothing is kept of what was sent.
Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import gzip
import importlib.metadata
import ssl
from typing import TYPE_CHECKING, Any

import httpx
from google.protobuf.message import DecodeError

from meshwright.errors import RefusedError, UnreachableError, UsageError
from meshwright.snapshot.messages import message
from meshwright.telemetry.happening import PartlyTakenError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample

    from meshwright.telemetry.happening import Event, Reading
    from meshwright.telemetry.standard import Destination, Signal, Target

_CUMULATIVE = 2
_INFO, _WARN, _ERROR = (9, "INFO"), (13, "WARN"), (17, "ERROR")
_SEVERITY = {
    "meshwright.release.failed": _ERROR,
    **dict.fromkeys(
        (
            "meshwright.release.rolled_back",
            "meshwright.release.inconclusive",
            "meshwright.drift.found",
            "meshwright.grant.given",
            "meshwright.grant.used",
        ),
        _WARN,
    ),
}
"""By the names of events; INFO for all others."""
_PASSING = frozenset({408, 429, 502, 503, 504})
"""Answers after which the same is sent again."""
_MOST_ANSWERED = 65_536
"""Bytes of an answer that are read."""
_MOST_QUOTED = 300
"""Characters of what a receiver says of what it left out."""
_SERVICES: dict[Signal, str] = {"logs": "logs.v1.ExportLogsService", "metrics": "metrics.v1.ExportMetricsService"}


class Otlp:
    """One receiver, or one for each signal."""

    name = "otlp"

    def __init__(self, to: Destination) -> None:
        """Nothing is sent yet.

        Raises:
            UsageError: the authorities' certificates cannot be read.
        """
        self._to = to
        self._clients = {
            signal: httpx.Client(verify=_verified(target), auth=_authentication(target))
            for signal, target in to.targets.items()
        }
        self._scope = {"name": "meshwright", "version": importlib.metadata.version("meshwright")}
        self._resource = {"attributes": list(_attributes(to.resource))}

    def tell(self, events: Sequence[Event]) -> None:
        """Send events as log records.

        Raises:
            UnreachableError: nobody took them; try again.
            RefusedError: the receiver will never take these.
            PartlyTakenError: it took them, but for some, or has something to say of them.
        """
        records = [_record(one) for one in events]
        self._send("logs", "resource_logs", "instrumentation_library_logs", {"logs": records})

    def read(self, reading: Reading) -> None:
        """Send all metrics of a reading; raises as `tell`."""
        metrics = [one for metric in reading.metrics if (one := _metric(metric, reading)) is not None]
        self._send("metrics", "resource_metrics", "instrumentation_library_metrics", {"metrics": metrics})

    def close(self) -> None:
        """Let go of connections."""
        for one in self._clients.values():
            one.close()

    def _send(self, signal: Signal, resources: str, scopes: str, content: dict[str, Any]) -> None:
        target = self._to.targets.get(signal)
        if target is None:
            return
        # Our descriptors call a scope by its old name; the bytes are the same.
        scope = {"instrumentation_library": self._scope, **content}
        request = message(f"opentelemetry.proto.collector.{_SERVICES[signal]}Request")
        body = request(**{resources: [{"resource": self._resource, scopes: [scope]}]}).SerializeToString()
        headers = {**target.headers, "content-type": "application/x-protobuf"}
        if target.gzip:
            body, headers = gzip.compress(body, 6), {**headers, "content-encoding": "gzip"}
        try:
            asked = self._clients[signal].stream(
                "POST", target.url, content=body, headers=headers, timeout=target.timeout
            )
            with asked as answer:
                said = _read_some(answer)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnreachableError(f"{target.where} does not take {signal}: {type(error).__name__}") from None
        _refuse_failure(answer, target, signal)
        _tell_of_rest(said, target, signal)


def _verified(target: Target) -> ssl.SSLContext | bool:
    if target.certificate is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(target.certificate))
    except OSError as error:
        raise UsageError(
            f"OTEL_EXPORTER_OTLP_CERTIFICATE {target.certificate} cannot be read: {error.strerror or error}."
        ) from None


def _read_some(answer: httpx.Response) -> bytes:
    """The little that a receiver says, read so that the connection serves again; what is more ends it, and is b""."""
    said = b""
    for part in answer.iter_bytes():
        said += part
        if len(said) > _MOST_ANSWERED:
            return b""
    return said


def _tell_of_rest(said: bytes, target: Target, signal: Signal) -> None:
    """Raise what a receiver says that it left out; who says nothing that can be understood took all of it.

    Raises:
        PartlyTakenError: it left something out, or warns.
    """
    try:
        answer = message(f"opentelemetry.proto.collector.{_SERVICES[signal]}Response").FromString(said)
    except DecodeError:
        return
    rest = answer.partial_success
    rejected = rest.rejected_log_records if signal == "logs" else rest.rejected_data_points
    if rejected <= 0 and not rest.error_message:
        return
    what = f"does not take {rejected} of the {signal}" if rejected > 0 else f"takes the {signal} and warns"
    raise PartlyTakenError(f"{target.where} {what}: {rest.error_message[:_MOST_QUOTED]!r}", max(0, rejected))


def _authentication(target: Target) -> httpx.Auth | None:
    """Nothing beside the headers where one of them says who asks; else None, for what the URL says."""
    return httpx.Auth() if any(name.lower() == "authorization" for name in target.headers) else None


def _refuse_failure(answer: httpx.Response, target: Target, signal: Signal) -> None:
    if answer.is_success:
        return
    told = f"{target.where} does not take {signal}: it answers {answer.status_code}"
    if answer.status_code in _PASSING:
        raise UnreachableError(told)
    raise RefusedError(told)


def _attributes(said: Mapping[str, str | int]) -> Iterator[dict[str, Any]]:
    for name, value in said.items():
        yield {"key": name, "value": {"int_value" if isinstance(value, int) else "string_value": value}}


def _record(one: Event) -> dict[str, Any]:
    name = one.name
    number, text = _SEVERITY.get(name, _INFO)
    said: dict[str, str | int] = {"event.name": name, **one.attributes}
    took = "" if one.seconds is None else f" after {one.seconds:.3f} s"
    attributes = list(_attributes(said))
    if one.seconds is not None:
        attributes.append({"key": "meshwright.propagation_seconds", "value": {"double_value": one.seconds}})
    return {
        "time_unix_nano": one.at * 1_000_000,
        "observed_time_unix_nano": one.at * 1_000_000,
        "severity_number": number,
        "severity_text": text,
        "event_name": name,
        "body": {"string_value": f"{one.title} of mesh {one.mesh}: {_told_of(one)}{took}"},
        "attributes": attributes,
    }


def _told_of(one: Event) -> str:
    what = one.what.replace("_", " ")
    return what if one.family == "release" else f"{one.family} {what}"


def _metric(metric: Metric, reading: Reading) -> dict[str, Any] | None:
    """A metric of `/metrics` as one of OpenTelemetry; None for one that has no series yet."""
    if not metric.samples:
        return None
    told = {"name": metric.name.replace("_", ".", 1), "description": metric.documentation}
    if metric.name.endswith("_seconds"):
        told["unit"] = "s"
    since = reading.since * 1_000_000
    if metric.type == "histogram":
        points = list(_histograms(metric.samples, since, reading.at * 1_000_000))
        return {**told, "histogram": {"data_points": points, "aggregation_temporality": _CUMULATIVE}}
    points = [_point(one, since if metric.type == "counter" else 0, reading.at * 1_000_000) for one in metric.samples]
    if metric.type == "counter":
        return {
            **told,
            "sum": {"data_points": points, "aggregation_temporality": _CUMULATIVE, "is_monotonic": True},
        }
    return {**told, "gauge": {"data_points": points}}


def _point(sample: Sample, since: int, at: int) -> dict[str, Any]:
    return {
        "attributes": list(_attributes(sample.labels)),
        "start_time_unix_nano": since,
        "time_unix_nano": at,
        "as_double": float(sample.value),
    }


def _histograms(samples: Sequence[Sample], since: int, at: int) -> Iterator[dict[str, Any]]:
    """A point for each set of labels: Prometheus adds buckets up, OpenTelemetry tells each by itself."""
    grouped: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for one in samples:
        labels = tuple(sorted((name, value) for name, value in one.labels.items() if name != "le"))
        grouped.setdefault(labels, []).append(one)
    for labels, group in grouped.items():
        bounds = [float(one.labels["le"]) for one in group if one.name.endswith("_bucket")]
        counts = [int(one.value) for one in group if one.name.endswith("_bucket")]
        yield {
            "attributes": list(_attributes(dict(labels))),
            "start_time_unix_nano": since,
            "time_unix_nano": at,
            "count": counts[-1],
            "sum": next(float(one.value) for one in group if one.name.endswith("_sum")),
            "bucket_counts": [count - before for before, count in zip([0, *counts[:-1]], counts, strict=True)],
            "explicit_bounds": bounds[:-1],
        }
