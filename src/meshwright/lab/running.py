"""Trials on a rig: calls are made, what became of them is gathered, and each trial is judged.

The one rule: no trial feels the faults of another; what a busy machine may have upset is run once more when all is
quiet. Results come in the order in which the trials were given.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from meshwright.errors import MeshwrightError, UsageError
from meshwright.lab.counting import counting
from meshwright.lab.exchange import plain
from meshwright.lab.faults import settled, well
from meshwright.lab.following import Follower
from meshwright.lab.seeing import seen, told_by_proxies
from meshwright.lab.turns import Pools, Turns
from meshwright.lab.workload import patient
from meshwright.model.identity import Kind
from meshwright.simulate import route
from meshwright.trials.conduct import by_node, countable, doubtful, restarts, unanswered, waits
from meshwright.trials.disturbing import disturbs, shared
from meshwright.trials.judging import judge, with_late
from meshwright.trials.lasting import LONGEST, lasting
from meshwright.trials.pools import overfilled
from meshwright.trials.seen import CallSeen, CounterSeen, Seen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from meshwright.lab.collector import Trace
    from meshwright.lab.rig import Rig, Sent
    from meshwright.model.identity import Key
    from meshwright.trials.judging import Result
    from meshwright.trials.spans import Unlike
    from meshwright.trials.trial import Trial

_Waiting: TypeAlias = "Sequence[tuple[Trial, asyncio.Task[None]]]"
"""Trials that wait, each with what runs it."""
_HEARING = 2.0
"""Seconds that a workload has to hear that an attempt was given up, after its caller did."""
_COUNTED = 10
"""Trials that failed, at most, of which a call is made once more to see what Envoys count."""
_PAUSE = 0.02
"""Seconds between two calls while a fault begins or ends, and between two looks at a workload."""


async def run(
    rig: Rig,
    trials: Sequence[Trial],
    told: Callable[[Result], None],
    *,
    spans: bool = True,
    longest: float = LONGEST,
) -> tuple[Result, ...]:
    """The results of `trials` on a running rig, in their order; `told` hears of each as soon as it is known.

    With `spans`, each hop of each call must have left the span that it should. A trial whose calls last longer than
    `longest`, in seconds, cannot be run.

    What a busy machine may have upset is run once more when all is quiet: there, the mesh's own limits of time cut
    off what they would not cut off elsewhere. What proxies say of the calls that a report tells is added at the end.
    """
    return await _Runner(rig, told, Follower(rig, spans=spans and rig.traced), longest).all(trials)


class _Runner:
    def __init__(self, rig: Rig, told: Callable[[Result], None], follower: Follower, longest: float) -> None:
        self._rig = rig
        self._longest = longest
        self._follower = follower
        self._told = told
        self._turns = Turns(rig)
        self._found: dict[str, Result] = {}
        self._sent: dict[str, Sent] = {}
        """By trace, what was sent of calls that reports tell and that no proxy was asked about yet."""
        self._doubtful: set[str] = set()
        """Those of them that proxies that were ended may not have reported."""
        self._wanted: set[tuple[Key, int]] = set()
        """Instances beside the first that trials ask to call from."""
        self._shared = frozenset[str]()
        """Trials with faults for calls with some header that others' calls carry, too."""

    async def all(self, trials: Sequence[Trial]) -> tuple[Result, ...]:
        """Run them: who waits from the beginning, who counts many calls when nobody else is in a hurry.

        Those who would wait in a pool's last place do so when these are done. Instances are ill when all are done
        that ask which of them answers. What everybody would feel, faults and full pools, comes last, beside those
        only who wait and do not feel it.
        """
        self._wanted = {(one.caller, one.instance) for one in trials if one.instance > 1}
        self._shared = shared(trials)
        beside = [one for one in trials if not self._alone(one) and not one.gentle]
        async with asyncio.TaskGroup() as group:
            late = self._turns.crowding(one for one in beside if waits(one))
            waiting = [
                (one, group.create_task(self._first(one))) for one in beside if waits(one) and one.name not in late
            ]
            quick = [one for one in beside if not waits(one)]
            await asyncio.gather(*(self._first(one) for one in quick if one.of == 1))
            await asyncio.gather(*(self._first(one) for one in quick if one.of > 1))
            waiting += [(one, group.create_task(self._first(one))) for one in beside if one.name in late]
            ill = [
                group.create_task(self._in_turn(same, [*_before(node, waiting), *self._starving(node, waiting)]))
                for node, same in by_node(one for one in trials if one.gentle)
            ]
            filling = list(waiting)
            for one in (one for one in trials if one.expect.pool):
                before = [*ill, *self._felt(one, filling)]
                filling.append((one, group.create_task(self._in_turn([one], before))))
            alone = [(self._felt(one, filling), one) for one in trials if self._alone(one) and not one.expect.pool]
            for feeling, one in sorted(alone, key=lambda pair: len(pair[0])):
                await self._in_turn([one], [*ill, *feeling])
        await self._second([one for one in trials if one.name not in self._found])
        told = await self._reported(tuple(self._found[one.name] for one in trials))
        return await self._counted(told)

    def _alone(self, trial: Trial) -> bool:
        return trial.alone or trial.name in self._shared or bool(overfilled(self._rig.graph, trial))

    def _felt(self, alone: Trial, waiting: _Waiting) -> list[asyncio.Task[None]]:
        """Those who wait that would feel what a trial does, or do what it would feel."""
        graph, number = self._rig.graph, self._instance(alone)
        return [
            task
            for one, task in waiting
            if disturbs(graph, alone, one, self._instance(one)) or (one.alone and disturbs(graph, one, alone, number))
        ]

    def _starving(self, node: str, waiting: _Waiting) -> list[asyncio.Task[None]]:
        """Those who wait in a pool of a node that its health checks need, too."""
        return [
            task
            for one, task in waiting
            if any(
                pool.proxy.name == node and pool.checked and pool.safe <= one.of for pool in self._pools(one).values()
            )
        ]

    async def _in_turn(self, trials: Sequence[Trial], before: Sequence[asyncio.Task[None]]) -> None:
        """Run trials one after another, once others are done."""
        await asyncio.gather(*before)
        for one in trials:
            await self._first(one)

    async def _first(self, trial: Trial) -> None:
        """Run a trial; what only chance or a busy machine may have upset is left open."""
        if trial.alone and restarts(trial):
            await self._heard_out()
        result = await self._once(trial)
        if result.passed or not doubtful(result):
            self._known(result)

    async def _second(self, trials: Sequence[Trial]) -> None:
        """Run what was left open once more, when all is quiet: one after the other, but for those who wait."""
        for one in trials:
            if not waits(one) or self._alone(one):
                self._known(replace(await self._once(one), again=True))
        ejecting = {(one.caller, one.instance) for one in trials if one.expect.ejected}
        if ejecting:
            await self._heard_out()
        for caller, number in ejecting:
            # Its proxy remembers whom it has ejected, and for how long; nobody else calls from there.
            await self._rig.instances(caller)[number - 1].restart()
        beside = [one for one in trials if waits(one) and not self._alone(one)]
        for result in await asyncio.gather(*(self._once(one) for one in beside)):
            self._known(replace(result, again=True))

    async def _heard_out(self) -> None:
        """Wait for what proxies say of all calls so far: what those of them have not said that are ended is lost."""
        sent = [one for trace, one in self._sent.items() if trace not in self._doubtful]
        await self._rig.report(sent)
        self._doubtful.update(one.trace for one in sent)

    def _known(self, result: Result) -> None:
        self._found[result.trial.name] = result
        self._told(result)

    async def _reported(self, results: tuple[Result, ...]) -> tuple[Result, ...]:
        """`results` with spans and lines of logs in those of their calls that reports tell."""
        known = {
            sent.trace: trace for doubtful in (False, True) for sent, trace in await self._reports(doubtful=doubtful)
        }

        return tuple(self._whole(one, known) for one in results)

    async def _counted(self, results: tuple[Result, ...]) -> tuple[Result, ...]:
        """`results`, a few of those that failed with Envoy's counters of one more call, made when all is quiet."""
        failed = [one for one in results if one.outcome == "failed" and countable(one.trial)][:_COUNTED]
        moved = {one.trial.name: await self._moved(one.trial) for one in failed}
        return tuple(replace(one, seen=replace(one.seen, counters=moved.get(one.trial.name, ()))) for one in results)

    async def _moved(self, trial: Trial) -> tuple[CounterSeen, ...]:
        verdict = route(self._rig.graph, trial.caller, trial.call)
        way = dict.fromkeys((trial.caller, *(hop.at for hop in verdict.hops), *(one.node for one in verdict.targets)))
        instances = [one for key in way for one in self._rig.instances(key)]
        moved: list[CounterSeen] = []
        with contextlib.suppress(Exception):  # what cannot be looked at once more was told already
            async with contextlib.AsyncExitStack() as exits:
                await self._give(trial, exits)
                async with counting(instances) as moved:
                    patience = self._patience(trial)
                    await self._rig.send(trial.call, trial.caller, calls=trial.onward, patience=patience)
        return tuple(moved)

    def _whole(self, result: Result, known: Mapping[str, Trace]) -> Result:
        calls, late = list(result.seen.calls), {}
        for index, one in enumerate(calls):
            if one.id in known:
                sent, trace = self._sent[one.id], known[one.id]
                calls[index] = told_by_proxies(one, sent, trace)
                late[index] = self._follower.late(result.trial, sent, trace)
        return with_late(replace(result, seen=replace(result.seen, calls=tuple(calls))), late)

    async def _reports(self, *, doubtful: bool) -> list[tuple[Sent, Trace]]:
        sent = [one for trace, one in self._sent.items() if (trace in self._doubtful) == doubtful]
        return list(zip(sent, await self._rig.report(sent, wait=not doubtful), strict=True))

    async def _once(self, trial: Trial) -> Result:
        began_at = time.monotonic()
        unlike: tuple[tuple[Unlike, ...], ...] = ()
        try:
            self._patience(trial)
            async with self._place(trial):
                began_at = time.monotonic()
                calls = await (self._steady(trial) if trial.steady else self._disturbed(trial))
            lasted = time.monotonic() - began_at
            followed = await self._follower.follow(trial, [self._sent[one.id] for one in calls])
            first = min((one.began for one in calls), default=0)
            seen_calls = tuple(replace(one, began=one.began - first) for one in calls)
            found, unlike = Seen(calls=seen_calls, ways=followed.ways, followed=followed.count), followed.unlike
        except MeshwrightError as error:
            lasted, found = time.monotonic() - began_at, Seen(calls=(), fault=str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours in one test: the others, and the report, go on
            lasted, found = time.monotonic() - began_at, Seen(calls=(), fault=_ours(error))
        result = judge(trial, found, lasted, unlike)
        told = {result.seen.calls[index].id for index in result.telling}
        for trace in {one.id for one in found.calls} - told:
            self._sent.pop(trace, None)
        if restarts(trial):
            self._doubtful |= told
        return result

    def _pools(self, trial: Trial) -> Pools:
        return self._turns.pools(trial.caller, trial.call, trial.onward)

    @contextlib.asynccontextmanager
    async def _place(self, trial: Trial) -> AsyncIterator[None]:
        """What a trial keeps, from its beginning to its end, of the pools that it passes; most do so call by call."""
        if _fills(trial):
            async with self._turns.alone(self._pools(trial)):
                yield
                for pool in overfilled(self._rig.graph, trial):
                    await settled(self._rig, pool.proxy)
        elif trial.every is not None:
            async with self._turns.call(self._pools(trial), waits=True):
                await self._all_well(trial)
                yield
        else:
            if trial.gentle:
                await self._all_well(trial)
            yield

    async def _all_well(self, trial: Trial) -> None:
        """Wait until callers have forgotten what befell single instances before."""
        for name in {one.at for one in trial.given if one.instances is not None}:
            await well(self._rig, self._rig.named(name))

    async def _disturbed(self, trial: Trial) -> list[CallSeen]:
        """The calls of a trial, while its faults hold."""
        async with contextlib.AsyncExitStack() as exits:
            await self._give(trial, exits)
            return await self._burst(trial)

    async def _steady(self, trial: Trial) -> list[CallSeen]:
        """Calls before, during and after the faults of a trial, and one after another while these begin and end."""
        async with contextlib.AsyncExitStack() as exits:
            found = await self._burst(trial, "before")
            found += await self._through(trial, self._give(trial, exits))
            found += await self._burst(trial)
            found += await self._through(trial, exits.aclose())
        return [*found, *await self._burst(trial, "after")]

    async def _give(self, trial: Trial, exits: contextlib.AsyncExitStack) -> None:
        for one in trial.given:
            await exits.enter_async_context(self._rig.fault(one))

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
            turns = asyncio.Semaphore(trial.at_once or trial.of * several)
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
            return await self._call(trial, moment)

    async def _call(self, trial: Trial, moment: str = "during") -> CallSeen:
        """Make one call, and wait for whatever the trial wants to be known of it."""
        # Whoever waits for an answer that comes late, or never, keeps nobody else from the processors.
        unhindered = waits(trial) or unanswered(trial) or trial.at_once is not None
        pools = {} if _fills(trial) or trial.every is not None else self._pools(trial)
        async with self._turns.call(pools, waits=unhindered):
            sent = await self._rig.send(
                trial.call,
                trial.caller,
                calls=trial.onward,
                instance=self._instance(trial),
                patience=self._patience(trial),
            )
        expect = trial.expect
        if expect.given_up is not None:
            sent = await left_alone(self._rig, sent)
        told = replace(seen(sent), moment=moment)
        self._sent[sent.trace] = sent
        if expect.encryption or expect.peer or expect.spans:
            (trace,) = await self._rig.report([sent])
            return told_by_proxies(told, sent, trace)
        return told

    def _patience(self, trial: Trial) -> float:
        """Seconds that its callers wait for an answer: longer than the mesh lets a call last.

        Raises:
            UsageError: that is too long.
        """
        lasts = lasting(self._rig.graph, trial.caller, trial.call, trial.given, trial.onward)
        if lasts.least > self._longest * 1_000:
            told = f"its calls last {lasts.least / 1_000:g} s, and none is waited for longer than {self._longest:g} s"
            raise UsageError(f"{told}; --patience {math.ceil(lasts.least / 1_000)} waits for them")
        return patient(min((lasts.most or 0) / 1_000, self._longest))

    def _instance(self, trial: Trial) -> int:
        """Which instance of its caller calls: for who waits, if nobody minds, the last: faults befall the first."""
        last = len(self._rig.instances(trial.caller))
        minds = trial.instance > 1 or (trial.caller, last) in self._wanted
        return trial.instance if minds or not waits(trial) else last


async def left_alone(rig: Rig, sent: Sent) -> Sent:
    """`sent` once every attempt of it was answered or given up, as far as that is known in time."""
    end = time.monotonic() + _HEARING
    while (attempts := rig.attempts(sent.trace)) and time.monotonic() < end:
        if all(one.given_up_at is not None for one in attempts):
            break
        await asyncio.sleep(_PAUSE)
    return replace(sent, attempts=attempts)


def _fills(trial: Trial) -> bool:
    """Whether it says itself how many calls are under way at once."""
    return trial.expect.pool is not None or trial.at_once is not None


def _ours(error: Exception) -> str:
    """What is told of a test that a fault of ours ended."""
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
    return f"internal error: {plain(said)} (at {places[-1]}); the other tests were run all the same. Please report it"


def _before(node: str, waiting: _Waiting) -> list[asyncio.Task[None]]:
    """Those who wait for what becomes of single instances of a node."""
    return [task for one, task in waiting if any(given.at == node and given.instances for given in one.given)]
