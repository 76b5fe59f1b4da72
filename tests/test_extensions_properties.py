"""Whatever mesh with whatever extensions: planned, performed, understood by Envoy."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from envoy_check import refusal
from extending import extended, extensions
from meshes import MESH, meshes
from meshwright import constraints, release
from meshwright.graph import resolve, scope_of
from meshwright.model import Key, Kind, State
from meshwright.plan import Plan, diff
from meshwright.routing import inert
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Loopback, Redirect, Snapshot, Traits
from settings import examples
from strategies import proxies, states
from test_plan_properties import STACK, running, stamps, unequal
from test_snapshot_properties import discovered, placements

NEW = Traits(version=(1, 40, 0), zone="eu-1a", runtime=True)
OLD = Traits(version=(1, 29, 12))
OLDEST = Traits(version=(1, 15, 5), runtime=True)
NOW = 1_800_000_000_000


def built(state: State, placement: Redirect | Loopback, traits: Traits) -> dict[Key, Snapshot]:
    """The snapshot of every proxy; each node has one instance in Cloud Map."""
    graph, instances = resolve(state), discovered(state)
    return {key: build(graph, key, instances, placement, traits, NOW) for key in proxies(state)}


@settings(max_examples=examples(15))
@given(extended(states()))
def test_the_strategy_draws_only_what_is_accepted(state: State) -> None:
    """Otherwise the properties below would hold for too little."""
    for kind in {one.key.kind for one in extensions(state)}:
        event(str(kind))
    assert [one for one in constraints.check(resolve(state), whole=True) if one.severity == "error"] == []


@settings(max_examples=examples(40))
@given(extended(meshes()), extended(meshes()))
def test_a_plan_with_extensions_is_performed_step_by_step_and_arrives(before: State, after: State) -> None:
    """Whatever goes, comes, changes and changes places at once; the same again is nothing to do."""
    plan = diff(running(before), after, STACK, MESH)
    assert plan.conflicts == ()
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
    arrived = release.perform(running(before), plan, stamps())
    assert unequal(arrived, after) == []
    again = diff(arrived, after, STACK, MESH)
    assert (again.changes, again.steps) == ((), ())


@settings(max_examples=examples(15))
@given(extended(states()), placements, st.data())
def test_extensions_whose_targets_are_gone_shape_nothing_and_break_nothing(
    state: State, placement: Redirect | Loopback, data: st.DataObject
) -> None:
    """Whatever the App Mesh API deletes: what is left is built, as if they had gone as well."""
    named = sorted({key for one in extensions(state) for key in (scope_of(one)[0],) if key.kind is not Kind.MESH})
    gone = data.draw(st.sets(st.sampled_from(named), max_size=3)) if named else set()
    left = state.drop(*gone)
    ended = [one.key for one in extensions(left) if scope_of(one)[0] in gone]
    for traits in (NEW, OLD):
        with_them, without = (built(one, placement, traits) for one in (left, left.drop(*ended)))
        assert {key: one.resources for key, one in with_them.items()} == {
            key: one.resources for key, one in without.items()
        }


@settings(max_examples=examples(20))
@given(extended(states()), placements)
def test_an_extension_that_can_never_act_makes_no_difference_to_any_proxy(
    state: State, placement: Redirect | Loopback
) -> None:
    """What the rule says is sent to nobody: without it, every Envoy holds the same."""
    graph = resolve(state)
    found = [one.key for one in extensions(state) if inert(graph, one, whole=True)]
    for key in found:
        event(str(key.kind))
    assert bodies(built(state.drop(*found), placement, NEW)) == bodies(built(state, placement, NEW))


def bodies(snapshots: dict[Key, Snapshot]) -> dict[Key, dict[str, bytes]]:
    """What each proxy holds, by name; but for when its numbers end."""
    return {
        key: {f"{url} {name}": one.body for url, named in snapshot.resources.items() for name, one in named.items()}
        for key, snapshot in snapshots.items()
    }


@pytest.mark.envoy
@settings(max_examples=examples(6))
@given(extended(states()), placements, st.sampled_from((OLD, OLDEST, Traits())))
def test_the_real_envoy_takes_what_is_made_for_older_and_silent_ones(
    state: State, placement: Redirect | Loopback, traits: Traits
) -> None:
    """What one cannot do is left out, and the rest stays whole; `test_snapshot_properties` asks for a newer one."""
    assert refusal(list(built(state, placement, traits).values())) == ""


@settings(max_examples=examples(12))
@given(extended(states()), placements)
def test_extensions_give_the_same_bytes_each_time_and_are_origins_of_what_they_shape(
    state: State, placement: Redirect | Loopback
) -> None:
    """In whichever order they were put."""
    snapshots = built(state, placement, NEW)
    assert snapshots == built(State(reversed(list(state))), placement, NEW)
    known = {one.key for one in state}
    for snapshot in snapshots.values():
        for named in snapshot.resources.values():
            for one in named.values():
                assert one.origins
                assert set(one.origins) <= known
