"""The policies that definitions write down: limits, retries, health checks, ejection, pools, TLS, egress.

The one rule: what is written is listed, whether a run can show it or not; defaults that nobody wrote are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.model.decoding import encode
from meshwright.model.identity import Key, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.graph import Graph
    from meshwright.model.state import Resource

_KINDS = (Kind.MESH, Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY, Kind.ROUTE)
_AT_LISTENERS = ("healthCheck", "connectionPool", "tls")
_OF_OUTLIERS = ("maxServerErrors", "baseEjectionDuration")
"""What of outlier detection is a promise of its own."""
_RETRIES = "retryPolicy"
_BROKEN = (
    "a connection that fails between two proxies, which it is about, cannot be had for the calls of one test alone"
)
_STREAMS = "workloads refuse no stream of HTTP/2, and the proxies beside them would try again themselves"
_IN_GRPC = "workloads answer gRPC with a status of gRPC alone; a try that takes too long is tried with the limits"
_MADE = "a run makes the certificates of servers so that their declared callers take them: that these refuse"
_TRUST = f"{_MADE} one of another authority is not tried"
_NAMES = f"{_MADE} one for another name is not tried"


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """One policy, as it is written."""

    key: Key
    path: str
    limit: int | None = None
    """Of a time limit its milliseconds, 0 for none; None for everything else."""
    unseen: str = ""
    """Why no run shows it; "" for what a run may show."""

    @property
    def place(self) -> tuple[Key, str]:
        """Object and field."""
        return self.key, self.path


def promises(graph: Graph) -> Iterator[Promise]:
    """Every policy that the definitions of a mesh write down."""
    for kind in _KINDS:
        for one in graph.state.of(kind):
            yield from of(one)


def of(resource: Resource) -> Iterator[Promise]:
    """The policies of one object."""
    written, key = encode(resource.spec), resource.key
    if "egressFilter" in written:
        yield Promise(key=key, path="spec.egressFilter")
    yield from _towards_servers(key, written)
    for index, listener in enumerate(written.get("listeners", ())):
        yield from _listener(key, f"spec.listeners[{index}]", listener)
    for member in (name for name in written if name.endswith("Route")):
        route, where = written[member], f"spec.{member}"
        yield from _limits(key, f"{where}.timeout", route.get("timeout", {}))
        if _RETRIES in route:
            yield Promise(key=key, path=f"{where}.{_RETRIES}")
            yield from _limits(key, f"{where}.{_RETRIES}", route[_RETRIES])
            yield from _events(key, f"{where}.{_RETRIES}", route[_RETRIES], grpc=member == "grpcRoute")


def _listener(key: Key, where: str, listener: dict[str, Any]) -> Iterator[Promise]:
    for protocol, members in listener.get("timeout", {}).items():
        yield from _limits(key, f"{where}.timeout.{protocol}", members)
    yield from (Promise(key=key, path=f"{where}.{name}") for name in _AT_LISTENERS if name in listener)
    validation = listener.get("tls", {}).get("validation", {})
    if listener.get("tls", {}).get("mode") != "DISABLED":
        yield from (Promise(key=key, path=f"{where}.tls.validation.{name}") for name in validation)
    detection = listener.get("outlierDetection", {})
    yield from (
        Promise(key=key, path=f"{where}.outlierDetection.{name}") for name in _OF_OUTLIERS if name in detection
    )


def _events(key: Key, where: str, policy: dict[str, Any], *, grpc: bool) -> Iterator[Promise]:
    """The events that no run brings about."""
    if "tcpRetryEvents" in policy:
        yield Promise(key=key, path=f"{where}.tcpRetryEvents", unseen=_BROKEN)
    events = policy.get("httpRetryEvents", ())
    if grpc and events:
        yield Promise(key=key, path=f"{where}.httpRetryEvents", unseen=_IN_GRPC)
    elif "stream-error" in events:
        yield Promise(key=key, path=f"{where}.httpRetryEvents[{events.index('stream-error')}]", unseen=_STREAMS)


def _towards_servers(key: Key, written: dict[str, Any]) -> Iterator[Promise]:
    """How a client judges the certificates of those whom it calls."""
    places = {
        f"spec.backends[{index}].virtualService": one.get("virtualService", {})
        for index, one in enumerate(written.get("backends", ()))
    } | {"spec.backendDefaults": written.get("backendDefaults", {})}
    for where, one in places.items():
        validation = one.get("clientPolicy", {}).get("tls", {}).get("validation", {})
        path = f"{where}.clientPolicy.tls.validation"
        told = {"trust": _TRUST, "subjectAlternativeNames": _NAMES}
        yield from (Promise(key=key, path=f"{path}.{name}", unseen=told[name]) for name in validation)


def _limits(key: Key, where: str, members: dict[str, Any]) -> Iterator[Promise]:
    for name, value in members.items():
        if isinstance(value, dict) and "value" in value:
            limit = int(value["value"]) * (1 if value.get("unit") == "ms" else 1_000)
            yield Promise(key=key, path=f"{where}.{name}", limit=limit)
