"""Trials of time limits and retries: answers that come too late, and answers that are worth another try.

The one rule: a fault is confined to the trial's own calls by a header, so that trials run side by side, and what is
expected rests on what the workloads saw: how often a call arrived, and when it was given up.
"""

from __future__ import annotations

import hashlib
import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from meshwright.model.identity import Key
from meshwright.model.specs import VirtualNodeSpec
from meshwright.routing import shortest
from meshwright.simulate import Verdict
from meshwright.trials.deriving.entries import Arrival, Gap
from meshwright.trials.deriving.expectations import expectation
from meshwright.trials.promises import Promise, of
from meshwright.trials.trial import Bounds, Expect, FaultKind, Given, Trial

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from meshwright.graph import Graph
    from meshwright.routing import Retry
    from meshwright.simulate import Share

FAULT = "x-meshwright-fault"
"""The header by which a fault knows the calls that it is for."""
PATIENCE = 15_200
"""Milliseconds that a trial waits at most: a little more than App Mesh's own limit."""
PATIENCE_TCP = 13_900
"""The same over TCP, which App Mesh sets no limit of its own: what waits for these has a little time left."""
_LATE, _LATEST, _SLACK = 0.3, 150, 250
"""A try is given up in time when it takes longer than its limit by at most that part of it, but so many milliseconds
at most, and so many more: how late somebody hears of it depends on the machine and not on the limit."""
_EARLY, _EARLIEST = 0.1, 150
"""It is given up too early where it takes shorter by more than that part of its limit, but so many milliseconds at
most, and a fifth of the slack: a limit runs from before the arrival that is seen."""
_BEFORE = 0.9
"""Of a limit that is not waited for, this part of it is."""
RARELY = 0.1
"""Of a node that gets a smaller part of the calls, nothing is tried by calls that chance leads: it takes too many."""
MISSED = 0.001
"""The chance that honest calls leave somebody out whom they may go to."""
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
        return self.limit if self.most == 1 else int(self.most * self.limit * 1.05) + pauses(self.most)


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """A call on its way, and the object that it is tried for."""

    found: Arrival
    key: Key
    path: str
    """The field that its trials are about."""
    title: str
    """What their names begin with."""


class _Late(msgspec.Struct, frozen=True):
    """Those whose answers come too late for a call on its way."""

    way: Way
    verdict: Verdict
    """With them alone as its targets."""
    nodes: tuple[str, ...]
    """Their names; none where they are all to whom the call may go."""

    @property
    def calls(self) -> int:
        """How many surely come to them."""
        part = sum(one.fraction for one in self.verdict.targets)
        return math.ceil(math.log(MISSED) / math.log(1 - part)) if self.nodes else 1


def of_way(graph: Graph, way: Way, patience: int = PATIENCE) -> Iterator[Trial | Gap]:
    """Trials of the limits and retries that hold on a way, and which of them are not tried.

    Limits above `patience`, in milliseconds, are not waited for.
    """
    found = way.found
    expect = expectation(found.verdict)
    if expect is None or not expect.served_by:
        reason = "nobody can say beforehand what becomes of a call on this way"
        yield from (Gap(route=one.key, path=one.path, reason=reason) for one in _limits(graph, found.verdict))
        return
    yield from _all_too_late(graph, way, expect, patience)
    yield from _again(graph, way)


def apart(verdict: Verdict) -> tuple[Verdict, ...]:
    """The verdict for each of its targets, those together for which the same limits hold."""
    found: dict[Tries, list[Share]] = {}
    for one in verdict.targets:
        if one.fraction:
            found.setdefault(tries(towards(verdict, (one,))), []).append(one)
    return tuple(towards(verdict, several) for several in found.values()) or (verdict,)


def towards(verdict: Verdict, targets: Iterable[Share]) -> Verdict:
    """The verdict of a call that chance has sent to some of its targets."""
    *before, last = verdict.hops
    last = msgspec.structs.replace(last, targets=tuple(targets))
    return msgspec.structs.replace(verdict, hops=(*before, last))


