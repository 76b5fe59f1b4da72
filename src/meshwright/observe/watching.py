"""The calls to some nodes from a moment on, as proxies report them: what a step of a canary is judged by.

The one rule: nothing from before that moment is counted. A report tells what happened since the last one, so that the
first of each proxy is passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.observe.counting import Counts
from meshwright.observe.latency import Latency

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from meshwright.model.identity import Key


class Watch:
    """What is counted of the calls to `nodes` until it is ended; of each caller apart."""

    def __init__(self, nodes: Collection[Key]) -> None:
        self.nodes = frozenset(nodes)
        self._loads: dict[str, int] = {}
        """How many reports each proxy made since."""
        self._exports: dict[str, int] = {}
        self._counts: dict[tuple[Key, Key], Counts] = {}
        self._latencies: dict[tuple[Key, Key], Latency] = {}

    def reported(self, proxy: str) -> None:
        """A proxy begins a report of its load."""
        self._loads[proxy] = self._loads.get(proxy, 0) + 1

    def exported(self, proxy: str) -> None:
        """A proxy begins to tell how long calls took."""
        self._exports[proxy] = self._exports.get(proxy, 0) + 1

    def count(self, proxy: str, caller: Key, callee: Key, counts: Counts) -> None:
        """Add what a proxy reports, unless that is of before."""
        if callee in self.nodes and self._loads.get(proxy, 0) > 1:
            self._counts.setdefault((caller, callee), Counts()).add(counts)

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

    def forget(self) -> None:
        """Begin to count anew; reports go on without a gap."""
        self._counts.clear()
        self._latencies.clear()
