"""Trials on a rig: calls are made, what became of them is gathered, and each trial is judged.

The one rule: trials that others would feel run alone, the rest side by side; what a busy machine may have upset is
run once more when all is quiet. Results come in the order in which the trials were given.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from meshwright.errors import MeshwrightError
from meshwright.trials.judging import judge
from meshwright.trials.seen import Attempt, CallSeen, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meshwright.lab.rig import Rig, Sent
    from meshwright.trials.judging import Result
    from meshwright.trials.trial import Trial

_AT_ONCE = 4
"""Calls that are under way at the same time: more would only queue up in front of two cores, until a limit for each
try bites."""
_HEARING = 2.0
"""Seconds that a workload has to hear that an attempt was given up, after its caller did."""
_POLL = 0.01
_WAITING = 1_000
"""Milliseconds of latency from which on a trial does little else but wait."""
_AGAIN = frozenset({"given_up", "within", "shares", "attempts"})
"""Expectations that chance or a busy machine may upset: a trial that only they fail is run once more."""
_AGAIN_UNDER_LOAD = _AGAIN | {"status", "grpc_status"}
"""The same under a fault or among many calls: limits for each try bite, too, where a machine is slow."""


async def run(rig: Rig, trials: Sequence[Trial], told: Callable[[Result], None]) -> tuple[Result, ...]:
    """The results of `trials` on a running rig, in their order; `told` hears of each as soon as it is known."""
    return await _Runner(rig, told).all(trials)


class _Runner:
    def __init__(self, rig: Rig, told: Callable[[Result], None]) -> None:
        self._rig = rig
        self._told = told
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._found: dict[str, Result] = {}

    async def all(self, trials: Sequence[Trial]) -> tuple[Result, ...]:
        """Run them: who waits from the beginning, who counts many calls when nobody else is in a hurry."""
        beside = [one for one in trials if not one.alone]
        patient = [one for one in beside if _waits(one)]
        many = [one for one in beside if one.of > 1 and one not in patient]
        async with asyncio.TaskGroup() as group:
            for one in patient:
                group.create_task(self._first(one))
            quick = [one for one in beside if one.of == 1 and not _waits(one)]
            await asyncio.gather(*map(self._first, quick))
            for one in many:
                group.create_task(self._first(one))
        for one in trials:
            if one.alone:
                await self._first(one)
        await self._second([one for one in trials if one.name not in self._found])
        return tuple(self._found[one.name] for one in trials)

    async def _first(self, trial: Trial) -> None:
        """Run a trial; what only chance or a busy machine may have upset is left open."""
        result = await self._once(trial)
        if not _doubtful(result):
            self._known(result)

    async def _second(self, trials: Sequence[Trial]) -> None:
        """Run what was left open once more, when all is quiet: one after the other, but for those who wait."""
        for one in trials:
            if not _waits(one) or one.alone:
                self._known(await self._once(one))
        for result in await asyncio.gather(*(self._once(one) for one in trials if _waits(one) and not one.alone)):
            self._known(result)

    def _known(self, result: Result) -> None:
        self._found[result.trial.name] = result
        self._told(result)

    async def _once(self, trial: Trial) -> Result:
        began_at = time.monotonic()
        try:
            async with contextlib.AsyncExitStack() as holding:
                for one in trial.given:
                    await holding.enter_async_context(self._rig.fault(one))
                sent = await asyncio.gather(*(self._send(trial) for _ in range(trial.of)))
                if trial.expect.given_up is not None:
                    await self._given_up(sent)
            seen = Seen(calls=tuple(_seen(self._rig, one) for one in sent))
        except MeshwrightError as error:
            seen = Seen(calls=(), fault=str(error))
        return judge(trial, seen, time.monotonic() - began_at)

    async def _given_up(self, sent: Sequence[Sent]) -> None:
        """Return once workloads know that every attempt was given up: the caller hears of it before they do."""
        end = time.monotonic() + _HEARING
        while any(one.given_up_at is None for call in sent for one in self._rig.attempts(call.trace)):
            if time.monotonic() > end:
                return
            await asyncio.sleep(_POLL)

    async def _send(self, trial: Trial) -> Sent:
        # Whoever waits for an answer that comes late, or never, keeps nobody else from the processors.
        async with contextlib.nullcontext() if _waits(trial) else self._turns:
            return await self._rig.send(trial.call, trial.caller)


def _doubtful(result: Result) -> bool:
    """Whether only what chance or a busy machine may upset was not as expected."""
    names = {one.what.partition(".")[0] for one in result.mismatches}
    return bool(names) and names <= (_AGAIN_UNDER_LOAD if result.trial.given or result.trial.of > 1 else _AGAIN)


def _waits(trial: Trial) -> bool:
    return any(one.latency >= _WAITING for one in trial.given)


def _seen(rig: Rig, sent: Sent) -> CallSeen:
    reply = sent.reply
    arrivals = rig.attempts(sent.trace)
    answered = [one.port for one in arrivals if one.instance == reply.instance]
    attempts = tuple(
        Attempt(
            node=one.node.name,
            instance=one.instance,
            at=(one.at - sent.began_at) * 1_000,
            given_up=None if one.given_up_at is None else (one.given_up_at - one.at) * 1_000,
        )
        for one in arrivals
    )
    return CallSeen(
        id=sent.trace,
        status=reply.status,
        elapsed=sent.seconds * 1_000,
        grpc_status=reply.grpc_status,
        fault=reply.fault,
        node=reply.node,
        instance=reply.instance,
        path=(sent.at.name, *(one.node for one in reply.walk() if one.node)),
        headers=reply.returned,
        arrived={
            **reply.headers,
            ":path": reply.path,
            ":method": reply.method,
            ":authority": reply.service,
            **({":port": str(answered[-1])} if answered else {}),
        },
        attempts=attempts,
    )