def _all_too_late(graph: Graph, way: Way, expect: Expect, patience: int) -> Iterator[Trial | Gap]:
    """Answers that come too late from each of the targets for which other limits hold."""
    parts = apart(way.found.verdict)
    if len(parts) == 1:
        yield from _too_late(graph, _Late(way, way.found.verdict, ()), expect, patience)
        return
    found = [trial for part in parts for trial in _of_part(graph, way, part, parts, expect, patience)]
    yield from (one for one in found if isinstance(one, Trial))
    shown = {place for one in found if isinstance(one, Trial) for place in one.shows}
    gaps = {(one.route, one.path): one for one in found if isinstance(one, Gap)}
    yield from (one for place, one in gaps.items() if place not in shown)


def _of_part(
    graph: Graph, way: Way, part: Verdict, parts: Iterable[Verdict], expect: Expect, patience: int
) -> Iterator[Trial | Gap]:
    nodes = tuple(sorted({one.node.name for one in part.targets}))
    reason = ""
    if sum(one.fraction for one in part.targets) < RARELY:
        reason = f"less than {RARELY:.0%} of the calls come to {' or '.join(nodes)}"
    elif any(one.node.name in nodes for other in parts if other is not part for one in other.targets):
        reason = f"listeners of {' or '.join(nodes)} with other limits get a part of the calls, too"
    if reason:
        yield from (Gap(route=one.key, path=one.path, reason=reason) for one in _limits(graph, part))
    else:
        yield from _too_late(graph, _Late(way, part, nodes), expect, patience)


def _limits(graph: Graph, verdict: Verdict) -> list[Promise]:
    """The time limits that are written for a call on its way: by routes, and by the listeners that it comes to."""
    chosen = [hop.chosen for hop in verdict.hops if hop.chosen is not None and hop.chosen in graph.state]
    written = [one for key in chosen for one in of(graph.state[key])]
    for share in verdict.targets:
        spec = graph.state[share.node].spec
        listeners = (spec.listeners or ()) if isinstance(spec, VirtualNodeSpec) and share.fraction else ()
        at = [f"spec.listeners[{i}]." for i, one in enumerate(listeners) if one.port_mapping.port == share.port]
        written += [one for one in of(graph.state[share.node]) if one.path.startswith(tuple(at))]
    return [one for one in written if one.limit is not None]


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


def _too_late(graph: Graph, late: _Late, expect: Expect, patience: int) -> Iterator[Trial | Gap]:
    way, limits, tried = late.way, _limits(graph, late.verdict), tries(late.verdict)
    biting = {tried.limit} if tried.fit else {tried.limit, tried.total}
    reason = f"another limit, of {tried.limit / 1_000:g} s, comes first"
    if not tried.limit or tried.limit > patience:
        waited = PATIENCE_TCP if way.found.call.protocol == "tcp" and patience == PATIENCE else patience
        latency, biting = min(waited, int(tried.limit * _BEFORE) or waited), {0}
        name = f"still waits after {latency / 1_000:g} s"
        reason = f"it is not waited for; that a call still waits after {latency / 1_000:g} s is tried"
    elif tried.lasts > patience or not tried.sure:
        reason = f"all tries take {tried.lasts / 1_000:g} s, which are not waited for"
        reason = reason if tried.sure else "two limits are so close that chance decides between them"
        yield from (Gap(route=one.key, path=one.path, reason=reason) for one in limits)
        return
    else:
        most = tried.limit + min(int(tried.limit * _LATE), _LATEST) + _SLACK
        least = tried.limit - min(int(tried.limit * _EARLY), _EARLIEST) - _SLACK // 5 if tried.fit else 0
        attempts = Bounds(least=tried.most if tried.fit else 1, most=tried.most)
        latency = most + _SLACK
        expect = _timed_out(way.found.call.protocol, attempts, Bounds(least=max(least, 0), most=most))
        times = f", {attempts} times" if tried.most > 1 else ""
        name = f"gives up after {tried.limit / 1_000:g} s{times}"
    at = f" at {' or '.join(late.nodes)}" if late.nodes else ""
    shown = tuple(one.place for one in limits if one.limit in biting)
    trial = _trial(way, f"{way.title} {name}{at}", expect, Given(kind=FaultKind.LATENCY, latency=latency), shown)
    if late.nodes:
        given = tuple(one for one in trial.given if one.at in late.nodes)
        expect = msgspec.structs.replace(expect, arriving_at=late.nodes)
        trial = msgspec.structs.replace(trial, given=given, expect=expect, of=late.calls)
    yield trial
    yield from (Gap(route=one.key, path=one.path, reason=reason) for one in limits if one.place not in shown)


