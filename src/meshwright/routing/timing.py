"""Effective time limits and retries. Milliseconds everywhere; 0 means "no limit".

The one rule: an absent value is App Mesh's default, never Envoy's.
Sources: https://docs.aws.amazon.com/app-mesh/latest/userguide/route-http.html and envoy-defaults.html beside it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from meshwright.model.listeners import HttpTimeout, TcpTimeout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meshwright.model.extensions import RetryPolicySpec
    from meshwright.model.listeners import Duration, Listener
    from meshwright.model.routes import GrpcRetryPolicy, HttpRetryPolicy, RouteSpec

DEFAULT_REQUEST = 15_000
"""A whole request, retries included: 15 s."""
DEFAULT_IDLE = 300_000
"""Without traffic: 300 s."""

_SERVER_ERRORS = (500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511)
_HTTP_EVENTS: Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]] = MappingProxyType(
    {
        "server-error": (("reset", "retriable-status-codes"), _SERVER_ERRORS),
        "gateway-error": (("reset", "retriable-status-codes"), (502, 503, 504)),
        "client-error": (("retriable-status-codes",), (409,)),
        "stream-error": (("refused-stream",), ()),
    }
)
"""App Mesh's HTTP events as Envoy's conditions and status codes."""
_TCP_EVENTS: Mapping[str, str] = MappingProxyType({"connection-error": "connect-failure"})
_CONDITION_ORDER = (
    "reset",
    "connect-failure",
    "refused-stream",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
    "retriable-status-codes",
)
"""The order in which conditions are written, so that the same events give the same bytes."""


class Timeouts(msgspec.Struct, frozen=True):
    """The time limits at one place: for a whole request, and without traffic; milliseconds, 0 for none."""

    request: int
    idle: int


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """When a request is tried again."""

    most: int
    """How many times after the first try."""
    per_try: int
    """The time limit of each try, the first included; milliseconds, 0 for none of its own."""
    on: tuple[str, ...]
    """Envoy's `retry_on` conditions."""
    statuses: tuple[int, ...]
    """The status codes behind `retriable-status-codes`."""
    across_versions: bool = False
    """Whether a retry goes to a version with a weight that was not tried yet; else it stays within the first."""


DEFAULT_RETRY = Retry(
    most=2,
    per_try=0,
    on=("reset", "connect-failure", "refused-stream", "retriable-status-codes"),
    statuses=(503,),
)
"""What holds for HTTP without a policy of its own, a node that provides a service itself included."""
_DEFAULT_GRPC_RETRY = msgspec.structs.replace(
    DEFAULT_RETRY, on=(*DEFAULT_RETRY.on[:-1], "unavailable", DEFAULT_RETRY.on[-1])
)


def milliseconds(duration: Duration | None, default: int) -> int:
    """A duration's length; `default` where it, or its value, is absent."""
    return default if duration is None or duration.value is None else duration.milliseconds


def shortest(limits: Iterable[int]) -> int:
    """The limit that bites first among `limits`; 0 when none does."""
    return min((limit for limit in limits if limit), default=0)


def longest(limits: Iterable[int]) -> int:
    """The limit that leaves room for all of `limits`: 0 when one of them is unlimited or none is given."""
    given = tuple(limits)
    return 0 if 0 in given else max(given, default=0)


def route_timeouts(spec: RouteSpec) -> Timeouts:
    """A route's own limits; a TCP route limits idleness only."""
    if spec.tcp_route is not None:
        return _timeouts(spec.tcp_route.timeout or TcpTimeout())
    route = spec.grpc_route or spec.http2_route or spec.http_route
    return _timeouts(route.timeout if route else None)


def listener_timeouts(listener: Listener) -> Timeouts:
    """The limits that a virtual node's own Envoy puts on what comes in; the default ones bite there as well."""
    members = listener.timeout
    if listener.port_mapping.protocol == "tcp":
        return _timeouts((members and members.tcp) or TcpTimeout())
    return _timeouts((members and (members.http or members.http2 or members.grpc)) or None)


def retry(spec: RouteSpec) -> Retry | None:
    """How a route tries again: by its policy, or as App Mesh does by default; None for TCP and without events."""
    if spec.tcp_route is not None:
        return None
    if spec.grpc_route is not None:
        policy = spec.grpc_route.retry_policy
        return _retry(policy, policy.grpc_retry_events or ()) if policy else _DEFAULT_GRPC_RETRY
    route = spec.http2_route or spec.http_route
    return _retry(route.retry_policy) if route and route.retry_policy else DEFAULT_RETRY


def extended_retry(own: Retry | None, spec: RetryPolicySpec, protocol: str) -> Retry | None:
    """How requests are tried again where the extension `spec` holds; `own` is what would hold without it."""
    policy: HttpRetryPolicy | GrpcRetryPolicy | None = spec.http_retry_policy
    events: Iterable[str] = ()
    if protocol == "grpc":
        policy = spec.grpc_retry_policy
        events = (spec.grpc_retry_policy and spec.grpc_retry_policy.grpc_retry_events) or ()
    found = own if policy is None else _retry(policy, events)
    if found is None or not spec.across_versions:
        return found
    return msgspec.structs.replace(found, across_versions=True)


def default_retry(protocol: str) -> Retry | None:
    """How a listener's protocol is tried again where no route can say."""
    return {"tcp": None, "grpc": _DEFAULT_GRPC_RETRY}.get(protocol, DEFAULT_RETRY)


def _timeouts(timeout: HttpTimeout | TcpTimeout | None) -> Timeouts:
    if isinstance(timeout, TcpTimeout):
        return Timeouts(0, milliseconds(timeout.idle, DEFAULT_IDLE))
    timeout = timeout or HttpTimeout()
    return Timeouts(milliseconds(timeout.per_request, DEFAULT_REQUEST), milliseconds(timeout.idle, DEFAULT_IDLE))


def _retry(policy: HttpRetryPolicy | GrpcRetryPolicy, grpc_events: Iterable[str] = ()) -> Retry | None:
    conditions, statuses = set(grpc_events), set[int]()
    for event in policy.http_retry_events or ():
        wanted, codes = _HTTP_EVENTS.get(event, ((), ()))
        conditions.update(wanted)
        statuses.update(codes)
    conditions.update(_TCP_EVENTS[event] for event in policy.tcp_retry_events or ())
    if not conditions:
        return None
    return Retry(
        most=policy.max_retries,
        per_try=milliseconds(policy.per_retry_timeout, 0),
        on=tuple([one for one in _CONDITION_ORDER if one in conditions]),
        statuses=tuple(sorted(statuses)),
    )
