"""AWS Cloud Map itself.

The one rule: every call is made once and has an end; whether and when to ask again is the caller's to decide.
Source: https://docs.aws.amazon.com/cloud-map/latest/api/API_Operations.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.aws import Access, client
from meshwright.discovery.instances import read
from meshwright.errors import MeshwrightError

if TYPE_CHECKING:
    from meshwright.discovery.instances import Instance, Query, Service

CALLS = 8
"""Calls at the same time, each in a thread."""
_MOST = 1_000
"""Instances of one answer: what Cloud Map gives at most, and a service may have unless its quota was raised."""
_MISSING = frozenset({"ServiceNotFound", "NamespaceNotFound"})
_BUSY = frozenset(
    {"RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException"}
)


class CloudMapError(MeshwrightError):
    """Cloud Map could not be asked, or had no answer; `kind` is one of a handful, for counting."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class Api:
    """The two operations that are needed; safe to call from several threads."""

    def __init__(self, region: str) -> None:
        """AWS's own settings say who asks and where; `region` is for where they do not.

        Raises:
            UsageError: boto3 is not here, or the settings cannot be used.
        """
        asked = Access(otherwise=region)
        options: dict[str, Any] = {"max_pool_connections": CALLS}
        found, self._failures = client("servicediscovery", asked, attempts=1, **options)
        if "amazonaws.com" not in found.meta.endpoint_url:
            # AWS puts `data-` before its host for these operations; whatever else was named has one name.
            found, _ = client("servicediscovery", asked, attempts=1, inject_host_prefix=False, **options)
        self._client: Any = found

    def revision(self, service: Service) -> int | None:
        """A number that changes whenever an instance comes, goes or changes; None where it cannot be asked for.

        Health is not in it.

        Raises:
            CloudMapError: there is no answer.
        """
        try:
            found = self._client.discover_instances_revision(
                NamespaceName=service.namespace, ServiceName=service.name
            )
        except AttributeError:  # an older boto3
            return None
        except self._failures.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _MISSING | _BUSY:
                raise _refused(error, code) from error
            return None  # not every policy allows it, nor does every stand-in know it
        except self._failures.BotoCoreError as error:
            raise CloudMapError(str(error), "unreachable") from error
        return int(found["InstancesRevision"])

    def instances(self, query: Query) -> tuple[Instance, ...]:
        """Whatever answers to `query`, whether it is healthy or not.

        Raises:
            CloudMapError: there is no answer.
        """
        filters = {"QueryParameters": dict(query.attributes)} if query.attributes else {}
        try:
            found = self._client.discover_instances(
                NamespaceName=query.service.namespace,
                ServiceName=query.service.name,
                HealthStatus="ALL",
                MaxResults=_MOST,
                **filters,
            )
        except self._failures.ClientError as error:
            raise _refused(error, error.response.get("Error", {}).get("Code", "")) from error
        except self._failures.BotoCoreError as error:
            raise CloudMapError(str(error), "unreachable") from error
        return read(found["Instances"], query)


def _refused(error: Exception, code: str) -> CloudMapError:
    kind = "throttled" if code in _BUSY else "missing" if code in _MISSING else "refused"
    return CloudMapError(str(error), kind)
