"""Trials of connection pools: as much as may be under way at once gets through, and one call more does not.

The one rule: calls begin one after another, because what waits for a connection counts as pending, and none ends
before all are under way. A proxy holds its own pool, so what is filled is that of each instance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from meshwright.model.identity import Key, Kind
from meshwright.model.specs import VirtualNodeSpec
from meshwright.trials.deriving.entries import Arrival, Gap
from meshwright.trials.deriving.expectations import GRPC_OK, GRPC_UNAVAILABLE, OK, UNAVAILABLE, expectation
from meshwright.trials.deriving.instances import UNBIASED, UNREACHED, reached
from meshwright.trials.deriving.policies import Tries, mark_of, pauses, towards, tries
from meshwright.trials.pools import pools
from meshwright.trials.trial import Expect, FaultKind, Given, Pool, Trial

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.graph import Graph

_MOST = 128
"""Calls that are under way at once, at most, to fill one instance."""
_APART = 25
"""Milliseconds between the beginnings of two calls."""
_HELD, _AFTER = 500, 400
"""Milliseconds for which a call is held at least, and for which the first is held after the last has begun."""
_SURE = 0.8
"""A call that takes less than this part of its limit is not given up."""


class _Filled(msgspec.Struct, frozen=True, kw_only=True):
    """A pool, and how calls come to it."""

    proxy: Key
    port: int
    path: str
    """Where it is written."""
    holds: Pool
    arrival: Arrival
    part: float
    """What part of these calls comes to it."""
    instance: int
    """Which one of the caller calls."""

    @property
    def calls(self) -> int:
        """How many make one more than an instance holds, or two more than it serves at once where all others wait."""
        wanted = self.holds.at_once + (2 if self.holds.waiting is None else self.holds.waiting + 1)
        return wanted if self.part == 1 else math.ceil(wanted * 1.5 / self.part) + 3

    @property
    def ends(self) -> frozenset[tuple[Key, int]]:
        """The listeners that the calls may come to, those of other targets included."""
        return frozenset((one.node, one.port) for one in self.arrival.verdict.targets if one.fraction)

    @property
    def tried(self) -> Tries:
        """What becomes of a call that comes to it and that nobody answers."""
        verdict, place = self.arrival.verdict, (self.proxy, self.port)
        own = [one for one in verdict.targets if (one.node, one.port) == place]
        return tries(towards(verdict, own) if own else verdict)

    @property
    def held(self) -> int:
        """Milliseconds until a call is answered that was not turned away and does not wait."""
        retry = self.arrival.verdict.hops[-1].retry
        return max(_HELD, self.calls * _APART + pauses(1 + (retry.most if retry else 0)) + _AFTER)

    @property
    def lasts(self) -> int:
        """Milliseconds until the last call is answered of those that wait."""
        waiting = 2 if self.holds.waiting is None else self.holds.waiting
        return self.held * (1 + math.ceil(waiting / self.holds.at_once))


def of_listeners(
    graph: Graph, arrivals: Sequence[Arrival], entrances: Sequence[Arrival], patience: int
) -> Iterator[Trial | Gap]:
    """The pool of every listener that has one.

    `arrivals` are calls of services, `entrances` calls of gateways. No call is waited for longer than `patience`.
    """
    for pool in pools(graph):
        proxy, port, path = pool.proxy, pool.port, pool.path
        found = _at_node(graph, proxy, port, arrivals) if proxy.kind is Kind.VIRTUAL_NODE else None
        if proxy.kind is Kind.VIRTUAL_GATEWAY:
            found = next(((one, 1.0) for one in entrances if (one.caller, one.call.port) == (proxy, port)), None)
        if found is None:
            yield Gap(route=proxy, path=path, reason=UNREACHED)
            continue
        arrival, part = found
        instance = UNBIASED if _counted(graph, arrival) else 1
        filled = _Filled(
            proxy=proxy,
            port=port,
            path=path,
            holds=Pool(at=proxy, at_once=pool.at_once, waiting=pool.waiting),
            arrival=arrival,
            part=part,
            instance=instance,
        )
        why = _unfillable(graph, filled, patience)
        yield Gap(route=proxy, path=path, reason=why) if why else _trial(graph, filled)


def _at_node(graph: Graph, node: Key, port: int, arrivals: Sequence[Arrival]) -> tuple[Arrival, float] | None:
    """Calls that come to a node's listener, where that can be through no other pool."""
    free = [
        one
        for one in arrivals
        if (one.caller, one.call.port) not in {(pool.proxy, pool.port) for pool in pools(graph)}
    ]
    found = reached(node, port, free) or reached(node, port, arrivals)
    return None if found is None else (found.arrival, found.part)


