"""Any plan can be performed step by step, and arrives."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given, settings

from meshes import MESH, meshes
from meshwright import constraints, release
from meshwright.graph import resolve
from meshwright.model.state import Metadata, State
from meshwright.operations import Stamp
from meshwright.plan import Plan, diff, differences
from settings import examples
from strategies import states

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshwright.model.identity import Key

STACK = "shop"


def running(state: State, stack: str = STACK) -> State:
    """`state` as a server holds it: with metadata, owned by `stack`."""
    kept = Metadata(
        uid="u", version=1, created_at=1, last_updated_at=1, mesh_owner="000000000000", resource_owner="000000000000"
    )
    return State(msgspec.structs.replace(one, stack=stack, metadata=kept) for one in state)


def stamps() -> Callable[[], Stamp]:
    """A clock and ids that count."""
    numbers = itertools.count(2)

    def stamp() -> Stamp:
        number = next(numbers)
        return Stamp(at=number, uid=f"uid-{number}")

    return stamp


def unequal(one: State, other: State) -> list[Key]:
    """The objects that are not the same in both, as App Mesh's clients compare them."""
    keys = {resource.key for resource in (*one, *other)}
    return sorted(key for key in keys if key not in one or key not in other or differences(one[key], other[key]))


@given(meshes())
def test_the_strategy_draws_only_what_app_mesh_accepts(state: State) -> None:
    """Otherwise the property below would hold for too little."""
    assert [one for one in constraints.check(resolve(state), whole=True) if one.severity == "error"] == []


@settings(max_examples=examples(200))
@given(meshes(), meshes())
def test_performing_a_plan_step_by_step_never_fails_and_arrives(before: State, after: State) -> None:
    """For any two valid meshes, whatever listeners, providers and targets change."""
    plan = diff(running(before), after, STACK, MESH)
    assert plan.conflicts == ()
    arrived = release.perform(running(before), plan, stamps())
    assert unequal(arrived, after) == []
    assert {one.stack for one in arrived} == {STACK}
    assert diff(arrived, after, STACK, MESH).empty


@settings(max_examples=examples(30))
@given(states(), states())
def test_the_same_holds_for_meshes_with_every_kind_of_field(before: State, after: State) -> None:
    """Less often the same objects, but with health checks, TLS, retries, matches, rewrites."""
    plan = diff(running(before), after, STACK, MESH)
    arrived = release.perform(running(before), plan, stamps())
    assert unequal(arrived, after) == []
    assert diff(arrived, after, STACK, MESH).empty


@settings(max_examples=examples(30))
@given(meshes())
def test_a_plan_to_where_one_is_has_no_change_and_no_step(state: State) -> None:
    """`diff(a, a)` is empty."""
    plan = diff(running(state), state, STACK, MESH)
    assert (plan.changes, plan.steps, plan.conflicts) == ((), (), ())


@settings(max_examples=examples(30))
@given(meshes(), meshes())
def test_a_plan_survives_its_file(before: State, after: State) -> None:
    """What `plan --out` writes, `apply --plan` reads."""
    plan = diff(running(before), after, STACK, MESH)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


@settings(max_examples=examples(30))
@given(meshes(), meshes())
def test_objects_of_other_stacks_are_never_touched(before: State, after: State) -> None:
    """Neither changed nor deleted, whoever owns what."""
    owned = State(
        msgspec.structs.replace(one, stack=("shop", "other", "")[index % 3])
        for index, one in enumerate(running(before))
    )
    plan = diff(owned, after, STACK, MESH)
    touched = {one.key for one in plan.changes} | {one.key for one in plan.steps}
    assert not [key for key in touched if key in owned and owned[key].stack == "other"]
    assert not [one.key for one in plan.changes if one.action == "delete" and owned[one.key].stack != STACK]
