"""What `--adopt` takes into a release: what the stack's owner wrote object by object since the last one.

The one rule: nobody's work is lost unsaid. What both the owner and the definitions changed is refused, and what runs
otherwise because of others is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.errors import MeshwrightError, RefusedError
from meshwright.model.identity import parse_key
from meshwright.model.state import State
from meshwright.plan import differences
from meshwright.release import Item, restored
from meshwright.views.releases import moment
from meshwright.views.values import value
from meshwright.views.wire import from_wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from meshwright.cli.target import Target
    from meshwright.documents.load import Loaded
    from meshwright.model.identity import Key
    from meshwright.model.state import Resource
    from meshwright.plan import Plan
    from meshwright.remote import Client

_LOOK_BACK = 20
"""Releases in a row that adopted the same, among which the definitions are looked for that did not."""
_SHOWN = 5
"""Objects that are named; of more the number is said."""


def adopted(
    target: Target, client: Client, read: Loaded, observed: State, *, mesh: str, stack: str
) -> tuple[State, tuple[Key, ...]]:
    """The definitions with what the owner wrote apart from releases in place of theirs, and which objects these are.

    Raises:
        RefusedError: the definitions changed one of them as well since the last release.
    """
    newest = next(iter(client.releases(mesh, stack, limit=1)["releases"]), None)
    found = client.drift(mesh, stack)["differences"] if newest is not None else ()
    released = _content(client, newest)
    own = {parse_key(one["object"]): one for one in found if one["kind"] == "unreleased"}
    keys = {*own, *(one.key for one in observed if one.key.mesh == mesh and one.stack == stack and one.unreleased)}
    both = sorted(key for key in keys if _contested(read.state.get(key), observed.get(key), released.get(key)))
    if both:
        raise RefusedError(
            f"Not only the owner changed {_named(both)} since the last release, but the definitions as well: "
            f"{'; '.join(_places(read, both))}. Let the definitions say what shall hold, and apply them without "
            "--adopt. Nothing was changed."
        )
    for key in sorted(keys):
        target.say(f"Adopted: {_told(key, own.get(key, {}), read)}")
    others = [parse_key(one["object"]) for one in found if one["kind"] == "drift"]
    if others:
        target.say(f"Not the owner's, and not adopted: {_named(others)}. `meshwright drift` tells who wrote it.")
    before = tuple(sorted(_still(client, newest, read.state, {*keys, *others})))
    if before and newest is not None:
        target.say(
            f"Adopted by {newest['title']} already: {_named(before)}. Write it in the definitions, or apply them "
            "without --adopt to take it back."
        )
    elif not keys:
        target.say("The owner wrote nothing since the last release: there is nothing to adopt.")
    keys.update(before)
    kept = read.state.drop(*keys).put(*(observed[key] for key in keys if key in observed))
    return kept, tuple(sorted(keys))


def _still(client: Client, newest: Mapping[str, Any] | None, defined: State, but: set[Key]) -> Iterator[Key]:
    """What earlier releases adopted and the definitions, since then, have said nothing new about.

    A job that is started again, or the next build, does not take back what one before it took in.
    """
    left = {parse_key(path) for path in newest.get("adopted", ())} - but if newest is not None else set()
    one: Mapping[str, Any] | None = newest
    for _ in range(_LOOK_BACK):
        if not left or one is None or one["parent"] is None:
            return
        one = client.release(one["mesh"], one["stack"], one["parent"])
        base = _content(client, one)
        for key in sorted(left - {parse_key(path) for path in one.get("adopted", ())}):
            left.discard(key)
            if _alike(defined.get(key), base.get(key)):
                yield key


def remark_overwritten(target: Target, client: Client, plan: Plan) -> None:
    """Say what of a plan takes back what somebody wrote since the last release; for those who may ask."""
    if plan.empty:
        return
    try:
        found = client.drift(plan.mesh, plan.stack)["differences"]
    except MeshwrightError:
        # Without a release there is nothing to take back; and who may not see drift may apply all the same.
        return
    touched = {one.key for one in plan.changes}
    lost = [one for one in found if parse_key(one["object"]) in touched]
    for one in lost[:_SHOWN]:
        target.say(f"Written since the last release, and taken back by this: {one['object']}{_author(one)}.")
    if len(lost) > _SHOWN:
        target.say(f"So are {len(lost) - _SHOWN} more; `meshwright drift` shows all.")
    if any(one["kind"] == "unreleased" for one in lost):
        target.say("`--adopt` takes what the owner wrote into the release instead.")


def _content(client: Client, one: Mapping[str, Any] | None) -> State:
    """The objects of a release; none of no release."""
    if one is None:
        return State()
    whole = one if "content" in one else client.release(one["mesh"], one["stack"], one["number"])
    return restored(from_wire(tuple[Item, ...], whole["content"]), one["stack"])


def _contested(defined: Resource | None, running: Resource | None, released: Resource | None) -> bool:
    """Whether the definitions want neither what runs nor what the last release left."""
    return not (_alike(defined, running) or _alike(defined, released))


def _alike(one: Resource | None, other: Resource | None) -> bool:
    if one is None or other is None:
        return one is other
    return not differences(one, other)


def _told(key: Key, one: Mapping[str, Any], read: Loaded) -> str:
    """What becomes of one object, by whom, and where to write it."""
    where = next(iter(_places(read, [key])), "")
    state = {"missing": "deleted", "extra": "new"}.get(one.get("state", "extra"), "")
    fields = "; ".join(
        f"{field['path']}: {value(field.get('old'))} → {value(field.get('new'))}"
        for field in one.get("fields", ())
        if field["path"] != "stack"
    )
    what = ", ".join(filter(None, (state, fields)))
    if not where:
        hint = " No definition has it yet, and the next release without one takes it away."
    elif state == "deleted":
        hint = f" Take it out of {where}, or the next release makes it again."
    else:
        hint = f" Write it in {where}, or the next release takes it back."
    return f"{key}{f' ({what})' if what else ''}{_author(one)}.{hint}"


def _author(one: Mapping[str, Any]) -> str:
    wrote = one.get("author")
    if not wrote:
        return ""
    return f", {wrote['cause']} by {wrote['principal']} at {moment(wrote['at'])}"


def _places(read: Loaded, keys: Iterable[Key]) -> Iterator[str]:
    found = read.sources.written(key.path for key in keys)
    yield from (f"{one.file}:{one.line}" for one in found.values())


def _named(keys: Sequence[Key]) -> str:
    listed = ", ".join(key.path for key in keys[:_SHOWN])
    return f"{listed} and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else listed
