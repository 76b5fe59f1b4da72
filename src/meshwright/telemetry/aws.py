"""Spans in AWS X-Ray and metrics in CloudWatch.

The one rule: each look has an end, in calls and in time; what AWS refuses is told with the permissions that it takes.
Sources: https://docs.aws.amazon.com/xray/latest/api/API_GetTraceSummaries.html and
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.aws import client
from meshwright.errors import UnreachableError
from meshwright.model.identity import Key, Kind
from meshwright.telemetry.witness import Told, proxy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from meshwright.aws import Access

ATTEMPTS = 3
"""Of each call."""
_PAGES = 20
"""Pages of one look at most."""
_MOST_TRACES = 100
"""Of one look, the newest."""
_TOGETHER = 5
"""Traces that X-Ray gives in one answer."""
_PERIOD = 60
"""Seconds of one datapoint."""
_AT_ONCE = 500
"""Metrics that CloudWatch is asked for in one call."""


class XRay:
    """The traces of a mesh since some time."""

    def __init__(self, access: Access, mesh: str, since: int, clock: Callable[[], datetime]) -> None:
        """`since` in milliseconds since the epoch, UTC.

        Raises:
            UsageError: boto3 is not here, or AWS's settings cannot be used.
        """
        self._remedy = access.remedy
        self._client, self._failures = client("xray", access, attempts=ATTEMPTS)
        self._mesh = mesh
        self._since = datetime.fromtimestamp(since / 1000, UTC)
        self._clock = clock

    def told(self) -> Iterator[Told]:
        """As `Witness.told`."""
        with refusing(self._failures, "X-Ray", "xray:GetTraceSummaries and xray:BatchGetTraces", self._remedy):
            asked = {"StartTime": self._since, "EndTime": self._clock()}
            pages = _pages(self._client.get_trace_summaries, asked)
            # Those that were seen before, too: segments of a trace come one by one.
            found = [one["Id"] for page in pages for one in page["TraceSummaries"]][-_MOST_TRACES:]
            for start in range(0, len(found), _TOGETHER):
                part = found[start : start + _TOGETHER]
                for trace in self._client.batch_get_traces(TraceIds=part)["Traces"]:
                    for segment in trace["Segments"]:
                        yield from self._segment(segment["Document"], trace["Id"])

    def close(self) -> None:
        """As `Witness.close`."""
        self._client.close()

    def _segment(self, document: str, trace: str) -> Iterator[Told]:
        """An Envoy's own segment is named `MESH/NODE`; what a collector made of a span has its attributes."""
        try:
            found = msgspec.json.decode(document)
            name, at = str(found["name"]), int(float(found["start_time"]) * 1000)
        except (ValueError, KeyError, TypeError):
            return
        said = {**_flat(found.get("annotations")), **_flat(found.get("metadata"))}
        proxy = proxy_of(said, self._mesh)
        mesh, slash, own = name.partition("/")
        known = [proxy] if proxy is not None else []
        if not known and slash and mesh == self._mesh:
            # A name alone does not say whether it is a node or a gateway: whoever asks knows which there is.
            known = [Key(mesh, kind, own) for kind in (Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY)]
        for one in known:
            yield Told(proxy=one, at=at, what=f"trace {trace}", deployed=said.get("meshwright.release", ""))


class CloudWatch:
    """The metrics of a namespace since some time."""

    def __init__(self, access: Access, namespace: str, mesh: str, since: int, clock: Callable[[], datetime]) -> None:
        """`since` in milliseconds since the epoch, UTC.

        Raises:
            UsageError: boto3 is not here, or AWS's settings cannot be used.
        """
        self._remedy = access.remedy
        self._client, self._failures = client("cloudwatch", access, attempts=ATTEMPTS)
        self._namespace = namespace
        self._mesh = mesh
        self._since = datetime.fromtimestamp(since / 1000, UTC)
        self._clock = clock

    def told(self) -> Iterator[Told]:
        """As `Witness.told`: a datapoint counts from when its period begins."""
        with refusing(
            self._failures, "CloudWatch", "cloudwatch:ListMetrics and cloudwatch:GetMetricData", self._remedy
        ):
            metrics = list(self._metrics())
            end = self._clock() + timedelta(seconds=_PERIOD)
            for start in range(0, len(metrics), _AT_ONCE):
                part = metrics[start : start + _AT_ONCE]
                queries = [
                    {"Id": f"m{place}", "MetricStat": {"Metric": metric, "Period": _PERIOD, "Stat": "SampleCount"}}
                    for place, (_, metric) in enumerate(part)
                ]
                asked = {"MetricDataQueries": queries, "StartTime": self._since, "EndTime": end}
                for page in _pages(self._client.get_metric_data, asked):
                    for one in page["MetricDataResults"]:
                        proxy, metric = part[int(one["Id"][1:])]
                        for at in one["Timestamps"]:
                            what = f"metric {metric['MetricName']} of {self._namespace}"
                            yield Told(proxy=proxy, at=int(at.timestamp() * 1000), what=what)

    def close(self) -> None:
        """As `Witness.close`."""
        self._client.close()

    def _metrics(self) -> Iterator[tuple[Key, dict[str, Any]]]:
        """Those whose dimensions name a proxy of the mesh."""
        for page in _pages(self._client.list_metrics, {"Namespace": self._namespace}):
            for one in page["Metrics"]:
                proxy = proxy_of({it["Name"]: it["Value"] for it in one["Dimensions"]}, self._mesh)
                if proxy is not None and proxy.mesh == self._mesh:
                    yield proxy, {name: one[name] for name in ("Namespace", "MetricName", "Dimensions")}


def _pages(call: Callable[..., Any], asked: Mapping[str, Any]) -> Iterator[Any]:
    more: dict[str, str] = {}
    for _ in range(_PAGES):
        page = call(**asked, **more)
        yield page
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}


def _flat(value: Any) -> dict[str, str]:
    """Texts by name, of whatever namespaces they are in."""
    found: dict[str, str] = {}
    for name, one in value.items() if isinstance(value, dict) else ():
        if isinstance(one, dict):
            found |= _flat(one)
        elif isinstance(one, str):
            found[str(name)] = one
    return found


@contextlib.contextmanager
def refusing(failures: Any, what: str, needed: str, remedy: str = "") -> Iterator[None]:
    """Tell what AWS refuses as a failure of ours, with the permissions that are `needed`.

    `remedy` is for where there are no credentials.
    """
    try:
        yield
    except failures.ClientError as error:
        message = str(error.response.get("Error", {}).get("Message", "")) or str(error)
        raise UnreachableError(f"{what} refused: {message} The caller's role needs {needed}.") from None
    except (
        failures.NoCredentialsError,
        failures.PartialCredentialsError,
        failures.CredentialRetrievalError,
    ) as error:
        raise UnreachableError(f"{what} cannot be asked: {str(error).rstrip('.')}. {remedy}".rstrip()) from None
    except failures.BotoCoreError as error:
        raise UnreachableError(f"{what} cannot be asked: {error}") from None
