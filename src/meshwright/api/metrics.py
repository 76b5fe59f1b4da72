"""What the server counts and measures, for Prometheus; `docs/metrics.md` describes each.

The one rule: a label never holds what a client chose, so that the number of series is bounded.
Source: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from collections import Counter as Counts
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from meshwright.control import Standing
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, RUNTIME, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `render` gives: the text format that every version of Prometheus reads."""

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TYPES = {
    CLUSTER: "cluster",
    ENDPOINT: "endpoint",
    LISTENER: "listener",
    ROUTE: "route",
    RUNTIME: "runtime",
    SECRET: "secret",
}
_OTHER = "other"
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class _Row(NamedTuple):
    """One metric, without `meshwright_`."""

    kind: type[Counter | Gauge | Histogram]
    name: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


class UnderWay(NamedTuple):
    """The newest releases of all stacks that have not propagated."""

    statuses: Mapping[str, int] = MappingProxyType({})
    """How many there are in each status."""
    proxies: Mapping[str, int] = MappingProxyType({})
    """How many proxies they concern, over all of them, by `State` of an account."""


_METRICS = (
    _Row(Counter, "requests", "Answered requests by operation and HTTP status.", ("operation", "status")),
    _Row(
        Histogram,
        "request_seconds",
        "From a request's head to the end of its answer.",
        ("operation",),
        _SECONDS,
    ),
    _Row(
        Counter,
        "refused_unauthenticated",
        "Requests that nobody could be held to, by AWS's name for the error.",
        ("reason",),
    ),
    _Row(Counter, "denied", "Requests that their caller may not make.", ("operation",)),
    _Row(
        Counter,
        "turned_away",
        "Connections and requests that were ended or refused by a limit, by limit.",
        ("limit",),
    ),
    _Row(Counter, "revisions_committed", "Revisions committed."),
    _Row(Histogram, "commit_batch_revisions", "Revisions of one transaction.", buckets=_SIZES),
    _Row(Histogram, "commit_seconds", "One transaction until it is durable.", buckets=_SECONDS),
    _Row(Counter, "store_failures", "Requests that the database could not serve."),
    _Row(Counter, "evidence_failures", "Writes of what proxies made of a release that the database refused."),
    _Row(
        Counter, "attempts_left_out", "Attempts that came to nothing, and were too many for a leaf of the audit log."
    ),
    _Row(Counter, "checkpoint_failures", "Checkpoints of the audit log that could not be published."),
    _Row(Counter, "snapshots_built", "Snapshots that were built, one a proxy or a kind of proxies."),
    _Row(Counter, "events_told", "Events of releases that a receiver took, by receiver.", ("receiver",)),
    _Row(Counter, "events_dropped", "Events of releases that a receiver will never hear of.", ("receiver",)),
    _Row(Counter, "telling_failures", "Attempts to tell a receiver events or metrics that failed.", ("receiver",)),
    _Row(Counter, "xds_responses", "Responses that Envoys answered, by type and result.", ("type", "result")),
    _Row(Counter, "xds_resources_sent", "Resources written to Envoys, by type; removals not counted.", ("type",)),
    _Row(
        Counter,
        "xds_streams_refused",
        "Streams of proxies that were refused or ended, by gRPC code.",
        ("reason",),
    ),
    _Row(
        Histogram,
        "propagation_seconds",
        "From a release's commit to the last ack of the proxies that it concerns.",
        buckets=_SECONDS,
    ),
    _Row(Counter, "release_outcomes", "Releases that have propagated or failed.", ("status",)),
    _Row(Counter, "verifications", "Verifications of releases, by what they came to.", ("judgement",)),
    _Row(
        Histogram,
        "release_ack_seconds",
        "From sending a proxy what a propagated release changed to its ack, by type.",
        ("type",),
        _SECONDS,
    ),
    _Row(
        Counter,
        "cloud_map_calls",
        "Calls of AWS Cloud Map, by operation and result.",
        ("operation", "result"),
    ),
    _Row(Gauge, "cloud_map_age_seconds", "Since the service that was looked up longest ago was."),
    _Row(Gauge, "endpoints", "Endpoints that are known from Cloud Map and from proxies."),
    _Row(Gauge, "endpoints_unhealthy", "Those of them that are not healthy, or not yet."),
    _Row(Gauge, "discovery_faults", "Nodes whose endpoints cannot be looked up."),
    _Row(Gauge, "requests_in_flight", "Requests that are being worked on."),
    _Row(Gauge, "connections", "Open connections of the API."),
    _Row(
        Gauge,
        "trust_file_broken",
        "Whether the newest trust file cannot be used, so that an older one holds.",
    ),
    _Row(Gauge, "revision", "The newest revision that was published to the proxies."),
    _Row(Gauge, "proxies_connected", "Envoys that are connected."),
    _Row(Gauge, "proxies", "Envoys that are connected, by how they stand.", ("state",)),
    _Row(Gauge, "proxies_sharing_an_id", "Those of them that say they are one that another says it is, too."),
    _Row(
        Gauge,
        "xds_resources",
        "Resources that an Envoy should hold and does not, over all Envoys, by type and why.",
        ("type", "state"),
    ),
    _Row(Gauge, "releases", "Newest releases of their stacks that have not propagated.", ("status",)),
    _Row(Gauge, "release_proxies", "Proxies that those concern, by what they made of them.", ("state",)),
    _Row(Gauge, "checkpoint_size", "Leaves of the audit log in the newest published checkpoint; 0 without any."),
    _Row(Gauge, "observed_edges", "Pairs of caller and callee between which calls are observed."),
    _Row(Gauge, "load_reports", "Load reports of Envoys since the start."),
    _Row(
        Gauge,
        "api_certificate_expiry_seconds",
        "When the API's certificate ends, since the epoch; 0 without TLS.",
    ),
    _Row(Gauge, "xds_certificate_expiry_seconds", "When that of xDS ends, since the epoch; 0 without TLS."),
)


