"""Trials of time limits and retries: answers that come too late, and answers that are worth another try.

The one rule: a fault is confined to the trial's own calls by a header, so that trials run side by side, and what is
expected rests on what the workloads saw: how often a call arrived, and when it was given up.
"""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from meshwright.model.specs import VirtualNodeSpec
from meshwright.routing import shortest
from meshwright.trials.deriving.expectations import expectation
from meshwright.trials.trial import Bounds, Expect, FaultKind, Given, Trial

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.routing import Retry
    from meshwright.simulate import Verdict
    from meshwright.trials.deriving.entries import Arrival

FAULT = "x-meshwright-fault"
"""The header by which a fault knows the calls that it is for."""
_LONGEST = 15_500
"""Milliseconds that a trial waits at most: a little more than App Mesh's own limit."""
_OUT_OF_REACH = 20_000
"""Limits from here on are not waited for; that a call is still waited for after `_LONGEST` is."""
_LATE, _SLACK = 1.3, 250
"""A try is given up in time when it takes at most so much longer than its limit, and so many milliseconds more."""
_EARLY = 0.9
"""It is given up too early below this part: a limit runs from before the arrival that is seen."""
_BACK_OFF = (25, 75, 175, 250)
"""Milliseconds that Envoy waits at most before the first retry, the second and so on, with its own base interval.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter
"""
_STATUSES = (500, 502, 503, 504, 409, 429)
"""Those that one event or another is about, and one that none is."""
_GRPC_STATUSES: Mapping[str, int] = MappingProxyType(
    {
        "cancelled": 1,
        "deadline-exceeded": 4,
        "not-found": 5,
        "resource-exhausted": 8,
        "internal": 13,
        "unavailable": 14,
    }
)
"""The same for gRPC: `not-found` is the one that no event is about."""
_GATEWAY_TIMEOUT = 504
_TIMED_OUT = (4, 14)
"""What gRPC clients are told of a call that took too long."""


