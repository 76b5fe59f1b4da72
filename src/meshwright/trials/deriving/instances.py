"""Trials of single instances: one that fails its health checks, one that errs, and who is called instead.

The one rule: two instances run, and only the first fails, so that whoever else calls them is served all the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from meshwright.model.identity import Key, Kind
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec
from meshwright.trials.checks import asked_path
from meshwright.trials.deriving.entries import Arrival, Gap
from meshwright.trials.deriving.expectations import OK, expectation
from meshwright.trials.deriving.policies import MISSED, RARELY, mark_of
from meshwright.trials.trial import Bounds, Ejection, Expect, FaultKind, Given, Trial

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from meshwright.graph import Graph
    from meshwright.model.listeners import HealthCheckPolicy, Listener, OutlierDetection

UNREACHED = f"no call was found that surely comes to it, or less than {RARELY:.0%} do"
_FAILING = 6_000
"""Milliseconds of calls in turn at most until an instance has failed often enough."""
_PAUSES = (100, 50, 25)
"""Milliseconds between calls that are made in turn: the first that tells an ejection from chance is taken."""
_BY_CHANCE = 0.0001
"""The chance that honest calls leave an instance out for as long as one that is ejected, or fail too seldom."""
_SOON = 12_000
"""Ejections that may last longer than so many milliseconds are not waited for."""
_AWAY, _LONGEST_AWAY = 1_500, 6_000
"""Milliseconds for which an instance is watched that is ejected for longer: as long as tells it from chance."""
_EARLY, _LATE = 0.9, 500
"""It returns too early below this part of the time for which it is ejected, and too late so many milliseconds after
that, the interval at which Envoy looks who may return, and the calls until it is its turn."""
_TURNS = 4
"""Calls within which each of two instances is surely called, where all calls come to them."""
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
        watch = _watch(detection, at.part, patience) if at is not None else None
        why = reason or _unerring(listener, detection, watch)
        if why or at is None or watch is None:
            yield from (Gap(route=node, path=path, reason=why) for path in paths)
        else:
            yield from _erring(node, paths, listener, detection, at, watch)


def reached(node: Key, port: int, arrivals: Iterable[Arrival]) -> Reached | None:
    """How a node's listener is reached best; None where it is not, or rarely."""
    found: list[Reached] = []
    for one in arrivals:
        expect = expectation(one.verdict)
        part = sum(share.fraction for share in one.verdict.targets if (share.node, share.port) == (node, port))
        if expect is not None and node.name in expect.served_by and part >= RARELY:
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
    asked = asked_path(listener.health_check)
    return Trial(
        name=f"an instance of {node.name}:{listener.port_mapping.port} that is ill is not called until it is well",
        call=at.arrival.call,
        expect=msgspec.structs.replace(expect, avoided=True),
        caller=at.arrival.caller,
        # Where errors are counted, others have made some: a caller's first instance may have ejected whom it called.
        instance=1 if listener.outlier_detection is None else UNBIASED,
        given=(Given(kind=FaultKind.UNHEALTHY, at=node.name, instances=1, of=2, path=asked),),
        of=math.ceil(math.log(MISSED) / math.log(1 - at.part / 2)),
        steady=True,
        about=(node,),
        path=path,
        shows=((node, path),),
    )


class _Watch(msgspec.Struct, frozen=True, kw_only=True):
    """How an ejection is seen by calls that are made in turn."""

    every: int
    """Milliseconds between them."""
    calls: int
    """So many until the first of two instances has surely failed as often as it may."""
    away: Bounds
    """How long it is left alone then; without an end where that is not waited for."""

    @property
    def of(self) -> int:
        """How many calls there are in all."""
        return self.calls + math.ceil(((self.away.most or self.away.least) + 1_000) / self.every)


def _watch(detection: OutlierDetection, part: float, patience: int) -> _Watch | None:
    """How an ejection is told from chance; None where it cannot be.

    Of the calls, `part` comes to the node, every other one of these to the instance that fails.
    """
    base, interval = detection.base_ejection_duration.milliseconds, detection.interval.milliseconds
    calls = _until(detection.max_server_errors, part)
    for every in _PAUSES:
        # By chance it is called again within so many milliseconds.
        called = math.ceil(math.log(_BY_CHANCE) / math.log(1 - part / 2)) * every
        least = min(max(called, _AWAY), int(base * _EARLY))
        if called <= least <= _LONGEST_AWAY and calls * every <= _FAILING:
            most = base + interval + (_TURNS * every if part == 1 else called) + _LATE
            waited = base >= _AWAY and most <= min(_SOON, patience)
            away = Bounds(least=int(base * _EARLY), most=most) if waited else Bounds(least=least)
            return _Watch(every=every, calls=calls, away=away)
    return None


def _until(errors: int, part: float) -> int:
    """Calls until the first of two instances has surely been called so often: proxies take turns between them."""
    if part == 1:
        return errors * 2 + 2
    count, chance = errors, 1.0
    while chance > _BY_CHANCE:
        count += 1
        chance = sum(
            math.comb(count, fewer) * (part / 2) ** fewer * (1 - part / 2) ** (count - fewer)
            for fewer in range(errors)
        )
    return count


def _unerring(listener: Listener, detection: OutlierDetection, watch: _Watch | None) -> str:
    """Why no instance is made to err often enough, or not seen to be left alone; "" when one can be."""
    if listener.port_mapping.protocol == "tcp":
        return "over TCP only a connection that is refused is an error, which whoever else calls would feel"
    if watch is None:
        base, errors = detection.base_ejection_duration.milliseconds / 1_000, detection.max_server_errors
        return f"it would have to fail {errors} times, or chance leaves an instance alone for {base:g} s, too"
    return ""


def _failing(node: Key, mark: Mapping[str, str], *, grpc: bool) -> Given:
    """The first of two instances answers calls with `mark` with errors."""
    given = Given(kind=FaultKind.ABORT, at=node.name, instances=1, of=2, headers=mark)
    wrong = {"grpc_status": _GRPC_FAILED} if grpc else {"status": _FAILED}
    return msgspec.structs.replace(given, **wrong)


def _erring(
    node: Key, paths: list[str], listener: Listener, detection: OutlierDetection, at: Reached, watch: _Watch
) -> Iterator[Trial | Gap]:
    """One instance answers with errors; the second instance of a caller calls, which nobody else does."""
    base, interval = detection.base_ejection_duration.milliseconds, detection.interval.milliseconds
    errors, away = detection.max_server_errors, watch.away
    name = f"an instance of {node.name}:{listener.port_mapping.port} that fails {errors} times is left alone"
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
        of=watch.of,
        every=watch.every,
        about=(node,),
        path=paths[0],
        shows=tuple((node, path) for path in (paths if away.most else paths[:1])),
    )
