"""Mutations of the shop are found on real Envoys by the tests that are derived from it unmutated, and nothing else.

What nobody who calls can feel is told with its reason, and held to it: then no test may find it.
"""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import pytest

from meshwright.documents.load import load
from meshwright.documents.project_file import load_project
from meshwright.errors import MeshwrightError
from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.trials import deriving
from mutations import MUTATIONS, Mutation, prepared
from settings import PROVE
from shop_load import SHOP
from test_trials import derived

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.model import State
    from meshwright.trials.judging import Result
    from meshwright.trials.trial import Trial

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(5400)]

SEED = 20260930
AIM = 0.95
"""The part of the mutations that a caller can feel which must be found."""
PATIENT = 1_000
"""Milliseconds of latency from which on a trial is only run where the others found nothing."""
PATIENCE = 31_000
"""Milliseconds that trials of a limit may wait in the long form: half a minute instead of a minute is a change."""
FELT = [one for one in MUTATIONS if not one.unfelt]
SAMPLE = random.Random(SEED).sample(FELT, 3)  # noqa: S311 - nothing here is secret


def defined() -> State:
    """The shop's definitions, with a pool and a listener that asks for certificates."""
    project = load_project(SHOP / "meshwright.yaml")
    return prepared(load(project.definitions, project.load_settings()).state)


def say(text: str) -> None:
    """A line of the score, for whoever looks at what a run says."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def stages(trials: Sequence[Trial], mutated: State) -> Iterator[list[Trial]]:
    """All trials: first those that the mutated definitions would not call for, of them the quick ones first."""
    called_for = derived(mutated, PATIENCE if PROVE else deriving.PATIENCE).trials
    likely = [one for one in trials if one not in called_for]
    quick = [one for one in likely if one.of < 100 and all(given.latency < PATIENT for given in one.given)]
    yield quick
    yield [one for one in likely if one not in quick]
    yield [one for one in trials if one in called_for]


async def finding(rig: Rig, state: State, mutation: Mutation, trials: Sequence[Trial]) -> str:
    """Which trial finds a mutation, or why it cannot be run; "" where none does."""
    mutated = mutation.change(state)
    try:
        await rig.apply(mutated)
    except MeshwrightError as error:
        return f"it cannot be run: {error}"

    def quiet(_: Result) -> None:
        pass

    for stage in stages(trials, mutated):
        for one in await run(rig, stage, quiet):
            if not one.passed:
                told = [f"{wrong.what}: {wrong.expected}, {wrong.happened}" for wrong in one.mismatches]
                return f"{one.trial.name}: {'; '.join(told) or one.seen.fault}"
    return ""


@pytest.mark.skipif(PROVE, reason="all of them are tried below")
async def test_some_mutations_are_found() -> None:
    """A sample of those that can be felt."""
    state = defined()
    trials = derived(state).trials
    async with Rig(state) as rig:
        for mutation in SAMPLE:
            assert await finding(rig, state, mutation, trials), mutation.name


@pytest.mark.skipif(not PROVE, reason="`make prove` tries all of them")
async def test_nearly_all_mutations_are_found() -> None:
    """Of those that can be felt at least the part that is aimed at; of the others none."""
    state = defined()
    trials = derived(state, PATIENCE).trials
    found: dict[str, str] = {}
    async with Rig(state) as rig:
        for one in MUTATIONS:
            found[one.name] = await finding(rig, state, one, trials)
            say(f"{one.name}: {found[one.name] or one.unfelt or 'NOT FOUND'}")
    missed = [one.name for one in FELT if not found[one.name]]
    say(f"{len(FELT) - len(missed)} of {len(FELT)} found; missed: {', '.join(missed) or 'none'}")
    assert len(missed) <= (1 - AIM) * len(FELT), missed
    assert {one.name: found[one.name] for one in MUTATIONS if one.unfelt and found[one.name]} == {}
