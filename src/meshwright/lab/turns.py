"""Who may call now on a rig: a few at a time, and through a connection pool no more than it takes.

The one rule: a pool turns away only those who ask for it. Who waits for a place goes before whoever came later.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from meshwright.model.identity import Key, Kind
from meshwright.snapshot import names
from meshwright.trials.pools import ListenerPool, passed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from meshwright.lab.exchange import Arrival
    from meshwright.lab.instance import Instance
    from meshwright.lab.rig import Rig
    from meshwright.simulate import Call
    from meshwright.trials.trial import Trial

AT_ONCE = 4
"""Calls that are under way at the same time: more would only queue up in front of two cores, until a limit for each
try bites."""
_LETTING_GO = 2.0
"""Seconds that proxies have to notice that a call is over, after its caller did."""
_PAUSE = 0.005

Pools: TypeAlias = "Mapping[tuple[Key, int], ListenerPool]"
"""Those that a call passes, by proxy and port."""


class Turns:
    """The places of a rig's processors and pools, and who waits for one."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._processors = asyncio.Semaphore(AT_ONCE)
        self._taken: Counter[tuple[Key, int]] = Counter()
        self._queue: list[tuple[Counter[tuple[Key, int]], asyncio.Future[None]]] = []
        self._limits: dict[tuple[Key, int], int] = {}
        self._known: dict[tuple[Key, Call, tuple[str, ...]], Pools] = {}

    def pools(self, caller: Key, call: Call, onward: Iterable[str] = ()) -> Pools:
        """Those that a call passes on its way, with those that workloads call for it."""
        asked = (caller, call, tuple(onward))
        if asked not in self._known:
            found = passed(self._rig.graph, *asked)
            self._known[asked] = found
            self._limits.update((place, one.safe) for place, one in found.items())
        return self._known[asked]

    def crowding(self, trials: Iterable[Trial]) -> frozenset[str]:
        """The names of those of `trials` who, all of them waiting, would leave no place for anybody else."""
        count, found = Counter[tuple[Key, int]](), set[str]()
        for one in trials:
            passing = self.pools(one.caller, one.call, one.onward)
            many = 1 if one.every is not None else one.of
            if any(count[place] + many >= pool.safe for place, pool in passing.items()):
                found.add(one.name)
            else:
                count.update(dict.fromkeys(passing, many))
        return frozenset(found)

    @contextlib.asynccontextmanager
    async def call(self, pools: Pools, *, waits: bool) -> AsyncIterator[list[Arrival]]:
        """One call through `pools`; one that `waits` keeps nobody from the processors.

        Whoever makes it puts down where it arrived: over TCP its place is free once those connections are over.
        """
        arrived: list[Arrival] = []
        turn = contextlib.nullcontext() if waits else self._processors
        async with self._places(pools, Counter(dict.fromkeys(pools, 1)), arrived), turn:
            yield arrived

    @contextlib.asynccontextmanager
    async def alone(self, pools: Pools) -> AsyncIterator[None]:
        """Nobody else calls through `pools`."""
        async with self._places(pools, Counter({place: one.safe for place, one in pools.items()})):
            yield

    @contextlib.asynccontextmanager
    async def _places(
        self, pools: Pools, wanted: Counter[tuple[Key, int]], arrived: Sequence[Arrival] = ()
    ) -> AsyncIterator[None]:
        if not wanted:
            yield
            return
        waiting = (wanted, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._advance()
        try:
            await waiting[1]
            yield
        finally:
            if waiting in self._queue:
                self._queue.remove(waiting)
            else:
                await self._let_go(pools, wanted, arrived)
                self._taken -= wanted
            self._advance()

    def _advance(self) -> None:
        """Let those go on for whom there is a place, and who overtake nobody that waits for the same."""
        wanted_before = set[tuple[Key, int]]()
        for one in list(self._queue):
            wanted, going = one
            free = all(self._taken[place] + many <= self._limits[place] for place, many in wanted.items())
            if free and wanted_before.isdisjoint(wanted):
                self._taken += wanted
                self._queue.remove(one)
                going.set_result(None)
            else:
                wanted_before.update(wanted)

    async def _let_go(self, pools: Pools, wanted: Counter[tuple[Key, int]], arrived: Sequence[Arrival]) -> None:
        """Wait, bounded, until proxies know that a call is over, where the next one could not go on before.

        What they count says too little alone: of others, some may not have come yet, for whom this one is taken.
        """
        end = time.monotonic() + _LETTING_GO
        while any(one.open and (one.node, one.port) in pools for one in arrived):
            if time.monotonic() > end:
                break
            await asyncio.sleep(_PAUSE)
        for place, pool in pools.items():
            others = self._taken[place] - wanted[place]
            if self._limits[place] - others > AT_ONCE:
                continue
            instances = self._rig.instances(pool.proxy)
            while time.monotonic() < end:
                if await _active(instances, pool) <= self._taken[place] - wanted[place]:
                    break
                await asyncio.sleep(_PAUSE)


async def _active(instances: Iterable[Instance], pool: ListenerPool) -> int:
    """How many calls are under way through a pool of these instances; over TCP, how many connections."""
    key = pool.proxy
    cluster = f"cds_ingress_{key.mesh_name}_{key.name}_self_redirect_.*"
    if key.kind is Kind.VIRTUAL_NODE:
        cluster = names.application(key, pool.protocol, pool.port)
    what = "cx" if pool.protocol == "tcp" else "rq"
    told = await asyncio.gather(
        *(one.look(f"/stats?filter=^cluster.{cluster}.upstream_{what}_active$") for one in instances)
    )
    return sum(int(line.rpartition(": ")[2]) for text in told for line in (text or "").splitlines())
