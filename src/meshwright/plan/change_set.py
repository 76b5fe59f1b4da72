"""The change set from what runs to what is wanted, as a value: what changes, in which steps, from what it starts.

The one rule: every step, performed in order, is legal by App Mesh's own rules, and the last one arrives. A plan
touches objects of its own stack only; what it may not touch is a conflict, never a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from meshwright.graph import Relation, resolve
from meshwright.model.identity import Key
from meshwright.model.state import State, digest
from meshwright.plan.differences import Field, contents, decoded, differences
from meshwright.plan.ladder import RANK, Ladder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.model.state import Resource


class Basis(msgspec.Struct, frozen=True, order=True):
    """One object that a plan starts from: the digest of its content, "" where it must not exist."""

    key: Key
    digest: str


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to one object, as a reviewer sees it."""

    action: Literal["create", "update", "delete"]
    key: Key
    fields: tuple[Field, ...] = ()
    """What an update changes, in order of paths; empty for creations and deletions."""
    spec: dict[str, Any] = {}
    """The whole new spec in wire names; empty for a deletion."""
    tags: dict[str, str] = {}


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One App Mesh operation on the way; `reason` says why where it is not the change itself."""

    action: Literal["create", "update", "delete", "tag", "untag"]
    key: Key
    reason: str = ""


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """Why a plan may not be applied: the object, whose it is, and what to do."""

    key: Key
    stack: str
    """The stack that owns the object; "" for none."""
    reason: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The change set of one stack in one mesh; JSON-serialisable as it stands."""

    mesh: str
    stack: str
    base: str
    """SHA-256 of `basis`: equal digests start from the same objects."""
    basis: tuple[Basis, ...] = ()
    """Every object that the plan touches or references, as it was; in order of keys."""
    changes: tuple[Change, ...] = ()
    """One a changed object: creations and updates in creation order, then deletions reversed."""
    steps: tuple[Step, ...] = ()
    """The operations, in an order that App Mesh accepts."""
    conflicts: tuple[Conflict, ...] = ()
    format: Literal[1] = 1

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.changes

    def count(self, action: str) -> int:
        """How many objects are created, updated or deleted."""
        return sum(1 for one in self.changes if one.action == action)


def diff(observed: State, desired: State, stack: str, mesh: str) -> Plan:
    """The plan that brings `stack` in `mesh` from `observed` to `desired`.

    `desired` is the whole of the stack: what its releases put there and `desired` lacks is deleted. Objects of other
    stacks are never touched, nor those that the stack's owner made apart from a release. An object without a stack,
    or unreleased, becomes the stack's where `desired` names it.
    """
    refused = tuple(_trespasses(observed, desired, stack, mesh))
    foreign = {one.key for one in refused}
    wanted = State(one for one in desired if one.key not in foreign)
    released = (one.key for one in observed if one.key.mesh == mesh and one.in_release_of(stack))
    gone = {key for key in released if key not in desired}
    changes = tuple(_changes(observed, wanted, gone, stack))
    after = wanted.put(*_kept(observed, wanted, gone, mesh))
    ladder = Ladder(observed, after, gone=frozenset(gone), own=frozenset(one.key for one in wanted))
    steps = tuple(_steps(ladder, changes))
    blocked = (*_blocked(observed, ladder, stack), *_orphans(observed, after, gone))
    basis = basis_of(observed, _touched(observed, changes, steps))
    return Plan(
        mesh=mesh,
        stack=stack,
        base=digest(basis),
        basis=basis,
        changes=changes,
        steps=steps,
        conflicts=(*refused, *blocked),
    )


def basis_of(state: State, keys: Iterable[Key]) -> tuple[Basis, ...]:
    """What `keys` are in `state`: a digest of spec, tags and stack each, in order of keys."""
    return tuple(Basis(key, _digest(state.get(key))) for key in sorted(set(keys)))


def stale(plan: Plan, state: State) -> tuple[Key, ...]:
    """The objects that are no longer what `plan` starts from; none when it may be applied to `state`."""
    now = basis_of(state, (one.key for one in plan.basis))
    return tuple(was.key for was, one in zip(plan.basis, now, strict=True) if was != one)


def arrival(state: State, plan: Plan) -> State:
    """What the plan's changes make of `state`, whether or not they can be made, as its stack's.

    Raises:
        DecodeError: a spec does not fit its kind, which no plan of `diff` has.
    """
    gone = (one.key for one in plan.changes if one.action == "delete")
    put = (decoded(one.key, one.spec, one.tags, plan.stack) for one in plan.changes if one.action != "delete")
    return state.drop(*gone).put(*put)


