"""Calls followed by the spans that proxies told of them, and who called whom.

The one rule: what is due is worked out from what simulation says and what workloads saw, before a span is looked at.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from meshwright.lab.seeing import KINDS, told_spans
from meshwright.lab.workload import onward
from meshwright.model.identity import Key, Kind
from meshwright.simulate import Call, Verdict, route
from meshwright.trials.conduct import RESTARTING
from meshwright.trials.sendable import as_sent, asked_besides
from meshwright.trials.spans import CLIENT, SERVER, Due, Leg, Tracing, Unlike, traced, unlike
from meshwright.trials.trial import Bounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from meshwright.lab.collector import Trace
    from meshwright.lab.exchange import Reply, Request
    from meshwright.lab.rig import Rig, Sent
    from meshwright.lab.topology import Backend, Role
    from meshwright.trials.trial import Trial

_OK = 200


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the calls of a trial, as far as spans tell."""

    unlike: tuple[tuple[Unlike, ...], ...]
    """How the spans of each call, in order, differ from what was due."""
    ways: tuple[tuple[Key, Key], ...]
    count: int | None
    """How many calls had spans that were looked at; None where nobody looked."""


class _Due(msgspec.Struct, frozen=True):
    """What is due of one call."""

    spans: tuple[Due, ...]
    closed: bool
    """Whether there can be no others."""

    def unlike(self, sent: Sent, trace: Trace) -> tuple[Unlike, ...]:
        return unlike(self.spans, told_spans(sent, trace), closed=self.closed)

    def enough(self, sent: Sent, trace: Trace) -> bool:
        least = sum(one.times.least for one in self.spans)
        return len(trace.spans) >= least and not any(one.lacking for one in self.unlike(sent, trace))


