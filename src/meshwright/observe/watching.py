"""The calls to some nodes from a moment on, as proxies report them: what a step of a canary is judged by.

The one rule: nothing from before that moment is counted. A report tells what happened since the last one, so that the
first of each proxy is passed over.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from meshwright.observe.counting import Counts
from meshwright.observe.latency import Latency
from meshwright.observe.lingering import Lingering

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from meshwright.model.identity import Key
    from meshwright.observe.traffic import Load

_DEVIATIONS = 3
"""Standard deviations, of a number of calls that come by chance, by which more of them are nothing unusual."""


class Overdue(NamedTuple):
    """Calls since a watch began that are still under way and should not be, and how many began in all."""

    calls: int
    issued: int


class Watch:
    """What is counted of the calls to `nodes` until it is ended; of each caller apart."""

    def __init__(self, nodes: Collection[Key], within: float | None = None) -> None:
        """Calls may take `within` so many milliseconds, or whatever they take."""
        self.nodes = frozenset(nodes)
        self._within = within
        self._loads: dict[str, int] = {}
        """How many reports each proxy made since."""
        self._exports: dict[str, int] = {}
        self._counts: dict[tuple[Key, Key], Counts] = {}
        self._latencies: dict[tuple[Key, Key], Latency] = {}
        self._lingering: dict[tuple[Key, Key], dict[tuple[str, str], Lingering]] = {}
        """By caller and node, then by proxy and cluster: a node is called through one a port."""

    def reported(self, proxy: str) -> None:
        """A proxy begins a report of its load."""
        self._loads[proxy] = self._loads.get(proxy, 0) + 1

    def leave(self, proxy: str) -> None:
        """A proxy reports no longer: nothing is known of what it had under way, and its next report is of before."""
        self._loads.pop(proxy, None)
        for found in self._lingering.values():
            for place in [place for place in found if place[0] == proxy]:
                del found[place]

    def exported(self, proxy: str) -> None:
        """A proxy begins to tell how long calls took."""
        self._exports[proxy] = self._exports.get(proxy, 0) + 1

    def count(self, proxy: str, way: tuple[Key, Key], load: Load, counts: Counts, at: int) -> None:
        """Add what a proxy reports of the calls from one to the other, unless that is of before.

        `counts` is what of `load` is told, and `at` the time in milliseconds.
        """
        number = self._loads.get(proxy, 0)
        if way[1] not in self.nodes or not number:
            return
        if self._within is not None:
            found = self._lingering.setdefault(way, {})
            place = (proxy, load.cluster)
            if place not in found:
                found[place] = Lingering(self._within)
            found[place].add(number, load, at)
        if number > 1:
            self._counts.setdefault(way, Counts()).add(counts)

    def measure(
        self, proxy: str, caller: Key, callee: Key, bounds: Sequence[float], counts: Sequence[int], total: float
    ) -> None:
        """Add how long calls took, unless that is of before."""
        if callee in self.nodes and self._exports.get(proxy, 0) > 1:
            self._latencies.setdefault((caller, callee), Latency()).add(bounds, counts, total)

    def seen(self, callers: Collection[Key], node: Key) -> tuple[Counts, Latency]:
        """What was counted of the calls of `callers` to `node` since it was begun, or told to `forget`."""
        counts, latency = Counts(), Latency()
        for caller in callers:
            counts.add(self._counts.get((caller, node), Counts()))
            latency.merge(self._latencies.get((caller, node), Latency()))
        return counts, latency

    def overdue(self, callers: Collection[Key], node: Key) -> Overdue:
        """Calls of `callers` to `node` that have been under way for too long; `forget` forgets none of them.

        Others follow each other, so that some are under way at any time: as many as come in the time that one takes
        (Little's law), and by chance a few more. Those are taken off.
        """
        held, rate, issued = 0, 0.0, 0
        for caller in callers:
            for (proxy, _), one in self._lingering.get((caller, node), {}).items():
                calls, more = one.held(self._loads.get(proxy, 0))
                held, rate, issued = held + calls, rate + more, issued + one.issued
        _, latency = self.seen(callers, node)
        within = self._within or 0.0
        usual = rate * (min(latency.total / latency.count, within) if latency.count else within)
        return Overdue(max(0, int(held - usual - _DEVIATIONS * math.sqrt(usual))), issued)

    def forget(self) -> None:
        """Begin to count anew; reports go on without a gap, and what is under way stays so."""
        self._counts.clear()
        self._latencies.clear()
