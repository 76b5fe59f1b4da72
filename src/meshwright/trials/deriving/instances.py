"""Trials of single instances: one that fails its health checks, one that errs, and who is called instead.

The one rule: two instances run, and only the first fails, so that whoever else calls them is served all the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from meshwright.model.identity import Key, Kind
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec
from meshwright.trials.deriving.entries import Arrival, Gap
from meshwright.trials.deriving.expectations import OK, expectation
from meshwright.trials.deriving.policies import mark_of
from meshwright.trials.trial import Bounds, Ejection, Expect, FaultKind, Given, Trial

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from meshwright.graph import Graph
    from meshwright.model.listeners import HealthCheckPolicy, Listener, OutlierDetection

_MISSED = 0.001
"""The chance that honest calls leave an instance out that they may go to."""
_RARELY = 0.1
"""Of a node that gets a smaller part of the calls, single instances are not told apart: it would take too many."""
UNREACHED = f"no call was found that surely comes to it, or less than {_RARELY:.0%} do"
_MOST = 60
"""Calls that are made in turn at most until an instance has failed often enough."""
_PAUSE = 100
"""Milliseconds between calls that are made in turn."""
_SOON = 12_000
"""Ejections that may last longer than so many milliseconds are not waited for."""
_AWAY = 1_500
"""Milliseconds for which an instance is watched that is ejected for longer."""
_UNCHECKED = "nobody in the mesh calls a gateway, so nobody checks it"
_COUNTING, UNBIASED = 2, 3
"""Instances of a caller that count errors for one trial alone, and that count none."""
_FAILED, _GRPC_FAILED = 500, 13
"""What the instance answers that is to be ejected: nothing that is tried again unless somebody asks for it."""


class Reached(msgspec.Struct, frozen=True):
    """How a listener is reached best, and what part of these calls comes to it."""

    arrival: Arrival
    part: float


def of_nodes(graph: Graph, arrivals: Sequence[Arrival], patience: int) -> Iterator[Trial | Gap]:
    """The health checks and the outlier detection of every listener; those of gateways are nobody's business."""
    for gateway in graph.state.of(Kind.VIRTUAL_GATEWAY):
        listed = gateway.spec.listeners if isinstance(gateway.spec, VirtualGatewaySpec) else ()
        for index, entry in enumerate(listed):
            where = f"spec.listeners[{index}]"
            if entry.health_check is not None:
                yield Gap(route=gateway.key, path=f"{where}.healthCheck", reason=_UNCHECKED)
    for node in graph.state.of(Kind.VIRTUAL_NODE):
        if isinstance(node.spec, VirtualNodeSpec):
            for index, listener in enumerate(node.spec.listeners or ()):
                yield from _of_listener(node.key, node.spec, listener, f"spec.listeners[{index}]", arrivals, patience)


def _of_listener(
    node: Key, spec: VirtualNodeSpec, listener: Listener, where: str, arrivals: Sequence[Arrival], patience: int
) -> Iterator[Trial | Gap]:
    check, detection = listener.health_check, listener.outlier_detection
    if check is None and detection is None:
        return
    at = reached(node, listener.port_mapping.port, arrivals)
    reason = _alike(spec) or ("" if at else UNREACHED)
    if check is not None:
        why = reason or _unfailing(spec, listener, check)
        path = f"{where}.healthCheck"
        yield Gap(route=node, path=path, reason=why) if why or at is None else _ill(node, path, listener, at)
    if detection is not None:
        paths = [f"{where}.outlierDetection.{name}" for name in ("maxServerErrors", "baseEjectionDuration")]
        why = reason or _unerring(listener, detection, at)
        if why or at is None:
            yield from (Gap(route=node, path=path, reason=why) for path in paths)
        else:
            yield from _erring(node, paths, listener, detection, at, patience)


def reached(node: Key, port: int, arrivals: Iterable[Arrival]) -> Reached | None:
    """How a node's listener is reached best; None where it is not, or rarely."""
    found: list[Reached] = []
    for one in arrivals:
        expect = expectation(one.verdict)
        part = sum(share.fraction for share in one.verdict.targets if (share.node, share.port) == (node, port))
        if expect is not None and node.name in expect.served_by and part >= _RARELY:
            found.append(Reached(one, part))
    return max(found, key=lambda one: one.part, default=None)


def _alike(spec: VirtualNodeSpec) -> str:
    """Why a node's instances cannot be told apart by who calls it; "" when they can."""
    dns = spec.service_discovery.dns if spec.service_discovery else None
    if dns is not None and dns.response_type != "ENDPOINTS":
        return "callers know one address of it at a time (LOADBALANCER), and call it whether it is well or not"
    return ""


