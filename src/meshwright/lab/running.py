"""Trials on a rig: calls are made, what became of them is gathered, and each trial is judged.

The one rule: no trial feels the faults of another; what a busy machine may have upset is run once more when all is
quiet. Results come in the order in which the trials were given.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from meshwright.errors import MeshwrightError
from meshwright.lab.calling import Calling
from meshwright.lab.counting import counting
from meshwright.lab.exchange import plain
from meshwright.lab.following import Follower
from meshwright.lab.seeing import told_by_proxies
from meshwright.lab.turns import Turns
from meshwright.simulate import route
from meshwright.trials.conduct import by_node, countable, doubtful, held, restarts, waits
from meshwright.trials.disturbing import disturbs, shared
from meshwright.trials.judging import judge, with_late
from meshwright.trials.lasting import LONGEST
from meshwright.trials.pools import overfilled
from meshwright.trials.seen import CounterSeen, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from meshwright.lab.collector import Trace
    from meshwright.lab.rig import Rig, Sent
    from meshwright.trials.judging import Result
    from meshwright.trials.spans import Unlike
    from meshwright.trials.trial import Trial

_Made: TypeAlias = "tuple[Seen, tuple[tuple[Unlike, ...], ...], float, float]"
"""What was seen of a trial, how spans of each call were not as they should be, how many seconds it took, and when it
began, by this machine's clock for durations."""
_Waiting: TypeAlias = "Sequence[tuple[Trial, asyncio.Task[None]]]"
"""Trials that wait, each with what runs it."""
_FORESEEN = (MeshwrightError, OSError, EOFError)
"""What may happen to a trial without any fault of ours: somebody whom it asks has just gone."""
_LONG = 5_000
"""Milliseconds for which a call is held at least that decides how long a run takes."""
_AHEAD, _POLL = 2.0, 0.01
"""Seconds that those who make such calls have, without others in their way, until they arrive and wait; and seconds
between two looks whether they have."""
_COUNTED = 10
"""Trials that failed, at most, of which a call is made once more to see what Envoys count."""


async def run(
    rig: Rig,
    trials: Sequence[Trial],
    told: Callable[[Result], None],
    *,
    spans: bool = True,
    longest: float = LONGEST,
    unforeseen: Callable[[BaseException], None] | None = None,
) -> tuple[Result, ...]:
    """The results of `trials` on a running rig, in their order; `told` hears of each as soon as it is known.

    With `spans`, each hop of each call must have left the span that it should. A trial whose calls last longer than
    `longest`, in seconds, cannot be run.

    What a busy machine may have upset is run once more when all is quiet: there, the mesh's own limits of time cut
    off what they would not cut off elsewhere. What proxies say of the calls that a report tells is added at the end.

    A fault of ours that ends a trial ends no other one. `unforeseen` is told of it; without that, the first of them
    is raised when all trials are over.
    """
    faults: list[BaseException] = []
    follower = Follower(rig, spans=spans and rig.traced)
    try:
        results = await _Runner(rig, told, follower, longest, unforeseen or faults.append).all(trials)
    except ExceptionGroup as several:
        raise several.exceptions[0] from several
    if faults:
        raise faults[0]
    return results


