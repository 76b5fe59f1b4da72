"""A plan carried out: every step through `operations.perform`, one new state at the end.

The one rule: all of it or nothing; what happens between the steps is never published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright import operations
from meshwright.errors import ApiError, RefusedError
from meshwright.graph import owned
from meshwright.model.specs import TagRef
from meshwright.operations import DEFAULT_QUOTAS, OPERATIONS, Request, Stamp, Verb, operation
from meshwright.operations.accounts import refuse_stranger
from meshwright.operations.quotas import refuse_excess
from meshwright.plan import Change, decoded, differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from meshwright.model.state import Resource, State
    from meshwright.operations import Quotas
    from meshwright.plan import Plan, Step


def perform(state: State, plan: Plan, stamp: Callable[[], Stamp], quotas: Quotas = DEFAULT_QUOTAS) -> State:
    """The state after every step of `plan`, through App Mesh's own operations.

    An object that had to be deleted and created on the way keeps its identity and its age, because nobody outside
    ever saw it gone: the steps are one commit. For the same reason quotas are judged at the end. `stamp` gives time
    and a fresh id for each step.

    Raises:
        RefusedError: the plan has conflicts, or a step is refused; the message names the step.
    """
    if plan.conflicts:
        told = "; ".join(one.reason for one in plan.conflicts)
        raise RefusedError(f"{told}. Nothing was changed.", objects=(one.key.path for one in plan.conflicts))
    _refuse_taking(state, plan, stamp())
    before, changes = state, {one.key: one for one in plan.changes}
    for number, step in enumerate(plan.steps, 1):
        now = stamp()
        request = _request(step, changes.get(step.key), before, plan.stack, now)
        try:
            state, _ = operations.perform(state, request, now, operations.UNLIMITED)
        except ApiError as error:
            raise RefusedError(
                f"Step {number} of {len(plan.steps)}, {request.operation.name} of {step.key}, is refused: "
                f"{_sentence(error)} Nothing was changed.",
                objects=(step.key.path,),
            ) from error
    released = {one.key for one in plan.changes if one.action != "delete"}
    released |= {one.key for one in plan.steps if one.action == "create"}
    state = state.put(
        *(msgspec.structs.replace(state[key], stack=plan.stack, unreleased=False) for key in released if key in state)
    )
    # Only now is known whose everything is; what an extension's owner had before the release counts, as it is judged.
    extensions = (state[key] for key in released if key in state and not key.kind.portable)
    state = state.put(*(msgspec.structs.replace(one, owned=owned(one, before, state)) for one in extensions))
    _refuse_excess(before, state, plan, quotas)
    return state.put(*_aged(before, state, plan))


def _refuse_taking(before: State, plan: Plan, stamp: Stamp) -> None:
    """Let nothing become the stack's that its account could not update: that takes no step of its own."""
    for planned in plan.changes:
        old = before.get(planned.key)
        if old is None or planned.action == "delete" or old.stack == plan.stack:
            continue
        try:
            refuse_stranger(Verb.UPDATE, planned.key, old, stamp)
        except ApiError as error:
            raise RefusedError(
                f"{planned.key} cannot become stack {plan.stack!r}'s: {_sentence(error)} Nothing was changed.",
                objects=(planned.key.path,),
            ) from error


def _request(step: Step, change: Change | None, before: State, stack: str, stamp: Stamp) -> Request:
    """The operation that a step means; an object without a change of its own is created again as it was."""
    key, tags = step.key, change.tags if change else {}
    old = before.get(key)
    arn = operations.arn_of(key, stamp, old.metadata.resource_owner if old and old.metadata else "")
    if step.action == "tag":
        kept = {tag.key: tag.value for tag in old.tags} if old else {}
        added = {name: value for name, value in tags.items() if kept.get(name) != value}
        return Request(operation=OPERATIONS[Verb.TAG], resource_arn=arn, tags=_refs(added))
    if step.action == "untag":
        gone = tuple(tag.key for tag in old.tags if tag.key not in tags) if old else ()
        return Request(operation=OPERATIONS[Verb.UNTAG], resource_arn=arn, tag_keys=gone)
    verb = {"create": Verb.CREATE, "update": Verb.UPDATE, "delete": Verb.DELETE}[step.action]
    wanted = decoded(key, change.spec, tags) if change and change.action != "delete" else old
    creates = verb is Verb.CREATE
    return Request(
        operation=operation(verb, key.kind),
        mesh=key.mesh_name,
        mesh_owner=operations.mesh_owner(key, stamp),
        name=key.wire_name,
        parent=key.parent,
        spec=wanted.spec if wanted is not None and verb is not Verb.DELETE else None,
        tags=wanted.tags if wanted is not None and (creates or not key.kind.portable) else (),
        stack=stack if creates else None,
    )


def _refuse_excess(before: State, after: State, plan: Plan, quotas: Quotas) -> None:
    for planned in plan.changes:
        if planned.action != "delete":
            try:
                refuse_excess(after, after[planned.key], quotas, before=before.get(planned.key))
            except ApiError as error:
                raise RefusedError(
                    f"{planned.key} is refused: {_sentence(error)} Nothing was changed.", objects=(planned.key.path,)
                ) from error


def _refs(tags: Mapping[str, str]) -> tuple[TagRef, ...]:
    return tuple(TagRef(key=name, value=value) for name, value in tags.items())


def _aged(before: State, after: State, plan: Plan) -> Iterator[Resource]:
    """The objects that were deleted and created on the way, with the identity that they had."""
    for step in plan.steps:
        old, new = before.get(step.key), after.get(step.key)
        if step.action != "create" or old is None or new is None or old.metadata is None or new.metadata is None:
            continue
        if not differences(old, new) and (old.stack, old.unreleased) == (new.stack, new.unreleased):
            yield old
            continue
        yield msgspec.structs.replace(
            new,
            metadata=msgspec.structs.replace(
                old.metadata, version=old.metadata.version + 1, last_updated_at=new.metadata.last_updated_at
            ),
        )


def _sentence(error: ApiError) -> str:
    """App Mesh's own words, some of which end with a full stop."""
    return f"{str(error).removesuffix('.')}."
