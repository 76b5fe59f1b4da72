"""Conditions that are a little wider or narrower than they were are found by the tests derived from the mesh before.

All of them where simulation says it, in a moment; a seeded sample, or in the long form all, on real Envoys.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from matching_mutations import MATCHING, matching
from meshwright.graph import resolve
from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.simulate import route
from meshwright.trials.deriving.expectations import expectation
from settings import PROVE
from test_mutations import SEED, finding, say
from test_trials import derived

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.trials.trial import Trial
    from mutations import Mutation

FELT = [one for one in MATCHING if not one.unfelt]
SAMPLE = FELT if PROVE else random.Random(SEED).sample(FELT, 4)  # noqa: S311 - nothing here is secret


def differing(graph: Graph, trial: Trial) -> bool:
    """Whether a call without faults comes to something else in `graph` than its test expects."""
    found, wanted = expectation(route(graph, trial.caller, trial.call)), trial.expect
    if found is None:
        return True
    return any(getattr(found, what) != getattr(wanted, what) for what in ("statuses", "served_by", "arrived"))


@pytest.mark.parametrize("mutation", FELT, ids=lambda one: one.name)
def test_a_condition_that_is_wider_or_narrower_is_found(mutation: Mutation) -> None:
    """By a call just inside of what it was, or just outside."""
    graph = resolve(mutation.change(matching()))
    trials = [one for one in derived(matching()).trials if not one.given]
    assert [one.name for one in trials if differing(graph, one)]


@pytest.mark.parametrize("mutation", [one for one in MATCHING if one.unfelt], ids=lambda one: one.name)
def test_what_makes_no_difference_is_not_found(mutation: Mutation) -> None:
    """By any call, whatever is sent: it says why."""
    graph = resolve(mutation.change(matching()))
    assert [one.name for one in derived(matching()).trials if not one.given and differing(graph, one)] == []


def test_unmutated_nothing_is_found() -> None:
    """What is derived agrees with the mesh that it is derived from; every condition is missed, and no route lost."""
    found = derived(matching())
    graph = resolve(matching())
    assert [one.name for one in found.trials if not one.given and differing(graph, one)] == []
    assert [one for one in found.gaps if "match" in one.path or not one.path] == []


@pytest.mark.envoy
@pytest.mark.timeout(1800)
async def test_real_envoys_show_conditions_that_are_wider_or_narrower() -> None:
    """To the same tests, which pass before."""
    state = matching()
    trials = derived(state).trials
    async with Rig(state) as rig:
        results = await run(rig, [one for one in trials if not one.given], lambda _: None)
        assert [one.trial.name for one in results if not one.passed] == []
        for mutation in SAMPLE:
            found = await finding(rig, state, mutation, trials)
            say(f"{mutation.name}: {found or 'NOT FOUND'}")
            assert found, mutation.name
