"""The calls between the nodes of all meshes, as their proxies report them.

The one rule: memory is bounded, and small: 100 nodes with 20 backends each have 2,000 edges. An edge is one pair of
caller and callee, however many proxies report it; it has an hour of minutes, and goes a day after its last call. Of
the minutes that are over only bytes are kept: as objects they took five times as much.
Counts only grow, over reconnections too; what a restart of the control plane forgets is told by `since`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from meshwright.observe.counting import Counts
from meshwright.observe.latency import Latency

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    from meshwright.model.identity import Key
    from meshwright.observe.watching import Watch

    Way: TypeAlias = tuple[Key, Key, str]

MINUTES = 60
KEEP = 24 * 3_600_000
"""Milliseconds after its last call that an edge is kept."""
MOST_EDGES = 50_000
SILENCE = 600_000
"""Milliseconds without a report of any proxy of a caller after which nothing is known of it."""
_MINUTE = 60_000
_LARGEST = 2**32
"""Of one proxy and one cluster, in one report: a million requests a second make that in over an hour, and reports
come every few seconds. What says more is nonsense that would spoil the counts of all others."""
_MOST = 2**63
"""In one minute, of all reports."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What one report says of one cluster: what came since the last report, and what is under way."""

    cluster: str
    issued: int
    """Requests, or TCP connections, that were sent to an instance."""
    successes: int
    errors: int
    """Answers of 5xx, resets, timeouts, and requests that found no connection."""
    active: int


