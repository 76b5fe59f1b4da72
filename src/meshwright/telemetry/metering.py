"""Events and readings as metrics of AWS CloudWatch.

The one rule: few series, since each costs money: dimensions are mesh, stack, status and state, and nothing else.
Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
"""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshwright.aws import Access, client
from meshwright.errors import RefusedError, UsageError
from meshwright.telemetry.aws import ATTEMPTS, refusing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from meshwright.telemetry.happening import Event, Reading

_AT_ONCE = 1_000
"""Metrics of one call at most."""
_NAMESPACE = re.compile(r"[0-9A-Za-z._/#:-]{1,255}")
_NEVER = ("Invalid", "Missing", "Validation")
"""How the names of errors begin after which the same is refused again."""
_COUNTED = {"snapshots_built": "SnapshotsBuilt", "requests": "Requests"}
"""Counters of `/metrics`, without `meshwright_`, that are told as what came since the last time."""
_EVENTS = {"release": "Releases", "approval": "Approvals", "grant": "Grants", "drift": "Drift"}
"""What events are counted as."""
_STATES = {"synced": "ProxiesSynced", "pending": "ProxiesPending", "rejected": "ProxiesRejected"}


class Metering:
    """One namespace."""

    name = "cloudwatch"

    def __init__(self, namespace: str, region: str) -> None:
        """Nothing is sent yet.

        Raises:
            UsageError: it is no name of a namespace, boto3 is not here, or AWS's settings cannot be used.
        """
        if not _NAMESPACE.fullmatch(namespace) or namespace.startswith(("AWS/", ":")):
            raise UsageError(
                f"--cloudwatch {namespace!r} is no namespace of CloudWatch's; it takes up to 255 of letters, digits "
                "and ._/#:- and begins neither with AWS/ nor a colon, such as Meshwright/staging."
            )
        self._client, self._failures = client("cloudwatch", Access(otherwise=region), attempts=ATTEMPTS)
        self._namespace = namespace
        self._before: dict[str, float] = {}
        """What the counters said when they were told last."""
        self._meshes: set[str] = set()
        """Those of which proxies were told: that none is connected any more is told as well."""

    def tell(self, events: Sequence[Event]) -> None:
        """Count events.

        Raises:
            UnreachableError: CloudWatch did not take them; try again.
            RefusedError: it never will.
        """
        self._put(datum for one in events for datum in _of_event(one))

    def read(self, reading: Reading) -> None:
        """Tell how proxies stand, and what was done since the last reading; raises as `tell`."""
        counted = _counts(reading)
        meshes = self._meshes | {mesh for mesh, _ in reading.proxies}
        at = datetime.fromtimestamp(reading.at / 1000, UTC)
        standing = [
            _datum(name, float(reading.proxies.get((mesh, state), 0)), "Count", at, Mesh=mesh)
            for mesh in sorted(meshes)
            for state, name in _STATES.items()
        ]
        since = [
            _datum(name, value - self._before.get(name, 0.0), "Count", at) for name, value in sorted(counted.items())
        ]
        self._put(itertools.chain(standing, since))
        # Only what was taken: what was not is in the next difference.
        self._before, self._meshes = counted, meshes

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _put(self, metrics: Iterable[dict[str, Any]]) -> None:
        left = iter(metrics)
        while part := list(itertools.islice(left, _AT_ONCE)):
            with refusing(self._failures, "CloudWatch", "cloudwatch:PutMetricData"):
                try:
                    self._client.put_metric_data(Namespace=self._namespace, MetricData=part)
                except self._failures.ClientError as error:
                    found = error.response.get("Error", {})
                    if str(found.get("Code", "")).startswith(_NEVER):
                        raise RefusedError(f"CloudWatch does not take metrics: {found.get('Message')}") from None
                    raise


def _of_event(one: Event) -> Iterator[dict[str, Any]]:
    at, where = datetime.fromtimestamp(one.at / 1000, UTC), {"Mesh": one.mesh, "Stack": one.stack}
    yield _datum(_EVENTS[one.family], 1.0, "Count", at, **where, Status=str(one.attributes["meshwright.status"]))
    if one.seconds is not None:
        yield _datum("PropagationTime", one.seconds, "Seconds", at, **where)


def _datum(name: str, value: float, unit: str, at: datetime, **dimensions: str) -> dict[str, Any]:
    told = [{"Name": key, "Value": text} for key, text in dimensions.items()]
    return {"MetricName": name, "Dimensions": told, "Timestamp": at, "Value": value, "Unit": unit}


def _counts(reading: Reading) -> dict[str, float]:
    found = {"RequestsFailed": 0.0, **dict.fromkeys(_COUNTED.values(), 0.0)}
    for metric in reading.metrics:
        name = _COUNTED.get(metric.name.removeprefix("meshwright_"))
        for sample in metric.samples if name else ():
            found[str(name)] += sample.value
            if name == "Requests" and sample.labels["status"].startswith("5"):
                found["RequestsFailed"] += sample.value
    return found
