"""The calls of one trial on a rig: made in the places that it has, under the faults that it is given.

The one rule: what somebody else's trial left behind is over before a trial begins that would feel it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from meshwright.errors import UsageError
from meshwright.lab.health import Checks, recovered, settled, well, workers_told
from meshwright.lab.seeing import left_alone, seen, told_by_proxies
from meshwright.lab.turns import AT_ONCE
from meshwright.lab.workload import patient
from meshwright.model.identity import Kind
from meshwright.trials.conduct import unanswered, waits
from meshwright.trials.lasting import lasting
from meshwright.trials.pools import overfilled
from meshwright.trials.seen import CallSeen
from meshwright.trials.trial import FaultKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from meshwright.lab.faults import Settle
    from meshwright.lab.rig import Rig, Sent
    from meshwright.lab.turns import Pools, Turns
    from meshwright.model.identity import Key
    from meshwright.trials.pools import ListenerPool
    from meshwright.trials.trial import Trial

_STARTING = 2.0
"""Seconds that it takes at most until the first of many calls has arrived."""
_OTHERS = 2
"""How many wait at most where a pool has all wait that come beyond."""
_PAUSE_AT_MOST = 8.0
"""Seconds for which others can do without health checks: who waits for what these find out does so for longer."""
_PAUSE = 0.02
"""Seconds between two calls while a fault begins or ends."""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """The calls of a trial."""

    calls: list[CallSeen]
    """In order."""
    lasted: float
    """Seconds that they took, once the trial had its place."""
    unnoticed: str
    """Why callers did not find out about its faults, where they were to; "" when they did."""


class Calling:
    """Makes calls for trials."""

    def __init__(self, rig: Rig, turns: Turns, longest: float) -> None:
        """No call is waited for longer than `longest`, in seconds."""
        self._rig = rig
        self._turns = turns
        self._checks = Checks(rig)
        self._longest = longest
        self._patience: dict[str, float] = {}
        """By trial: hundreds of calls are waited for alike."""
        self.sent: dict[str, Sent] = {}
        """By trace, what was sent; whoever knows that nobody asks for it any more takes it out."""
        self.wanted: set[tuple[Key, int]] = set()
        """Instances beside the first that trials ask to call from."""

    async def made(self, trial: Trial) -> Made:
        """What became of the calls of a trial.

        Raises:
            UsageError: they last too long, or nothing like what it asks for runs here.
            MeshwrightError: callers did not come to know of a fault, or of its end, in time.
        """
        self.patience(trial)
        async with self._place(trial):
            began_at, unnoticed = time.monotonic(), list[str]()
            told = unnoticed.append
            calls = await (self._steady(trial, told) if trial.steady else self._disturbed(trial, told))
            return Made(calls=calls, lasted=time.monotonic() - began_at, unnoticed="; ".join(unnoticed))

    def pools(self, trial: Trial) -> Pools:
        """The connection pools that its calls pass."""
        return self._turns.pools(trial.caller, trial.call, trial.onward)

    @contextlib.asynccontextmanager
    async def _place(self, trial: Trial) -> AsyncIterator[None]:
        """What a trial keeps, from its beginning to its end, of the pools that it passes; most do so call by call."""
        if _fills(trial):
            pools = self.pools(trial)
            async with self._turns.alone(pools):
                if any(pool.checked for pool in pools.values()):
                    await self._checks.pause(_filling(trial))
                yield
                for pool in overfilled(self._rig.graph, trial):
                    await settled(self._rig, pool.proxy)
        elif trial.every is not None:
            pools = self.pools(trial)
            async with self._turns.call(pools, waits=True):
                await self._all_well(trial)
                in_turn = trial.of * trial.every / 1_000 + _STARTING
                if in_turn <= _PAUSE_AT_MOST and any(map(self._crowded, pools.values())):
                    await self._checks.pause(in_turn)
                    await workers_told()
                yield
        else:
            if trial.gentle:
                await self._all_well(trial)
            yield

    def _crowded(self, pool: ListenerPool) -> bool:
        """Whether all who check health may fill a pool by that alone, so that calls and checks are turned away."""
        return pool.checked and pool.at_once < len(self._rig.lab.fleet.instances)

    async def _all_well(self, trial: Trial) -> None:
        """Wait until callers have forgotten what befell single instances before."""
        for name in {one.at for one in trial.given if one.instances is not None}:
            await well(self._rig, self._rig.named(name))

    async def _disturbed(self, trial: Trial, unnoticed: Callable[[str], None]) -> list[CallSeen]:
        """The calls of a trial, while its faults hold."""
        async with self.given(trial, unnoticed):
            return await self._burst(trial)

    async def _steady(self, trial: Trial, unnoticed: Callable[[str], None]) -> list[CallSeen]:
        """Calls before, during and after the faults of a trial, and one after another while these begin and end."""
        over: dict[Key, bool] = {}

        async def settle(rig: Rig, key: Key, *, checks: bool = True) -> None:
            """Start nobody anew while calls are under way: callers find out by themselves, or once these are over."""
            over[key] = over.get(key, False) or checks
            await recovered(rig, key, checks=checks)

        async with contextlib.AsyncExitStack() as exits:
            found = await self._burst(trial, "before")
            held = self.given(trial, unnoticed, settle)
            found += await self._through(trial, exits.enter_async_context(held))
            found += await self._burst(trial)
            found += await self._through(trial, exits.aclose())
        for key, checks in over.items():
            await settled(self._rig, key, checks=checks)
        return [*found, *await self._burst(trial, "after")]

    @contextlib.asynccontextmanager
    async def given(
        self, trial: Trial, unnoticed: Callable[[str], None] | None = None, settle: Settle = settled
    ) -> AsyncIterator[None]:
        """The faults of a trial hold while this lasts; when they are over, callers `settle`.

        Where it is about what callers find out, `unnoticed` is told what they do not: that is what comes of it.
        """
        # Whatever ends has proxies find out, or start again, for which they need the control plane: it returns first.
        ordered = sorted(trial.given, key=lambda one: one.kind is FaultKind.CONTROL_PLANE)
        async with contextlib.AsyncExitStack() as exits:
            for one in ordered:
                told = unnoticed if trial.expect.avoided else None
                await exits.enter_async_context(self._rig.fault(one, told, settle))
            yield

    async def _through(self, trial: Trial, change: Awaitable[None]) -> list[CallSeen]:
        """Calls, one after another, until `change` is over."""
        changing, found = asyncio.ensure_future(change), list[CallSeen]()
        try:
            while not changing.done():
                found.append(await self._call(trial, "changing"))
                await asyncio.wait({changing}, timeout=_PAUSE)
        finally:
            await changing
        return found

    async def _burst(self, trial: Trial, moment: str = "during") -> list[CallSeen]:
        if trial.every is None:
            several = self._filled(trial)
            # No more than can be under way, so that hundreds of one trial are not before the few of another.
            few = trial.of * several if _unhindered(trial) or _fills(trial) else AT_ONCE
            turns = asyncio.Semaphore(trial.at_once or few)
            begins = (trial.apart / 1_000 / several * index for index in range(trial.of * several))
            return list(await asyncio.gather(*(self._later(trial, moment, begin, turns) for begin in begins)))
        found = []
        for _ in range(trial.of):
            soonest = asyncio.ensure_future(asyncio.sleep(trial.every / 1_000))
            try:
                found.append(await self._call(trial, moment))
                await soonest
            finally:
                soonest.cancel()
        return found

    def _filled(self, trial: Trial) -> int:
        """How many instances are filled up, each by so many calls; of a gateway only one is called."""
        pool = trial.expect.pool
        return len(self._rig.instances(pool.at)) if pool and pool.at.kind is Kind.VIRTUAL_NODE else 1

    async def _later(self, trial: Trial, moment: str, seconds: float, turns: asyncio.Semaphore) -> CallSeen:
        await asyncio.sleep(seconds)
        async with turns:
            sent = await self._sent(trial)
        return await self._told(trial, sent, moment)

    async def _call(self, trial: Trial, moment: str) -> CallSeen:
        """Make one call, and wait for whatever the trial wants to be known of it."""
        return await self._told(trial, await self._sent(trial), moment)

    async def _sent(self, trial: Trial) -> Sent:
        """One call that was made, in its turn."""
        pools = {} if _fills(trial) or trial.every is not None else self.pools(trial)
        async with self._turns.call(pools, waits=_unhindered(trial)) as arrived:
            sent = await self._rig.send(
                trial.call,
                trial.caller,
                calls=trial.onward,
                instance=self.instance(trial),
                patience=self.patience(trial),
            )
            arrived.extend(sent.attempts)
        return sent

    async def _told(self, trial: Trial, sent: Sent, moment: str) -> CallSeen:
        """What is known of a call, once that is all that the trial wants to be known of it."""
        expect = trial.expect
        if expect.given_up is not None:
            sent = await left_alone(self._rig, sent)
        told = replace(seen(sent), moment=moment)
        self.sent[sent.trace] = sent
        if expect.encryption or expect.peer or expect.spans:
            (trace,) = await self._rig.report([sent])
            return told_by_proxies(told, sent, trace)
        return told

    def patience(self, trial: Trial) -> float:
        """Seconds that its callers wait for an answer: longer than the mesh lets a call last.

        Raises:
            UsageError: that is too long.
        """
        if trial.name in self._patience:
            return self._patience[trial.name]
        lasts = lasting(self._rig.graph, trial.caller, trial.call, trial.given, trial.onward)
        if lasts.least > self._longest * 1_000:
            told = f"its calls last {lasts.least / 1_000:g} s, and none is waited for longer than {self._longest:g} s"
            raise UsageError(f"{told}; --patience {math.ceil(lasts.least / 1_000)} waits for them")
        return self._patience.setdefault(trial.name, patient(min((lasts.most or 0) / 1_000, self._longest)))

    def instance(self, trial: Trial) -> int:
        """Which instance of its caller calls: for who waits, if nobody minds, the last: faults befall the first."""
        last = len(self._rig.instances(trial.caller))
        minds = trial.instance > 1 or (trial.caller, last) in self.wanted
        return trial.instance if minds or not waits(trial) else last


def _unhindered(trial: Trial) -> bool:
    """Whether it waits for answers that come late, or never: that keeps nobody else from the processors."""
    return waits(trial) or unanswered(trial) or trial.at_once is not None


def _fills(trial: Trial) -> bool:
    """Whether it says itself how many calls are under way at once."""
    return trial.expect.pool is not None or trial.at_once is not None


def _filling(trial: Trial) -> float:
    """Seconds that it takes at most to fill a pool, and to have all answered."""
    pool = trial.expect.pool
    turns = (
        1 + math.ceil((pool.waiting or _OTHERS) / pool.at_once)
        if pool
        else math.ceil(trial.of / (trial.at_once or 1))
    )
    held = max((one.latency + one.jitter for one in trial.given), default=0)
    return (held * turns + trial.of * trial.apart) / 1_000 + _STARTING