class _Minute:
    __slots__ = ("counts", "latency", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.counts = Counts()
        self.latency: Latency | None = None
        """How long calls took, where a proxy has said so."""

    def packed(self) -> bytes:
        """All of it but the bounds of the latency."""
        counted = (min(one, _MOST) for one in msgspec.structs.astuple(self.counts))
        measured = (self.latency.total, self.latency.counts.tolist()) if self.latency is not None else (0.0, [])
        return msgspec.msgpack.encode((self.number, *counted, *measured))


class Edge:
    """The calls of one node or gateway to a node, or out of the mesh."""

    __slots__ = ("_bounds", "_newest", "_past", "active", "callee", "caller", "first_at", "last_at", "total", "way")

    def __init__(self, caller: Key, callee: Key, way: str, at: int) -> None:
        self.caller = caller
        self.callee = callee
        self.way = way
        """The cluster by which the mesh is left; "" for calls within it."""
        self.first_at = at
        self.last_at = at
        self.total = Counts()
        self.active: dict[tuple[str, str], int] = {}
        """Under way now, by proxy and cluster: a node is called through one a port."""
        self._past: list[bytes] = []
        """The minutes that are over, as packed: a list, since an empty deque has the size of 60."""
        self._bounds: list[tuple[float, ...]] = []
        """Those of the latencies in each of them."""
        self._newest: _Minute | None = None

    def within(self, now: int, minutes: int) -> tuple[Counts, Latency]:
        """What was counted in the last so many minutes, the one that has begun included."""
        counts, latency = Counts(), Latency()
        first = now // _MINUTE - minutes + 1
        for bounds, packed in zip(self._bounds, self._past, strict=True):
            number, *counted, total, measured = msgspec.msgpack.decode(packed)
            if number >= first:
                counts.add(Counts(*counted))
                latency.add(bounds, measured, total)
        if self._newest is not None and self._newest.number >= first:
            counts.add(self._newest.counts)
            latency.merge(self._newest.latency or Latency())
        return counts, latency

    def minute(self, at: int) -> _Minute:
        """The minute of `at`, or of the newest report where the clock was set back."""
        number = at // _MINUTE
        if self._newest is None or self._newest.number < number:
            if self._newest is not None:
                self._past.append(self._newest.packed())
                self._bounds.append(self._newest.latency.bounds if self._newest.latency else ())
                del self._past[: 1 - MINUTES], self._bounds[: 1 - MINUTES]
            self._newest = _Minute(number)
        return self._newest


class _Running:
    """What one proxy has reported of one edge, added up; from this, requests that found no connection are told.

    Envoy counts such a request as an error and never as issued, and reads what is done before what is issued: done
    exceeds issued by those alone. While others are under way fewer of them show; none is told that was not one.
    """

    __slots__ = ("edge", "errors", "excess", "found")

    def __init__(self, edge: Edge, excess: int) -> None:
        self.edge = edge
        self.excess = excess
        self.errors = 0
        self.found = 0

    def unconnected(self, load: Load) -> int:
        """How many more than before."""
        self.errors += load.errors
        self.excess += load.successes + load.errors - load.issued
        more = max(min(self.excess, self.errors) - self.found, 0)
        self.found += more
        return more


class Traffic:
    """All edges. Not for use from more than one thread."""

    def __init__(self, since: int, *, every: float = 5.0) -> None:
        """Counting began at `since`, in milliseconds since the epoch, UTC; proxies report `every` so many seconds."""
        self.since = since
        self.every = every
        self.reports = 0
        """How many reports of load came in."""
        self._edges: dict[Way, Edge] = {}
        self._running: dict[str, dict[str, _Running]] = {}
        """By proxy and cluster."""
        self._bounds: tuple[float, ...] = ()
        """Those of the newest histogram: all are of the same, as a rule, and share them."""
        self._callers: dict[Key, tuple[int, int]] = {}
        self._swept = since // _MINUTE
        self._watches: list[Watch] = []

    def begin(self, watch: Watch) -> None:
        """Tell `watch`, too, of what is reported from now on."""
        self._watches.append(watch)

    def end(self, watch: Watch) -> None:
        """Tell it no more."""
        self._watches.remove(watch)

    def reported(self, proxy: str) -> None:
        """A report of a proxy's load begins; `count` follows for each cluster in it."""
        for watch in self._watches:
            watch.reported(proxy)

    def exported(self, proxy: str) -> None:
        """A proxy's histograms begin; `measure` follows for each cluster."""
        for watch in self._watches:
            watch.exported(proxy)

    def __len__(self) -> int:
        return len(self._edges)

    def edges(self, mesh: str) -> Iterator[Edge]:
        """The edges of one mesh."""
        return (one for one in self._edges.values() if one.caller.mesh == mesh)

    def watched_since(self, caller: Key, now: int) -> int | None:
        """Since when a proxy of `caller` reports without a long silence; None where none does."""
        since, last = self._callers.get(caller, (0, 0))
        return since if now - last <= SILENCE and last else None

    def watch(self, caller: Key, at: int) -> None:
        """A proxy of `caller` reports, at least from `at` on."""
        self._callers[caller] = (self.watched_since(caller, at) or at, at)

    def leave(self, proxy: str) -> None:
        """A proxy reports no longer; nothing of it is under way."""
        for watch in self._watches:
            watch.leave(proxy)
        for cluster, state in self._running.pop(proxy, {}).items():
            state.edge.active.pop((proxy, cluster), None)

    def callee(self, proxy: str, cluster: str) -> Key | None:
        """Whom a cluster of `proxy` led to when it was reported last; None where that is not known."""
        state = self._running.get(proxy, {}).get(cluster)
        return state.edge.callee if state is not None else None

    def count(self, proxy: str, way: Way, load: Load, at: int, *, early: bool = False) -> None:
        """Add what `proxy` reports of the edge `way`: caller, callee, and the cluster where it leads out of the mesh.

        `early` is for what comes first on a new connection: it may finish what began before anybody counted.
        """
        if max(load.issued, load.successes, load.errors, load.active) > _LARGEST:
            return
        edge = self._edge(way, at)
        running = self._running.setdefault(proxy, {})
        state = running.get(load.cluster)
        if state is None or state.edge is not edge:
            if state is not None:
                state.edge.active.pop((proxy, load.cluster), None)
            begun = load.successes + load.errors + load.active - load.issued if early else 0
            state = _Running(edge, -max(min(begun, load.successes + load.active), 0))
            running[sys.intern(load.cluster)] = state
        lost = state.unconnected(load)
        counts = Counts(
            requests=load.issued + lost,
            successes=load.successes,
            errors=load.errors,
            unconnected=lost,
        )
        edge.total.add(counts)
        edge.minute(at).counts.add(counts)
        for watch in self._watches:
            watch.count(proxy, (edge.caller, edge.callee), load, counts, at)
        if load.active:
            edge.active[proxy, load.cluster] = load.active
        else:
            edge.active.pop((proxy, load.cluster), None)

    def measure(
        self, proxy: str, way: Way, bounds: Sequence[float], counts: Sequence[int], total: float, at: int
    ) -> None:
        """Add how long calls of `proxy` on the edge `way` took, in milliseconds."""
        if max(counts, default=0) > _LARGEST:
            return
        for watch in self._watches:
            watch.measure(proxy, way[0], way[1], bounds, counts, total)
        given = tuple(bounds)
        minute = self._edge(way, at).minute(at)
        if minute.latency is None:
            minute.latency = Latency()
        minute.latency.add(self._bounds if self._bounds == given else given, counts, total)
        self._bounds = minute.latency.bounds

    def _edge(self, way: Way, at: int) -> Edge:
        self._sweep(at)
        edge = self._edges.get(way)
        if edge is None:
            if len(self._edges) >= MOST_EDGES:
                oldest = min(self._edges, key=lambda one: self._edges[one].last_at)
                del self._edges[oldest]
            edge = self._edges[way] = Edge(*way, at)
        edge.last_at = max(edge.last_at, at)
        return edge

    def _sweep(self, at: int) -> None:
        """Forget edges that nobody used for a day; looked for once a minute."""
        if at // _MINUTE <= self._swept:
            return
        self._swept = at // _MINUTE
        for key in [key for key, edge in self._edges.items() if edge.last_at < at - KEEP and not edge.active]:
            del self._edges[key]
        for caller in [caller for caller, (_, last) in self._callers.items() if at - last > SILENCE]:
            del self._callers[caller]