def _unfailing(spec: VirtualNodeSpec, listener: Listener, check: HealthCheckPolicy) -> str:
    """Why no application fails this check, or each does; "" when one can."""
    if check.protocol == "tcp":
        return "it asks for no more than a connection, which an instance's proxy takes, whatever the application does"
    if check.protocol == "grpc" and listener.port_mapping.protocol not in {"http2", "grpc"}:
        return "a check by gRPC of what does not speak HTTP/2 is none"
    if check.port is not None and check.port not in {one.port_mapping.port for one in spec.listeners or ()}:
        return (
            f"the node has no listener at its port {check.port}: every instance fails it, and is called all the same"
        )
    return ""


def _ill(node: Key, path: str, listener: Listener, at: Reached) -> Trial:
    """One instance fails its checks, and is well again."""
    expect = expectation(at.arrival.verdict) or Expect()
    return Trial(
        name=f"an instance of {node.name}:{listener.port_mapping.port} that is ill is not called until it is well",
        call=at.arrival.call,
        expect=msgspec.structs.replace(expect, avoided=True),
        caller=at.arrival.caller,
        # Where errors are counted, others have made some: a caller's first instance may have ejected whom it called.
        instance=1 if listener.outlier_detection is None else UNBIASED,
        given=(Given(kind=FaultKind.UNHEALTHY, at=node.name, instances=1, of=2),),
        of=math.ceil(math.log(_MISSED) / math.log(1 - at.part / 2)),
        steady=True,
        about=(node,),
        path=path,
        shows=((node, path),),
    )


def _calls(detection: OutlierDetection, at: Reached) -> int:
    """Calls until the first of two instances has surely been called as often as it may fail."""
    return math.ceil(detection.max_server_errors * 2 / at.part * (1 if at.part == 1 else 1.5)) + 2


def _unerring(listener: Listener, detection: OutlierDetection, at: Reached | None) -> str:
    """Why no instance is made to err often enough; "" when one can be."""
    if listener.port_mapping.protocol == "tcp":
        return "over TCP only a connection that is refused is an error, which whoever else calls would feel"
    if at is not None and _calls(detection, at) > _MOST:
        return f"an instance would have to fail {detection.max_server_errors} times"
    return ""


def _away(base: int, interval: int, patience: int) -> Bounds:
    """How long an instance is left alone; without an end where that is not waited for."""
    if base >= _AWAY and base * 1.3 + interval <= min(_SOON, patience):
        return Bounds(least=int(base * 0.9), most=int(base * 1.3) + interval + 1_000)
    return Bounds(least=_AWAY)


def _failing(node: Key, mark: Mapping[str, str], *, grpc: bool) -> Given:
    """The first of two instances answers calls with `mark` with errors."""
    given = Given(kind=FaultKind.ABORT, at=node.name, instances=1, of=2, headers=mark)
    wrong = {"grpc_status": _GRPC_FAILED} if grpc else {"status": _FAILED}
    return msgspec.structs.replace(given, **wrong)


def _erring(
    node: Key, paths: list[str], listener: Listener, detection: OutlierDetection, at: Reached, patience: int
) -> Iterator[Trial | Gap]:
    """One instance answers with errors; the second instance of a caller calls, which nobody else does."""
    base, interval = detection.base_ejection_duration.milliseconds, detection.interval.milliseconds
    errors, calls = detection.max_server_errors, _calls(detection, at)
    name = f"an instance of {node.name}:{listener.port_mapping.port} that fails {errors} times is left alone"
    away = _away(base, interval, patience)
    if away.most is not None:
        name += f" for {base / 1_000:g} s"
    else:
        reason = f"{base / 1_000:g} s and a look every {interval / 1_000:g} s are not waited for"
        yield Gap(route=node, path=paths[1], reason=reason)
    call, mark = at.arrival.call, mark_of(name)
    grpc = call.protocol == "grpc"
    expect = expectation(at.arrival.verdict) or Expect()
    yield Trial(
        name=name,
        call=call.with_headers(add=tuple(mark.items())),
        expect=Expect(
            statuses=() if grpc else (OK, _FAILED),
            grpc_statuses=(0, _GRPC_FAILED) if grpc else (),
            served_by=expect.served_by if not grpc else (),
            ejected=Ejection(errors=errors, away=away),
        ),
        caller=at.arrival.caller,
        instance=_COUNTING,
        given=(_failing(node, mark, grpc=grpc),),
        of=calls + math.ceil(((away.most or away.least) + 1_000) / _PAUSE),
        every=_PAUSE,
        about=(node,),
        path=paths[0],
        shows=tuple((node, path) for path in (paths if away.most else paths[:1])),
    )
