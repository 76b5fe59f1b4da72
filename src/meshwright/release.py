"""Releases: one stack's change set in one mesh, applied whole, numbered, immutable.

Only the status of a release moves, forward along `NEXT`; everything else is written once.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from meshwright import operations
from meshwright.errors import ApiError, RefusedError
from meshwright.model.identity import Key
from meshwright.model.specs import TagRef
from meshwright.model.state import State, digest
from meshwright.operations import DEFAULT_QUOTAS, OPERATIONS, Request, Stamp, Verb, operation
from meshwright.operations.quotas import refuse_excess
from meshwright.plan import Field, contents, decoded, differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from meshwright.model.state import Resource
    from meshwright.operations import Quotas
    from meshwright.plan import Change as Planned
    from meshwright.plan import Plan, Step


class Build(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Claimed build metadata: what the job's own environment said, verified by nobody."""

    ci: str = ""
    """`travis`, `github`, `gitlab`, or "" for a laptop."""
    repository: str = ""
    branch: str = ""
    tag: str = ""
    commit: str = ""
    event: str = ""
    """What started the build: push, pull_request, api, cron."""
    pull_request: str = ""
    build_id: str = ""
    build_number: str = ""
    job_id: str = ""
    job_number: str = ""
    url: str = ""


class Status(enum.StrEnum):
    """How far a release has come."""

    APPLIED = "applied"
    PROPAGATED = "propagated"
    VERIFIED = "verified"
    FAILED = "failed"
    ROLLED_BACK = "rolled back"


NEXT: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        Status.APPLIED: frozenset({Status.PROPAGATED, Status.FAILED, Status.ROLLED_BACK}),
        Status.PROPAGATED: frozenset({Status.VERIFIED, Status.FAILED, Status.ROLLED_BACK}),
        Status.VERIFIED: frozenset({Status.FAILED, Status.ROLLED_BACK}),
        Status.FAILED: frozenset({Status.ROLLED_BACK}),
        Status.ROLLED_BACK: frozenset(),
    }
)
"""The moves that a status may make."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One object of a release, as it was released: wire-named spec and tags."""

    key: Key
    spec: dict[str, Any]
    tags: dict[str, str] = {}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a release did to one object."""

    action: Literal["create", "update", "delete"]
    key: Key


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A release of `stack` in `mesh`; `(mesh, stack, number)` is its identity, numbers count from 1."""

    mesh: str
    stack: str
    number: int
    revision: int
    """The revision that the release became."""
    parent: int | None
    """The number of the stack's release before this one."""
    digest: str
    """SHA-256 of the content: equal digests, equal content."""
    at: int
    """When, in milliseconds since the epoch, UTC."""
    principal: str
    kind: Literal["apply", "rollback"] = "apply"
    restores: int | None = None
    """The number of the release that a rollback restored."""
    build: Build | None = None
    tool_version: str = ""
    changes: tuple[Change, ...] = ()
    content: tuple[Item, ...] = ()
    """The whole of the stack after this release, in order of keys."""
    status: Status = Status.APPLIED

    @property
    def title(self) -> str:
        """How people name it: `shop#12`."""
        return f"{self.stack}#{self.number}"


class Author(msgspec.Struct, frozen=True, kw_only=True):
    """Who wrote an object last: the principal, by which operation or release, in which revision, when."""

    principal: str
    cause: str
    revision: int
    at: int
    """Milliseconds since the epoch, UTC."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One object of a stack that does not run as the stack's last release left it."""

    key: Key
    state: Literal["changed", "missing", "extra"]
    """`extra`: a route that nobody owns in one of the stack's routers or gateways."""
    kind: Literal["drift", "unreleased"]
    """`unreleased` where the principal of the last release wrote it, `drift` for anybody else."""
    fields: tuple[Field, ...] = ()
    """From the release's value to the running one, for `changed`."""
    author: Author | None = None


def content_of(state: State, mesh: str, stack: str) -> tuple[Item, ...]:
    """The objects of `stack` in `mesh` as a release keeps them, in order of keys."""
    return tuple(_item(one) for one in state if one.key.mesh == mesh and one.stack == stack)


def digest_of(content: Sequence[Item]) -> str:
    """The digest of a release's content."""
    return digest([(one.key.path, one.spec, one.tags) for one in content])


def restored(content: Iterable[Item], stack: str = "") -> State:
    """The objects of a release again.

    Raises:
        DecodeError: an item's spec does not fit its kind.
    """
    return State(decoded(one.key, one.spec, one.tags, stack) for one in content)


