"""Where a stack runs otherwise than its last release left it, and who did it.

The one rule: the running state is compared with the release, never with files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from meshwright.model.identity import Key
from meshwright.plan import Field, differences
from meshwright.release.content import restored

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meshwright.model.state import State
    from meshwright.release.records import Item


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
            own = wrote is not None and _who(wrote.principal) == _who(principal)
            told.append(msgspec.structs.replace(one, author=wrote, kind="unreleased" if own else "drift"))
    return tuple(told)


def without_tags(one: Difference) -> Difference:
    """`one` as it may be told to those who do not see the object's tags."""
    fields = tuple(field for field in one.fields if not field.path.startswith("tags."))
    return msgspec.structs.replace(one, fields=fields)


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


def _who(principal: str) -> str:
    """A principal without the name of its session: every job of a pipeline is the same role under another name."""
    return principal.rpartition("/")[0] if ":assumed-role/" in principal else principal