class _Runner:
    def __init__(
        self,
        rig: Rig,
        told: Callable[[Result], None],
        follower: Follower,
        longest: float,
        unforeseen: Callable[[BaseException], None],
    ) -> None:
        self._rig = rig
        self._unforeseen = unforeseen
        self._follower = follower
        self._told = told
        self._turns = Turns(rig)
        self._calling = Calling(rig, self._turns, longest)
        self._began_at = time.monotonic()
        self._found: dict[str, Result] = {}
        self._hopeless: set[str] = set()
        """Trials that a fault of ours ended, which would do so again."""
        self._sent = self._calling.sent
        """By trace, what was sent of calls that reports tell."""
        self._doubtful: set[str] = set()
        """Those of them that proxies that were ended may not have reported."""
        self._shared = frozenset[str]()
        """Trials with faults for calls with some header that others' calls carry, too."""

    async def all(self, trials: Sequence[Trial]) -> tuple[Result, ...]:
        """Run them: who waits long first, who waits for short or counts many calls when nobody else is in a hurry.

        Those who would wait in a pool's last place do so as soon as others are done that pass it. Instances are ill
        when all are done that ask which of them answers. What everybody would feel, faults and full pools, comes
        last, beside those only who wait and do not feel it.
        """
        self._calling.wanted = {(one.caller, one.instance) for one in trials if one.instance > 1}
        self._shared = shared(trials)
        beside = [one for one in trials if not self._alone(one) and not one.gentle]
        async with asyncio.TaskGroup() as group:
            # Who waits longest decides when all is over.
            patient = sorted((one for one in beside if waits(one)), key=held, reverse=True)
            late = self._turns.crowding(patient)
            early = [one for one in patient if one.name not in late]
            waiting = await self._ahead(group, [one for one in early if held(one) >= _LONG])
            quick = [one for one in beside if not waits(one)]
            await asyncio.gather(*(self._first(one) for one in quick if one.of == 1))
            # Short limits are judged to a part of a second, which hundreds of tests that begin together would take.
            waiting += [(one, group.create_task(self._first(one))) for one in early if held(one) < _LONG]
            last = [one for one in beside if one.name in late]
            places = {place for one in last for place in self._calling.pools(one)}
            many = sorted(
                (one for one in quick if one.of > 1), key=lambda one: places.isdisjoint(self._calling.pools(one))
            )
            several = [(one, group.create_task(self._first(one))) for one in many]
            waiting += [(one, group.create_task(self._in_turn([one], self._passing(one, several)))) for one in last]
            await asyncio.gather(*(task for _, task in several))
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
        graph, number = self._rig.graph, self._calling.instance(alone)
        return [
            task
            for one, task in waiting
            if disturbs(graph, alone, one, self._calling.instance(one))
            or (one.alone and disturbs(graph, one, alone, number))
        ]

    async def _ahead(
        self, group: asyncio.TaskGroup, trials: Sequence[Trial]
    ) -> list[tuple[Trial, asyncio.Task[None]]]:
        """Begin `trials`, who wait long, and return once they do wait: nobody is in their way until then."""
        before, end = self._rig.received, time.monotonic() + _AHEAD
        waiting = [(one, group.create_task(self._first(one))) for one in trials]
        while (left := [one for one, task in waiting if not task.done()]) and time.monotonic() < end:
            if self._rig.received - before >= sum(one.of for one in left):
                break
            await asyncio.sleep(_POLL)
        return waiting

    def _passing(self, trial: Trial, several: _Waiting) -> list[asyncio.Task[None]]:
        """Those of `several` whose calls pass a pool that the ones of `trial` pass."""
        places = self._calling.pools(trial).keys()
        return [task for one, task in several if not places.isdisjoint(self._calling.pools(one))]

    def _starving(self, node: str, waiting: _Waiting) -> list[asyncio.Task[None]]:
        """Those who wait in a pool of a node that its health checks need, too."""
        return [
            task
            for one, task in waiting
            if any(
                pool.proxy.name == node and pool.checked and pool.safe <= one.of
                for pool in self._calling.pools(one).values()
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
        if result.passed or trial.name in self._hopeless or not doubtful(result):
            self._known(result)

    async def _second(self, trials: Sequence[Trial]) -> None:
        """Run what was left open once more, when all is quiet.

        What others would feel, and what limits of time may cut off, is run one after the other; what does nothing but
        call a few at a time, or waits, beside each other.
        """
        beside = [one for one in trials if not self._alone(one)]
        for one in trials:
            if self._alone(one) or (one.given and not waits(one)):
                await self._again(one)
        ejecting = {(one.caller, one.instance) for one in beside if one.expect.ejected}
        if ejecting:
            await self._heard_out()
        for caller, number in ejecting:
            # Its proxy remembers whom it has ejected, and for how long; nobody else calls from there.
            await self._rig.instances(caller)[number - 1].restart()
        await asyncio.gather(*(self._again(one) for one in beside if waits(one)))
        await asyncio.gather(*(self._again(one) for one in beside if not waits(one) and not one.given))

    async def _again(self, trial: Trial) -> None:
        self._known(replace(await self._once(trial), again=True))

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
        failed = [one for one in results if one.outcome == "failed" and countable(one)][:_COUNTED]
        moved = {one.trial.name: await self._moved(one.trial) for one in failed}
        return tuple(replace(one, seen=replace(one.seen, counters=moved.get(one.trial.name, ()))) for one in results)

    async def _moved(self, trial: Trial) -> tuple[CounterSeen, ...]:
        verdict = route(self._rig.graph, trial.caller, trial.call)
        way = dict.fromkeys((trial.caller, *(hop.at for hop in verdict.hops), *(one.node for one in verdict.targets)))
        instances = [one for key in way for one in self._rig.instances(key)]
        moved: list[CounterSeen] = []
        with contextlib.suppress(*_FORESEEN):  # what cannot be looked at once more was told already
            async with self._calling.given(trial), counting(instances) as moved:
                patience = self._calling.patience(trial)
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
        """What comes of a trial; a fault of ours in it ends no other trial, and is told when all are over."""
        began_at = time.monotonic()
        making = asyncio.create_task(self._made(trial))
        try:
            await asyncio.wait({making})
        finally:
            making.cancel()
            await asyncio.wait({making})
        error = making.exception()
        if error is None:
            found, unlike, lasted, began_at = making.result()
        else:
            found, unlike, lasted = Seen(calls=(), fault=_ours(error)), (), time.monotonic() - began_at
            self._unforeseen(error)
            self._hopeless.add(trial.name)
        result = replace(judge(trial, found, lasted, unlike), began=began_at - self._began_at)
        told = {result.seen.calls[index].id for index in result.telling}
        for trace in {one.id for one in found.calls} - told:
            self._sent.pop(trace, None)
        if restarts(trial):
            self._doubtful |= told
        return result

    async def _made(self, trial: Trial) -> _Made:
        began_at = time.monotonic()
        try:
            made = await self._calling.made(trial)
            followed = await self._follower.follow(trial, [self._sent[one.id] for one in made.calls])
        except _FORESEEN as error:
            return Seen(calls=(), fault=str(error)), (), time.monotonic() - began_at, began_at
        first = min((one.began for one in made.calls), default=began_at * 1_000)
        calls = tuple(replace(one, began=one.began - first) for one in made.calls)
        seen = Seen(calls=calls, unnoticed=made.unnoticed, ways=followed.ways, followed=followed.count)
        return seen, followed.unlike, made.lasted, first / 1_000


def _ours(error: BaseException) -> str:
    """What is told of a test that a fault of ours ended."""
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
    return f"internal error: {plain(said)} (at {places[-1]}); the other tests were run all the same. Please report it"


def _before(node: str, waiting: _Waiting) -> list[asyncio.Task[None]]:
    """Those who wait for what becomes of single instances of a node."""
    return [task for one, task in waiting if any(given.at == node and given.instances for given in one.given)]
