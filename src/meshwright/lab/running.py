"""Trials on a rig: calls are made, what became of them is gathered, and each trial is judged.

The one rule: trials that others would feel run alone, the rest side by side; every result is told in the order in
which the trials were given.
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

_AT_ONCE = 16
"""Calls that are under way at the same time: more would only queue up in front of two cores."""
_HEARING = 2.0
"""Seconds that a workload has to hear that an attempt was given up, after its caller did."""
_POLL = 0.01
_AGAIN = frozenset({"given_up", "within", "shares"})
"""Expectations that chance or a busy machine may upset: a trial that only they fail is run once more."""


async def run(rig: Rig, trials: Sequence[Trial], told: Callable[[Result], None]) -> tuple[Result, ...]:
    """The results of `trials` on a running rig, in their order; `told` hears of each as soon as it is known."""
    runner = _Runner(rig)
    found: dict[str, Result] = {}

    async def one(trial: Trial) -> None:
        found[trial.name] = await runner.result(trial)
        told(found[trial.name])

    async with asyncio.TaskGroup() as group:
        for trial in trials:
            if not trial.alone:
                group.create_task(one(trial))
    for trial in trials:
        if trial.alone:
            await one(trial)
    return tuple(found[trial.name] for trial in trials)


class _Runner:
    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def result(self, trial: Trial) -> Result:
        """Run a trial, and once more where only what chance may upset was not as expected."""
        first = await self._once(trial)
        names = {one.what.partition(".")[0] for one in first.mismatches}
        return await self._once(trial) if names and names <= _AGAIN else first

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
        async with contextlib.nullcontext() if trial.given and not trial.alone else self._turns:
            return await self._rig.send(trial.call, trial.caller)


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