class Tries(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a call that nobody answers."""

    limit: int
    """Milliseconds after which a try is given up; 0 for never."""
    most: int
    """How often it is tried."""
    total: int
    """Milliseconds after which all is given up; 0 for never."""
    sure: bool
    """Whether no two limits are so close that chance decides between them."""

    @property
    def fit(self) -> bool:
        """Whether all tries fit into the limit for the whole call."""
        return not self.total or self.most == 1 or self._needed < self.total

    @property
    def lasts(self) -> int:
        """Milliseconds that it takes until all is given up."""
        return min(self._needed, self.total) if self.total else self._needed

    @property
    def _needed(self) -> int:
        return int(self.most * self.limit * 1.05) + _pauses(self.most)


def of_way(graph: Graph, found: Arrival, key: Key, where: str, title: str) -> Iterator[Trial]:
    """Trials of the limits and retries that hold for a call on its way, as `key` or the service behind it says.

    There are none where instances are ejected for failing: whoever else calls them would feel it.
    """
    expect = expectation(found.verdict)
    if expect is None or not expect.served_by or any(ejecting(graph, one.node) for one in found.verdict.targets):
        return
    yield from _too_late(found, key, where, title, expect)
    yield from _again(found, key, where, title)


def ejecting(graph: Graph, node: Key) -> bool:
    """Whether callers of a node stop calling instances that fail."""
    spec = graph.state[node].spec
    listeners = (spec.listeners or ()) if isinstance(spec, VirtualNodeSpec) else ()
    return any(one.outlier_detection is not None for one in listeners)


def tries(verdict: Verdict) -> Tries:
    """How often, and how long, a call is tried that is routed and that nobody answers."""
    limits = [shortest((hop.timeouts.request, hop.timeouts.idle)) for hop in verdict.hops if hop.timeouts]
    total = shortest(limits)
    retry = verdict.hops[-1].retry
    per_try = retry.per_try if retry else 0
    # The shorter one of route and listener: where it is the listener's, its proxy answers with a status.
    there = {shortest((one.timeouts.request, one.timeouts.idle)) for one in verdict.targets if one.fraction}
    listener = shortest(one for one in there if one != total)
    limit = shortest((total, per_try, listener))
    most = 1
    if retry and limit and limit != total:
        again = "reset" in retry.on if limit == per_try else _GATEWAY_TIMEOUT in retry.statuses
        most += retry.most if again else 0
    others = [one for one in (total, per_try, listener) if one and one != limit]
    sure = len(there) == 1 and per_try != total and all(one > limit * 1.2 for one in others)
    return Tries(limit=limit, most=most, total=total, sure=sure)


def _too_late(found: Arrival, key: Key, where: str, title: str, expect: Expect) -> Iterator[Trial]:
    tried = tries(found.verdict)
    if not tried.limit or tried.limit >= _OUT_OF_REACH:
        latency, name = _LONGEST, f"{title} still waits after {_LONGEST / 1_000:g} s"
    elif tried.limit > _LONGEST or tried.lasts > _LONGEST or not tried.sure:
        return
    else:
        most = int(tried.limit * _LATE) + _SLACK
        least = int(tried.limit * _EARLY) - _SLACK // 5 if tried.fit else 0
        attempts = Bounds(least=tried.most if tried.fit else 1, most=tried.most)
        latency, expect = (
            most + _SLACK,
            _timed_out(found.call.protocol, attempts, Bounds(least=max(least, 0), most=most)),
        )
        times = f", {attempts} times" if tried.most > 1 else ""
        name = f"{title} gives up after {tried.limit / 1_000:g} s{times}"
    yield _trial(found, key, where, name, expect, Given(kind=FaultKind.LATENCY, latency=latency))


def _timed_out(protocol: str, attempts: Bounds, given_up: Bounds) -> Expect:
    if protocol == "grpc":
        return Expect(grpc_statuses=_TIMED_OUT, attempts=attempts, given_up=given_up)
    statuses = (0, 503) if protocol == "tcp" else (_GATEWAY_TIMEOUT,)
    return Expect(statuses=statuses, attempts=attempts, given_up=given_up)


def _again(found: Arrival, key: Key, where: str, title: str) -> Iterator[Trial]:
    """Every kind of failure that a retry may be for: it is tried again as often as it is to be, or not at all."""
    if found.call.protocol == "tcp":
        return
    retry, total = found.verdict.hops[-1].retry, tries(found.verdict).total
    if found.call.protocol == "grpc":
        for condition, code in _GRPC_STATUSES.items():
            attempts = _attempts(retry, total, again=retry is not None and condition in retry.on)
            expect = Expect(grpc_statuses=(code,), attempts=attempts)
            fault = Given(kind=FaultKind.ABORT, grpc_status=code)
            yield _trial(found, key, where, f"{title}, gRPC status {code}: {_told(attempts)}", expect, fault)
        return
    for status in _STATUSES:
        attempts = _attempts(retry, total, again=retry is not None and status in retry.statuses)
        expect = Expect(statuses=(status,), attempts=attempts)
        fault = Given(kind=FaultKind.ABORT, status=status)
        yield _trial(found, key, where, f"{title}, status {status}: {_told(attempts)}", expect, fault)


def _attempts(retry: Retry | None, total: int, *, again: bool) -> Bounds:
    most = 1 + (retry.most if retry and again else 0)
    fits = not total or _pauses(most) < total * 0.8
    return Bounds(least=most if fits else min(most, 2), most=most)


def _pauses(tries_made: int) -> int:
    """Milliseconds between so many tries, at most."""
    return sum(_BACK_OFF[min(index, len(_BACK_OFF) - 1)] for index in range(tries_made - 1))


def _told(attempts: Bounds) -> str:
    return "not tried again" if attempts.most == 1 else f"tried {attempts} times"


def _trial(found: Arrival, key: Key, where: str, name: str, expect: Expect, fault: Given) -> Trial:
    mark = {FAULT: hashlib.sha256(name.encode()).hexdigest()[:12]}
    nodes = sorted({one.node.name for one in found.verdict.targets if one.fraction})
    return Trial(
        name=name,
        call=found.call.with_headers(add=tuple(mark.items())),
        expect=expect,
        caller=found.caller,
        given=tuple(msgspec.structs.replace(fault, at=node, headers=mark) for node in nodes),
        about=(key,),
        path=where,
    )