_GAUGED: dict[str, tuple[tuple[str, ...], ...]] = {
    "proxies": tuple((state,) for state in ("synced", "pending", "rejected")),
    "releases": tuple((status,) for status in ("applied", "failed")),
    "release_proxies": tuple((state,) for state in ("acked", "pending", "rejected")),
    "xds_resources": tuple((name, state) for name in (*_TYPES.values(), _OTHER) for state in ("pending", "rejected")),
}
"""The values of labels, so that a series is there before it has something to tell."""


class Metrics(Collector):
    """One server's metrics on a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters = {one.name: self._counter(one) for one in _METRICS if one.kind is Counter}
        self._histograms = {one.name: self._histogram(one) for one in _METRICS if one.kind is Histogram}
        self._gauges = {one.name: self._gauge(one) for one in _METRICS if one.kind is Gauge}
        self._known: dict[tuple[str, int], Counter] = {}
        self._timed: dict[str, Histogram] = {}
        self._answers = {
            (name, accepted): self._counters["xds_responses"].labels(name, "ack" if accepted else "nack")
            for name in (*_TYPES.values(), _OTHER)
            for accepted in (True, False)
        }
        self._sent = {name: self._counters["xds_resources_sent"].labels(name) for name in (*_TYPES.values(), _OTHER)}
        timed = self._histograms["release_ack_seconds"]
        self._acks = {url: timed.labels(name) for url, name in (*_TYPES.items(), (_OTHER, _OTHER))}
        self._standing: Callable[[], Standing] = Standing
        self._under_way: Callable[[], UnderWay] = UnderWay

    def _counter(self, row: _Row) -> Counter:
        return Counter(f"meshwright_{row.name}", row.text, row.labels, registry=self._registry)

    def _histogram(self, row: _Row) -> Histogram:
        return Histogram(f"meshwright_{row.name}", row.text, row.labels, buckets=row.buckets, registry=self._registry)

    def _gauge(self, row: _Row) -> Gauge:
        made = Gauge(f"meshwright_{row.name}", row.text, row.labels, registry=self._registry)
        for values in _GAUGED.get(row.name, ()):
            made.labels(*values)
        return made

    def watch(self, name: str, value: Callable[[], float]) -> None:
        """Read the gauge `name` (without `meshwright_`) from `value` whenever metrics are asked for."""
        self._gauges[name].set_function(value)

    def watch_proxies(self, standing: Callable[[], Standing]) -> None:
        """Read how the proxies stand from `standing` whenever metrics are asked for."""
        self._standing = standing

    def watch_releases(self, under_way: Callable[[], UnderWay]) -> None:
        """Read which releases are under way from `under_way` whenever metrics are asked for."""
        self._under_way = under_way

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """A request was answered; `operation` is one of the API's, "" for none."""
        known = self._known.get((operation, status))
        if known is None:
            known = self._known[operation, status] = self._counters["requests"].labels(
                operation or "none", str(status)
            )
            self._timed.setdefault(operation, self._histograms["request_seconds"].labels(operation or "none"))
        known.inc()
        self._timed[operation].observe(seconds)

    def refused(self, reason: str) -> None:
        """Nobody can be held to a request; `reason` is the error's name."""
        self._counters["refused_unauthenticated"].labels(reason).inc()

    def denied(self, operation: str) -> None:
        """Somebody may not do what was asked for."""
        self._counters["denied"].labels(operation or "none").inc()

    def turned_away(self, limit: str) -> None:
        """A connection or a request ran into a limit, named as in `limits.Limits`."""
        self._counters["turned_away"].labels(limit).inc()

    def committed(self, revisions: int, seconds: float) -> None:
        """One transaction of so many revisions is durable."""
        self._counters["revisions_committed"].inc(revisions)
        self._histograms["commit_batch_revisions"].observe(revisions)
        self._histograms["commit_seconds"].observe(seconds)

    def store_failed(self) -> None:
        """The database could not serve a request."""
        self._counters["store_failures"].inc()

    def evidence_failed(self) -> None:
        """The database could not keep what proxies made of a release; that is tried again."""
        self._counters["evidence_failures"].inc()

    def attempt_left_out(self) -> None:
        """An attempt of somebody who is known has no leaf of its own."""
        self._counters["attempts_left_out"].inc()

    def checkpoint_failed(self) -> None:
        """A checkpoint of the audit log could not be published; it is tried again."""
        self._counters["checkpoint_failures"].inc()

    def snapshot_built(self) -> None:
        """A snapshot was built."""
        self._counters["snapshots_built"].inc()

    def events_told(self, receiver: str, events: int) -> None:
        """A receiver, `otlp` or `cloudwatch`, took so many events."""
        self._counters["events_told"].labels(receiver).inc(events)

    def event_dropped(self, receiver: str) -> None:
        """A receiver is not told an event: too many wait for it, it will not have it, or the server stops."""
        self._counters["events_dropped"].labels(receiver).inc()

    def telling_failed(self, receiver: str) -> None:
        """A receiver did not take what it was sent."""
        self._counters["telling_failures"].labels(receiver).inc()

    def acked(self, type_url: str, *, accepted: bool) -> None:
        """An Envoy took or rejected a response of a type."""
        self._answers[_TYPES.get(type_url, _OTHER), accepted].inc()

    def sent(self, type_url: str, resources: int) -> None:
        """A response of a type with so many resources was written to an Envoy."""
        self._sent[_TYPES.get(type_url, _OTHER)].inc(resources)

    def propagated(self, seconds: float, acks: Iterable[tuple[str, float]]) -> None:
        """Every proxy has a release, so long after its commit; `acks` are types and seconds, one a response to it."""
        self._histograms["propagation_seconds"].observe(seconds)
        for type_url, took in acks:
            self._acks.get(type_url, self._acks[_OTHER]).observe(took)

    def settled(self, status: str) -> None:
        """A release has propagated or failed."""
        self._counters["release_outcomes"].labels(status).inc()

    def verified(self, judgement: str) -> None:
        """A release was judged `verified`, `failed` or `inconclusive`."""
        self._counters["verifications"].labels(judgement).inc()

    def cloud_map_asked(self, operation: str, result: str) -> None:
        """Cloud Map answered a call, `ok`, or why it did not: `throttled`, `missing`, `refused`, `unreachable`."""
        self._counters["cloud_map_calls"].labels(operation, result).inc()

    def stream_refused(self, reason: str) -> None:
        """A stream of a proxy was refused or ended; `reason` is a gRPC code, with `ended_` before it for an end."""
        self._counters["xds_streams_refused"].labels(reason).inc()

    def collect(self) -> Iterator[Metric]:
        """All of them, but for the times of their creation, which would be as many series again."""
        self._look_at_proxies()
        self._look_at_releases()
        for metric in self._registry.collect():
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
            yield metric

    def _look_at_proxies(self) -> None:
        standing = self._standing()
        for (state,) in _GAUGED["proxies"]:
            self._gauges["proxies"].labels(state).set(standing.proxies.get(state, 0))
        behind: Counts[tuple[str, str]] = Counts()
        for (type_url, state), number in standing.resources.items():
            behind[_TYPES.get(type_url, _OTHER), state] += number
        for name, state in _GAUGED["xds_resources"]:
            self._gauges["xds_resources"].labels(name, state).set(behind[name, state])

    def _look_at_releases(self) -> None:
        found = self._under_way()
        for name, numbers in (("releases", found.statuses), ("release_proxies", found.proxies)):
            for (value,) in _GAUGED[name]:
                self._gauges[name].labels(value).set(numbers.get(value, 0))

    def render(self) -> bytes:
        """All of them in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)