class Follower:
    """Follows the calls that are made on a rig."""

    def __init__(self, rig: Rig, *, spans: bool = True) -> None:
        """Without `spans`, they are not looked at, and of who called whom is known what workloads say."""
        self._rig = rig
        self._spans = spans
        self._tracing = Tracing(rig.graph, rig.release)
        self._roles = {one.role.key: one.role for one in rig.lab.fleet.instances}
        self._paths = {key.path: key for key in self._roles}
        self._programs = {one.role.key for one in rig.lab.fleet.instances if one.program is not None}
        self._besides = asked_besides(rig.graph)
        self._verdicts: dict[tuple[Key, Call], Verdict] = {}

    async def follow(self, trial: Trial, calls: Sequence[Sent]) -> Followed:
        """Wait, bounded, until there are the spans that are due of `calls`, all of `trial`; say what is not so."""
        if not self._looks_at(trial):
            ways = {way for one in calls for way in self._answered(one)}
            return Followed(unlike=((),) * len(calls), ways=tuple(sorted(ways)), count=None)
        dues = [self._due(trial, one) for one in calls]
        told = await self._rig.heard({
            sent.trace: functools.partial(due.enough, sent)
            for sent, due in zip(calls, dues, strict=True)
            if due is not None
        })  # fmt: skip
        found = [
            () if due is None else due.unlike(sent, told[sent.trace]) for sent, due in zip(calls, dues, strict=True)
        ]
        ways = {way for trace in told.values() for way in self._spanned(trace)}
        ways.update(way for one in calls for way in self._answered(one))
        return Followed(unlike=tuple(found), ways=tuple(sorted(ways)), count=len(told))

    def late(self, trial: Trial, sent: Sent, trace: Trace) -> tuple[Unlike, ...]:
        """What came of a call that was not due, as is known once all is over."""
        if not self._looks_at(trial) or (due := self._due(trial, sent)) is None:
            return ()
        return tuple(one for one in due.unlike(sent, trace) if not one.lacking)

    def _looks_at(self, trial: Trial) -> bool:
        """A test that sends a trace of its own, or an id that is no UUID, decides about spans, too."""
        return self._spans and traced(trial.call)

    def _due(self, trial: Trial, sent: Sent) -> _Due | None:
        """What is due of a call; None where nothing can be known, because TCP carries it."""
        if sent.call.protocol == "tcp":
            return None
        arrivals = [one for one in sent.attempts if one.node in self._roles]
        arrived = Counter(one.node for one in arrivals if self._carries_http(one.node, one.port))
        legs = [self._first(sent), *self._onward(trial, sent)]
        lossy = [one.at for one in trial.given if one.kind in RESTARTING]
        if trial.expect.pool is not None and sent.reply.status != _OK:
            # A gateway turns away before it has found the route.
            lossy.append(trial.expect.pool.at.name)
        return _Due(self._tracing.due(legs, arrived, lossy), self._programs.isdisjoint(arrived))

    def _carries_http(self, node: Key, port: int) -> bool:
        return any(one.number == port and one.protocol != "tcp" for one in self._roles[node].ports)

    def _first(self, sent: Sent) -> Leg:
        # A connection that was refused was no request to any proxy.
        made = as_sent(sent.call, self._besides) if self._besides else sent.call
        return Leg(verdict=self._verdict(sent.at, made), times=Bounds(least=int(sent.taken), most=1))

    def _onward(self, trial: Trial, sent: Sent) -> Iterator[Leg]:
        """What workloads on the way called in turn: at most once an arrival, and those that are told in replies."""
        if not trial.onward:
            return
        # What a program of the user's hands on is no proof that it was asked for it in the same trace.
        free = {key.name for key in self._programs}
        made = Counter(
            (one.node, call.service)
            for one in sent.reply.walk()
            for call in one.calls
            if one.node and one.node not in free and call.status
        )
        times = Counter(one.node for one in sent.attempts)
        requests: dict[Key, Request] = {one.node: one.request for one in sent.attempts if one.node in self._roles}
        for node, request in requests.items():
            for backend in _wanted(self._roles[node], trial.onward):
                bounds = Bounds(least=made[node.name, backend.service], most=times[node])
                yield Leg(verdict=self._verdict(node, _call(backend, request)), times=bounds, traced=True)

    def _verdict(self, caller: Key, call: Call) -> Verdict:
        if (caller, call) not in self._verdicts:
            now = int(time.time() * 1_000)
            self._verdicts[caller, call] = route(self._rig.graph, caller, call, now)
        return self._verdicts[caller, call]

    def _spanned(self, trace: Trace) -> Iterator[tuple[Key, Key]]:
        callers = {one.id: self._paths.get(one.proxy) for one in trace.spans if KINDS.get(one.kind) == CLIENT}
        for one in trace.spans:
            caller, callee = callers.get(one.parent), self._paths.get(one.proxy)
            if KINDS.get(one.kind) == SERVER and caller is not None and callee is not None:
                yield caller, callee

    def _answered(self, sent: Sent) -> Iterator[tuple[Key, Key]]:
        """Who called whom as replies tell, which are all that there is of TCP."""
        if not sent.call.straight:
            yield from self._asked(sent.at, sent.reply)

    def _asked(self, caller: Key, reply: Reply) -> Iterator[tuple[Key, Key]]:
        node = Key(caller.mesh, Kind.VIRTUAL_NODE, reply.node)
        if node in self._roles:
            yield caller, node
            for one in reply.calls:
                yield from self._asked(node, one)


def _wanted(role: Role, services: Iterable[str]) -> Iterator[Backend]:
    named = frozenset(services)
    return (one for one in role.backends if one.service in named)


def _call(backend: Backend, request: Request) -> Call:
    """What a workload sends on when `request` has reached it."""
    sent = onward(backend, request)
    protocol = backend.port.protocol
    headers = (("host", sent.authority), *sent.headers.items())
    return Call(protocol=protocol, host=backend.service, port=backend.port.number, path=sent.path, headers=headers)