def _timed_out(protocol: str, attempts: Bounds, given_up: Bounds) -> Expect:
    if protocol == "grpc":
        return Expect(grpc_statuses=_TIMED_OUT, attempts=attempts, given_up=given_up)
    statuses = (0, 503) if protocol == "tcp" else (_GATEWAY_TIMEOUT,)
    return Expect(statuses=statuses, attempts=attempts, given_up=given_up)


def _again(graph: Graph, way: Way) -> Iterator[Trial]:
    """Every kind of failure that a retry may be for: it is tried again as often as it is to be, or not at all."""
    verdict, protocol = way.found.verdict, way.found.call.protocol
    if protocol == "tcp":
        return
    last = verdict.hops[-1]
    retry, total = last.retry, tries(verdict).total
    written = of(graph.state[last.chosen]) if last.chosen is not None and last.chosen in graph.state else ()
    shown = tuple(one.place for one in written if one.path.endswith(".retryPolicy"))
    if protocol == "grpc":
        for condition, code in _GRPC_STATUSES.items():
            attempts = _attempts(retry, total, again=retry is not None and condition in retry.on)
            expect = Expect(grpc_statuses=(code,), attempts=attempts)
            fault = Given(kind=FaultKind.ABORT, grpc_status=code)
            yield _trial(way, f"{way.title}, gRPC status {code}: {_told(attempts)}", expect, fault, shown)
        return
    for status in _STATUSES:
        attempts = _attempts(retry, total, again=retry is not None and status in retry.statuses)
        expect = Expect(statuses=(status,), attempts=attempts)
        fault = Given(kind=FaultKind.ABORT, status=status)
        yield _trial(way, f"{way.title}, status {status}: {_told(attempts)}", expect, fault, shown)


def _attempts(retry: Retry | None, total: int, *, again: bool) -> Bounds:
    most = 1 + (retry.most if retry and again else 0)
    fits = not total or pauses(most) < total * 0.8
    return Bounds(least=most if fits else min(most, 2), most=most)


def pauses(tries_made: int) -> int:
    """Milliseconds between so many tries, at most."""
    return sum(_BACK_OFF[min(index, len(_BACK_OFF) - 1)] for index in range(tries_made - 1))


def _told(attempts: Bounds) -> str:
    return "not tried again" if attempts.most == 1 else f"tried {attempts} times"


def mark_of(name: str) -> Mapping[str, str]:
    """The header of the calls that the faults of a trial are for."""
    return {FAULT: hashlib.sha256(name.encode()).hexdigest()[:12]}


def _trial(way: Way, name: str, expect: Expect, fault: Given, shown: tuple[tuple[Key, str], ...]) -> Trial:
    found, mark = way.found, mark_of(name)
    nodes = sorted({one.node.name for one in found.verdict.targets if one.fraction})
    return Trial(
        name=name,
        call=found.call.with_headers(add=tuple(mark.items())),
        expect=expect,
        caller=found.caller,
        given=tuple(msgspec.structs.replace(fault, at=node, headers=mark) for node in nodes),
        about=(way.key,),
        path=way.path,
        shows=shown,
    )