def _digest(resource: Resource | None) -> str:
    if resource is None:
        return ""
    tags = sorted((tag.key, tag.value) for tag in resource.tags)
    return digest((resource.spec, tags, resource.stack, resource.unreleased))


def _trespasses(observed: State, desired: State, stack: str, mesh: str) -> Iterator[Conflict]:
    for one in desired:
        there = observed.get(one.key)
        if one.key.mesh != mesh:
            yield Conflict(
                key=one.key,
                stack=there.stack if there else "",
                reason=f"{one.key} lies in mesh {one.key.mesh!r}, but this plan is for mesh {mesh!r}",
            )
        elif there is not None and there.stack not in {"", stack}:
            yield Conflict(
                key=one.key,
                stack=there.stack,
                reason=f"{one.key} belongs to stack {there.stack!r}; an object has one stack. "
                f"Remove it from the definitions of {stack!r}, or release {there.stack!r} without it first",
            )


def _changes(observed: State, wanted: State, gone: set[Key], stack: str) -> Iterator[Change]:
    for one in sorted(wanted, key=lambda one: (RANK[one.key.kind], one.key)):
        there = observed.get(one.key)
        spec, tags = contents(one)
        if there is None:
            yield Change(action="create", key=one.key, spec=spec, tags=tags)
            continue
        fields = differences(there, one)
        if there.stack != stack:
            fields = (*fields, Field(path="stack", old=there.stack or None, new=stack))
        elif there.unreleased:
            fields = (*fields, Field(path="unreleased", old=True, new=False))
        if fields:
            yield Change(action="update", key=one.key, fields=fields, spec=spec, tags=tags)
    for key in sorted(gone, key=lambda key: (-RANK[key.kind], key)):
        yield Change(action="delete", key=key)


def _kept(observed: State, wanted: State, gone: set[Key], mesh: str) -> Iterator[Resource]:
    """What stays as it is: other stacks' objects and those that nobody owns."""
    for one in observed:
        if one.key.mesh == mesh and one.key not in gone and one.key not in wanted:
            yield one


def _steps(ladder: Ladder, changes: tuple[Change, ...]) -> Iterator[Step]:
    named = {one.key: one for one in changes}
    for rung in ladder.rungs():
        change = named.get(rung.key)
        if rung.action != "update" or change is None:
            yield Step(action=rung.action, key=rung.key, reason=rung.reason)
            continue
        if not rung.key.kind.portable:
            # It is put whole, with its tags.
            yield Step(action="update", key=rung.key)
            continue
        if any(field.path.startswith("spec") for field in change.fields):
            yield Step(action="update", key=rung.key, reason=rung.reason)
        if any(field.path.startswith("tags.") and field.new is None for field in change.fields):
            yield Step(action="untag", key=rung.key)
        if any(field.path.startswith("tags.") and field.new is not None for field in change.fields):
            yield Step(action="tag", key=rung.key)


def _blocked(observed: State, ladder: Ladder, stack: str) -> Iterator[Conflict]:
    """Routes of others that would have to be deleted and created again on the way."""
    for key, reason in sorted(ladder.held.items()):
        owner = observed[key].stack
        whose = f"it belongs to {owner!r}" if owner else "no stack owns it"
        yield Conflict(
            key=key,
            stack=owner,
            reason=f"{reason}, and that route is not of stack {stack!r} ({whose}). Change it there first",
        )


def _orphans(observed: State, after: State, gone: set[Key]) -> Iterator[Conflict]:
    """Objects that others still refer to, or that lie in what goes away."""
    left = resolve(after)
    for key in sorted(gone):
        for edge in left.incoming(key, Relation.OWNER, Relation.PROVIDER, Relation.TARGET):
            owner = after[edge.source].stack
            yield Conflict(
                key=key,
                stack=observed[key].stack,
                reason=f"{key} cannot be deleted: {edge.source} still "
                f"{'lies in it' if edge.relation is Relation.OWNER else f'refers to it ({edge.path})'}"
                f"{f' and belongs to stack {owner!r}' if owner else ''}",
            )


def _touched(observed: State, changes: tuple[Change, ...], steps: tuple[Step, ...]) -> set[Key]:
    """The objects that the plan changes, and those that these refer to before or after."""
    keys = {one.key for one in changes} | {one.key for one in steps}
    before = State(observed[key] for key in keys if key in observed)
    after = State(decoded(one.key, one.spec, one.tags) for one in changes if one.action != "delete")
    named = {edge.target for graph in (resolve(before), resolve(after)) for edge in graph.edges}
    return keys | named
