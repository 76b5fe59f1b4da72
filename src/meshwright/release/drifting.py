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
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from meshwright.model.state import Resource, State
    from meshwright.release.records import Item

_TOLD = 3
"""Objects, fields and authors that a sentence names."""


class Author(msgspec.Struct, frozen=True, kw_only=True):
    """Who wrote an object last: the principal, by which operation or release, in which revision, when."""

    principal: str
    cause: str
    revision: int
    at: int
    """Milliseconds since the epoch, UTC."""


class FieldDrift(Field, frozen=True, kw_only=True):
    """A field that runs otherwise, and who gave it the value that it has."""

    author: Author | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One object of a stack that does not run as the stack's last release left it."""

    key: Key
    state: Literal["changed", "missing", "extra"]
    """`extra`: a route that nobody owns in one of the stack's routers or gateways."""
    kind: Literal["drift", "unreleased"]
    """`unreleased` where the principal of the last release wrote all of it, `drift` where anybody else did."""
    fields: tuple[FieldDrift, ...] = ()
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
    history: Callable[[Key], Iterable[tuple[Author, Resource | None]]],
) -> tuple[Difference, ...]:
    """Where `stack` runs otherwise than `content`, its last release by `principal`; in order of keys.

    `history` tells what an object became since that release, oldest first, None where it was deleted.
    """
    released = restored(content, stack)
    found = (_difference(key, released, state) for key in _concerned(released, state, mesh, stack))
    told = []
    for one in found:
        if one is not None:
            wrote = author(one.key)
            fields = tuple(_written(one.fields, released.get(one.key), history(one.key))) if one.fields else ()
            authors = [wrote, *(field.author for field in fields if field.author is not None)]
            own = all(each is not None and _who(each.principal) == _who(principal) for each in authors)
            kind = "unreleased" if own else "drift"
            told.append(msgspec.structs.replace(one, author=wrote, kind=kind, fields=fields))
    return tuple(told)


def without_tags(one: Difference) -> Difference:
    """`one` as it may be told to those who do not see the object's tags."""
    fields = tuple(field for field in one.fields if not field.path.startswith("tags."))
    return msgspec.structs.replace(one, fields=fields)


def overwritten(found: Sequence[Difference]) -> str:
    """Who wrote which fields of which objects, as anybody may read it: without values and tags' names."""
    told = []
    for one in found[:_TOLD]:
        paths = dict.fromkeys("tags" if it.path.startswith("tags") else it.path for it in one.fields)
        more = f" and {len(paths) - _TOLD} more" if len(paths) > _TOLD else ""
        what = f" ({', '.join(list(paths)[:_TOLD])}{more})" if paths else f" ({one.state})"
        known = (one.author, *(it.author for it in one.fields))
        authors = dict.fromkeys(f"{it.principal} with {it.cause}" for it in known if it is not None)
        who = f" by {' and '.join(list(authors)[:_TOLD])}" if authors else ""
        told.append(f"{one.key}{what}{who}")
    return "; ".join(told) + (f" and {len(found) - _TOLD} more objects" if len(found) > _TOLD else "")


def _written(
    fields: tuple[FieldDrift, ...], was: Resource | None, history: Iterable[tuple[Author, Resource | None]]
) -> Iterator[FieldDrift]:
    """`fields`, each with who changed it last, or what it is part of or consists of."""
    changed: list[tuple[str, Author]] = []
    for author, now in history:
        if was is None or now is None:
            changed.append(("", author))
        else:
            changed += [(one.path, author) for one in _fields(was, now)]
        was = now
    for one in fields:
        wrote = next((author for path, author in reversed(changed) if _within(path, one.path)), None)
        yield msgspec.structs.replace(one, author=wrote)


def _within(path: str, other: str) -> bool:
    """Whether one of two paths is the other, or leads to it."""
    short, long = sorted((path, other), key=len)
    return long == short or not short or (long.startswith(short) and long[len(short)] in ".[")


def _fields(was: Resource, now: Resource) -> tuple[FieldDrift, ...]:
    found = [FieldDrift(path=one.path, old=one.old, new=one.new) for one in differences(was, now)]
    if was.stack != now.stack:
        found.append(FieldDrift(path="stack", old=was.stack or None, new=now.stack or None))
    return tuple(found)


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
    fields = _fields(was, now)
    return Difference(key=key, state="changed", kind="drift", fields=fields) if fields else None


def _who(principal: str) -> str:
    """A principal without the name of its session: every job of a pipeline is the same role under another name."""
    return principal.rpartition("/")[0] if ":assumed-role/" in principal else principal
