"""What the server counts and measures, for Prometheus; `docs/metrics.md` describes each.

The one rule: a label never holds what a client chose, so that the number of series is bounded.
Source: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `render` gives: the text format that every version of Prometheus reads."""

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics(Collector):
    """One server's metrics on a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "meshwright_requests",
            "Answered requests by operation and HTTP status.",
            ["operation", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "meshwright_request_seconds",
            "From a request's head to the end of its answer.",
            ["operation"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._refused = Counter(
            "meshwright_refused_unauthenticated",
            "Requests that nobody could be held to, by AWS's name for the error.",
            ["reason"],
            registry=registry,
        )
        self._denied = Counter(
            "meshwright_denied", "Requests that their caller may not make.", ["operation"], registry=registry
        )
        self._turned_away = Counter(
            "meshwright_turned_away",
            "Connections and requests that were ended or refused by a limit, by limit.",
            ["limit"],
            registry=registry,
        )
        self._commits = Counter("meshwright_revisions_committed", "Revisions committed.", registry=registry)
        self._batches = Histogram(
            "meshwright_commit_batch_revisions",
            "Revisions of one transaction.",
            buckets=_SIZES,
            registry=registry,
        )
        self._commit_seconds = Histogram(
            "meshwright_commit_seconds", "One transaction until it is durable.", buckets=_SECONDS, registry=registry
        )
        self._store_failures = Counter(
            "meshwright_store_failures", "Requests that the database could not serve.", registry=registry
        )
        self._xds = Counter(
            "meshwright_xds_responses", "Responses acknowledged by Envoys, by result.", ["result"], registry=registry
        )
        self._streams_refused = Counter(
            "meshwright_xds_streams_refused",
            "Streams of proxies that were refused or ended, by gRPC code.",
            ["reason"],
            registry=registry,
        )
        self._gauges = {
            name: Gauge(f"meshwright_{name}", text, registry=registry)
            for name, text in (
                ("requests_in_flight", "Requests that are being worked on."),
                ("connections", "Open connections of the API."),
                ("trust_file_broken", "Whether the newest trust file cannot be used, so that an older one holds."),
                ("revision", "The newest revision that was published to the proxies."),
                ("proxies_connected", "Envoys that are connected."),
                (
                    "api_certificate_expiry_seconds",
                    "When the API's certificate ends, since the epoch; 0 without TLS.",
                ),
                ("xds_certificate_expiry_seconds", "When that of xDS ends, since the epoch; 0 without TLS."),
            )
        }
        self._known: dict[tuple[str, int], Counter] = {}
        self._timed: dict[str, Histogram] = {}
        for result in ("ack", "nack"):
            self._xds.labels(result)

    def watch(self, name: str, value: Callable[[], float]) -> None:
        """Read the gauge `name` (without `meshwright_`) from `value` whenever metrics are asked for."""
        self._gauges[name].set_function(value)

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """A request was answered; `operation` is one of the API's, "" for none."""
        known = self._known.get((operation, status))
        if known is None:
            known = self._known[operation, status] = self._requests.labels(operation or "none", str(status))
            self._timed.setdefault(operation, self._seconds.labels(operation or "none"))
        known.inc()
        self._timed[operation].observe(seconds)

    def refused(self, reason: str) -> None:
        """Nobody can be held to a request; `reason` is the error's name."""
        self._refused.labels(reason).inc()

    def denied(self, operation: str) -> None:
        """Somebody may not do what was asked for."""
        self._denied.labels(operation or "none").inc()

    def turned_away(self, limit: str) -> None:
        """A connection or a request ran into a limit, named as in `limits.Limits`."""
        self._turned_away.labels(limit).inc()

    def committed(self, revisions: int, seconds: float) -> None:
        """One transaction of so many revisions is durable."""
        self._commits.inc(revisions)
        self._batches.observe(revisions)
        self._commit_seconds.observe(seconds)

    def store_failed(self) -> None:
        """The database could not serve a request."""
        self._store_failures.inc()

    def acked(self, *, accepted: bool) -> None:
        """An Envoy took or rejected a response."""
        self._xds.labels("ack" if accepted else "nack").inc()

    def stream_refused(self, reason: str) -> None:
        """A stream of a proxy was refused or ended; `reason` is a gRPC code, with `ended_` before it for an end."""
        self._streams_refused.labels(reason).inc()

    def collect(self) -> Iterator[Metric]:
        """All of them, but for the times of their creation, which would be as many series again."""
        for metric in self._registry.collect():
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
            yield metric

    def render(self) -> bytes:
        """All of them in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)