def perform(state: State, plan: Plan, stamp: Callable[[], Stamp], quotas: Quotas = DEFAULT_QUOTAS) -> State:
    """The state after every step of `plan`, through App Mesh's own operations.

    An object that had to be deleted and created on the way keeps its identity and its age, because nobody outside
    ever saw it gone: the steps are one commit. For the same reason quotas are judged at the end. `stamp` gives time
    and a fresh id for each step.

    Raises:
        RefusedError: the plan has conflicts, or a step is refused; the message names the step.
    """
    if plan.conflicts:
        raise RefusedError("; ".join(one.reason for one in plan.conflicts))
    before, changes = state, {one.key: one for one in plan.changes}
    for number, step in enumerate(plan.steps, 1):
        now = stamp()
        request = _request(step, changes.get(step.key), before, plan.stack, now)
        try:
            state, _ = operations.perform(state, request, now, operations.UNLIMITED)
        except ApiError as error:
            raise RefusedError(
                f"Step {number} of {len(plan.steps)}, {request.operation.name} of {step.key}, is refused: {error}. "
                "Nothing was changed."
            ) from error
    for planned in plan.changes:
        if planned.action != "delete":
            state = state.put(msgspec.structs.replace(state[planned.key], stack=plan.stack))
    _refuse_excess(state, plan, quotas)
    return state.put(*_aged(before, state, plan))


def drift(
    content: Sequence[Item],
    state: State,
    *,
    mesh: str,
    stack: str,
    principal: str,
    author: Callable[[Key], Author | None],
) -> tuple[Difference, ...]:
    """Where `stack` runs otherwise than `content`, its last release by `principal`; in order of keys."""
    released = restored(content, stack)
    found = (_difference(key, released, state) for key in _concerned(released, state, mesh, stack))
    told = []
    for one in found:
        if one is not None:
            wrote = author(one.key)
            own = wrote is not None and wrote.principal == principal
            told.append(msgspec.structs.replace(one, author=wrote, kind="unreleased" if own else "drift"))
    return tuple(told)


def last_good(releases: Iterable[Release], running: str) -> Release | None:
    """The release that a rollback to the last known good one restores; `releases` are newest first.

    `running` is the digest of what runs now (`digest_of`). The newest release that was verified, or that at least
    propagated, and that was not since failed or rolled back. Where that one's content is what runs, the stack is as
    that release left it: whoever wants it rolled back holds it to be bad, and gets the one before.
    """
    good = [one for one in releases if one.status in {Status.VERIFIED, Status.PROPAGATED}]
    proven = [one for one in good if one.status is Status.VERIFIED]
    return next((one for one in proven or good if one.digest != running), None)


def _item(resource: Resource) -> Item:
    spec, tags = contents(resource)
    return Item(key=resource.key, spec=spec, tags=tags)


def _request(step: Step, change: Planned | None, before: State, stack: str, stamp: Stamp) -> Request:
    """The operation that a step means; an object without a change of its own is created again as it was."""
    key, tags = step.key, change.tags if change else {}
    old = before.get(key)
    arn = key.arn(region=stamp.region, account=stamp.account, partition=stamp.partition)
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
        mesh=key.mesh,
        name=key.name,
        parent=key.parent,
        spec=wanted.spec if wanted is not None and verb is not Verb.DELETE else None,
        tags=wanted.tags if wanted is not None and creates else (),
        stack=stack if creates else None,
    )


def _refuse_excess(after: State, plan: Plan, quotas: Quotas) -> None:
    for planned in plan.changes:
        if planned.action != "delete":
            try:
                refuse_excess(after, after[planned.key], quotas, created=planned.action == "create")
            except ApiError as error:
                raise RefusedError(f"{planned.key} is refused: {error}. Nothing was changed.") from error


def _refs(tags: Mapping[str, str]) -> tuple[TagRef, ...]:
    return tuple(TagRef(key=name, value=value) for name, value in tags.items())


def _aged(before: State, after: State, plan: Plan) -> Iterator[Resource]:
    """The objects that were deleted and created on the way, with the identity that they had."""
    for step in plan.steps:
        old, new = before.get(step.key), after.get(step.key)
        if step.action != "create" or old is None or new is None or old.metadata is None or new.metadata is None:
            continue
        if not differences(old, new) and old.stack == new.stack:
            yield old
            continue
        yield msgspec.structs.replace(
            new,
            metadata=msgspec.structs.replace(
                old.metadata, version=old.metadata.version + 1, last_updated_at=new.metadata.last_updated_at
            ),
        )


def _concerned(released: State, state: State, mesh: str, stack: str) -> list[Key]:
    """What the release held, what carries the stack's name, and strangers in its routers and gateways."""
    keys = {one.key for one in released}
    for one in state:
        owner = one.key.owner
        stranger = not one.stack and one.key.kind.parent is not None and owner is not None and owner in released
        if one.key.mesh == mesh and (one.stack == stack or stranger):
            keys.add(one.key)
    return sorted(keys)


def _difference(key: Key, released: State, state: State) -> Difference | None:
    was, now = released.get(key), state.get(key)
    if was is None:
        return Difference(key=key, state="extra", kind="drift")
    if now is None:
        return Difference(key=key, state="missing", kind="drift")
    fields = differences(was, now)
    if was.stack != now.stack:
        fields = (*fields, Field(path="stack", old=was.stack or None, new=now.stack or None))
    return Difference(key=key, state="changed", kind="drift", fields=fields) if fields else None