def _counted(graph: Graph, arrival: Arrival) -> bool:
    """Whether a caller counts as errors what is turned away, so that it may leave the instance alone for others."""
    specs = [graph.state[one.node].spec for one in arrival.verdict.targets]
    found = [one for spec in specs if isinstance(spec, VirtualNodeSpec) for one in spec.listeners or ()]
    return arrival.caller.kind is Kind.VIRTUAL_NODE and any(one.outlier_detection is not None for one in found)


def _unfillable(graph: Graph, filled: _Filled, patience: int) -> str:
    """Why a pool cannot be filled; "" when it can be."""
    if filled.calls > _MOST:
        return f"to fill it takes {filled.calls} calls at once"
    arrival = filled.arrival
    expect = expectation(arrival.verdict)
    if expect is None or not expect.served_by:
        return UNREACHED
    on_way = {(arrival.caller, arrival.call.port)} if filled.proxy.kind is Kind.VIRTUAL_NODE else filled.ends
    if on_way & {(pool.proxy, pool.port) for pool in pools(graph)}:
        return "another pool on the way to it may be full first"
    tried = filled.tried
    limit = min(tried.limit * _SURE, patience) if tried.limit else patience
    if filled.lasts > limit:
        told = "are not waited for" if limit == patience else f"a limit of {tried.limit / 1_000:g} s ends before"
        return f"the calls that fill it and wait take {filled.lasts / 1_000:g} s, which {told}"
    return ""


def _trial(graph: Graph, filled: _Filled) -> Trial:
    arrival, holds, proxy = filled.arrival, filled.holds, filled.proxy
    what = "gateway " if proxy.kind is Kind.VIRTUAL_GATEWAY else ""
    name = f"{what}{proxy.name}:{filled.port} takes {holds}"
    mark = mark_of(name)
    nodes = {proxy.name} if proxy.kind is Kind.VIRTUAL_NODE else {node.name for node, _ in filled.ends}
    grpc = arrival.call.protocol == "grpc"
    # Whom else calls come to may have a pool, too, that is none of this trial's business.
    beside = filled.ends - {(proxy, filled.port)} & {(pool.proxy, pool.port) for pool in pools(graph)}
    away = holds.waiting is not None or bool(beside)
    broken = (0,) if arrival.call.protocol == "tcp" else ()
    return Trial(
        name=name,
        call=arrival.call.with_headers(add=tuple(mark.items())),
        expect=Expect(
            statuses=() if grpc else (OK, UNAVAILABLE, *broken) if away else (OK,),
            grpc_statuses=((GRPC_OK, GRPC_UNAVAILABLE) if away else (GRPC_OK,)) if grpc else (),
            pool=holds,
        ),
        caller=arrival.caller,
        instance=filled.instance,
        given=tuple(
            Given(kind=FaultKind.LATENCY, at=node, latency=filled.held, headers=mark) for node in sorted(nodes)
        ),
        of=filled.calls,
        apart=_APART,
        about=(proxy,),
        path=filled.path,
        shows=((proxy, filled.path),),
    )
