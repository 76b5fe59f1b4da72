"""Risks to how failures are met: limits, retries and health checks that go away.

The one rule: a value that becomes another one is a change like any; only one that goes away is a risk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.impact.risks.pairs import paired
from meshwright.impact.values import Risk
from meshwright.model.decoding import encode
from meshwright.model.extensions import RetryPolicySpec
from meshwright.model.identity import Kind
from meshwright.model.listeners import Listener
from meshwright.model.routes import RouteSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.impact.scene import Scene
    from meshwright.model.identity import Key
    from meshwright.model.listeners import Duration, HttpTimeout, ListenerTimeout, TcpTimeout

_MEMBERS = (("grpc_route", "grpcRoute"), ("http2_route", "http2Route"), ("http_route", "httpRoute"))
_ROUTES = (*_MEMBERS, ("tcp_route", "tcpRoute"))
_LIMITS = (("per_request", "perRequest"), ("idle", "idle"))


def timeouts(scene: Scene) -> Iterator[Risk]:
    """Limits of routes and of nodes' listeners that are taken away, or set to 0, which is none."""
    for key, old, new in scene.updates(Kind.ROUTE):
        if not (isinstance(old.spec, RouteSpec) and isinstance(new.spec, RouteSpec)):
            continue
        for member, wire in _ROUTES:
            was, now = getattr(old.spec, member), getattr(new.spec, member)
            if was is not None and now is not None:
                yield from _limits(key, was.timeout, now.timeout, f"spec.{wire}.timeout")
    for key, before, after in scene.updates(Kind.VIRTUAL_NODE):
        for pair in paired(before, after):
            if isinstance(pair.old, Listener) and isinstance(pair.new, Listener):
                yield from _listener(key, pair.old.timeout, pair.new.timeout, f"{pair.path}.timeout")


def _listener(key: Key, old: ListenerTimeout | None, new: ListenerTimeout | None, path: str) -> Iterator[Risk]:
    """The limits of a listener hold by its protocol, under whose name they stand: another protocol keeps them."""
    (was_at, was), (now_at, now) = _active(old), _active(new)
    yield from _limits(key, was, now, f"{path}.{now_at or was_at}")


def _active(timeout: ListenerTimeout | None) -> tuple[str, HttpTimeout | TcpTimeout | None]:
    for member in ("grpc", "http", "http2", "tcp"):
        found: HttpTimeout | TcpTimeout | None = getattr(timeout, member, None)
        if found is not None:
            return member, found
    return "", None


def _limits(
    key: Key, old: HttpTimeout | TcpTimeout | None, new: HttpTimeout | TcpTimeout | None, path: str
) -> Iterator[Risk]:
    for member, wire in _LIMITS:
        was: Duration | None = getattr(old, member, None)
        now: Duration | None = getattr(new, member, None)
        unlimited = now is not None and now.milliseconds == 0
        limited = was is not None and was.milliseconds > 0
        if (limited and now is None) or (unlimited and (was is None or limited)):
            left = "no limit" if unlimited else "App Mesh's own limit"
            yield Risk(
                code="timeout-removed",
                summary=f"{wire} of {key} goes away: {left} is left",
                key=key,
                path=f"{path}.{wire}",
                old=_shown(was),
                new=_shown(now),
            )


def retries(scene: Scene) -> Iterator[Risk]:
    """Retries of routes, and retry policies, that go away."""
    for key, old, new in scene.updates(Kind.ROUTE):
        if not (isinstance(old.spec, RouteSpec) and isinstance(new.spec, RouteSpec)):
            continue
        for member, wire in _MEMBERS:
            was, now = getattr(old.spec, member), getattr(new.spec, member)
            if was is None or now is None or not _most(was.retry_policy) or _most(now.retry_policy):
                continue
            path = f"spec.{wire}.retryPolicy"
            yield Risk(
                code="retries-removed",
                summary=f"{key} tries no failed request again; it did up to {_most(was.retry_policy)} times",
                key=key,
                path=f"{path}.maxRetries" if now.retry_policy is not None else path,
                old=_most(was.retry_policy),
                new=0,
            )
    for key, old, new in scene.updates(Kind.RETRY_POLICY):
        most = _policy(old.spec)
        if most and isinstance(new.spec, RetryPolicySpec) and _written(new.spec) and not _policy(new.spec):
            summary = f"the retry policy {key.name} tries no failed request again; it did up to {most} times"
            yield Risk(code="retries-removed", summary=summary, key=key, path="spec", old=most, new=0)
    for one in scene.deleted(Kind.RETRY_POLICY):
        most = _policy(one.spec)
        if most:
            summary = f"the retry policy {one.key.name} goes away, which tried up to {most} times"
            yield Risk(code="retries-removed", summary=summary, key=one.key, old=most)


def _written(spec: RetryPolicySpec) -> bool:
    """Whether it says how often, and does not leave that to the routes."""
    return spec.http_retry_policy is not None or spec.grpc_retry_policy is not None


def _policy(spec: object) -> int:
    if not isinstance(spec, RetryPolicySpec):
        return 0
    return max(_most(spec.http_retry_policy), _most(spec.grpc_retry_policy))


def _most(policy: Any) -> int:
    return policy.max_retries if policy is not None else 0


def rate_limits(scene: Scene) -> Iterator[Risk]:
    """Rate limits that go away."""
    for one in scene.deleted(Kind.RATE_LIMIT):
        yield Risk(code="rate-limit-removed", summary=f"the rate limit {one.key.name} goes away", key=one.key)


def checks(scene: Scene) -> Iterator[Risk]:
    """Health checks and outlier detections of listeners that go away."""
    for key, old, new in scene.updates(Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY):
        for pair in paired(old, new):
            if pair.old.health_check is not None and pair.new.health_check is None:
                yield Risk(
                    code="health-check-removed",
                    summary=f"nobody asks port {pair.port} of {key} any more whether it is healthy",
                    key=key,
                    path=f"{pair.path}.healthCheck",
                    old=encode(pair.old.health_check),
                )
            was, now = (getattr(side, "outlier_detection", None) for side in (pair.old, pair.new))
            if was is not None and now is None:
                yield Risk(
                    code="outlier-detection-removed",
                    summary=f"instances of {key} that fail at port {pair.port} are not put aside any more",
                    key=key,
                    path=f"{pair.path}.outlierDetection",
                    old=encode(was),
                )


def _shown(limit: Duration | None) -> str | None:
    return None if limit is None else f"{limit.value} {limit.unit}"
