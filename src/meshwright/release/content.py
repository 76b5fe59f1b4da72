"""A stack's content as a value: taken from a state, told apart by a digest, made objects again.

The one rule: equal content has an equal digest, whoever holds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity, Written
from meshwright.model.decoding import DecodeError
from meshwright.model.state import Resource, State, digest
from meshwright.plan import contents, decoded
from meshwright.release.records import Item, Release, Status
from meshwright.release.refusal import InvalidReleaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshwright.model.identity import Key

_MOST_PLACES = 5_000
"""Objects of which a release keeps where they are written."""
_MOST_FIELDS = 20_000
"""Fields of which it keeps the line, in all; of further objects it keeps where they begin."""
_LONGEST = 1_000
"""Characters of a file's name, or of a field's path."""


def content_of(state: State, mesh: str, stack: str) -> tuple[Item, ...]:
    """The objects of `stack` in `mesh` as a release keeps them, in order of keys."""
    return tuple(_item(one) for one in state if one.key.mesh == mesh and one.in_release_of(stack))


def digest_of(content: Sequence[Item]) -> str:
    """The digest of a release's content."""
    return digest([(one.key.path, one.spec, one.tags) for one in content])


def places(given: Mapping[str, Written], keys: Iterable[Key]) -> dict[str, Written]:
    """Of `given`, by path, what is kept with a release that creates or updates `keys`: bounded, whoever sent it."""
    kept: dict[str, Written] = {}
    fields = 0
    for key in keys:
        found = given.get(key.path)
        if found is None or len(kept) >= _MOST_PLACES:
            continue
        fields += len(found.fields)
        known = found.fields if fields <= _MOST_FIELDS and max(map(len, found.fields), default=0) <= _LONGEST else {}
        files = {path: file[:_LONGEST] for path, file in found.files.items() if path in known}
        kept[key.path] = Written(file=found.file[:_LONGEST], line=found.line, fields=known, files=files)
    return kept


def checked(content: Iterable[Item]) -> State:
    """The objects of content that somebody sent.

    Raises:
        InvalidReleaseError: with every fault of every object.
    """
    state, found = State(), list[Diagnostic]()
    for one in content:
        if one.key in state:
            text = f"{one.key} is defined more than once"
            found.append(_error("MW013", one, "", text))
            continue
        try:
            state = state.put(decoded(one.key, one.spec, one.tags))
        except DecodeError as error:
            found += [_error(fault.rule, one, fault.path, fault.message, fault.hint) for fault in error.problems]
    if found:
        raise InvalidReleaseError(f"{len(found)} fault(s) in what was sent; nothing was changed.", tuple(found))
    return state


def _error(rule: str, one: Item, path: str, summary: str, detail: str = "") -> Diagnostic:
    return Diagnostic(
        rule=rule, severity=Severity.ERROR, summary=summary, detail=detail, subject=one.key.path, path=path
    )


def restored(content: Iterable[Item], stack: str = "") -> State:
    """The objects of a release again.

    Raises:
        DecodeError: an item's spec does not fit its kind.
    """
    return State(decoded(one.key, one.spec, one.tags, stack) for one in content)


def known_good(releases: Iterable[Release], running: str) -> tuple[Release, ...]:
    """The releases known to be good, newest first as `releases` are; the first is the last good one.

    `running` is the digest of what runs now (`digest_of`). Those are good that were verified, or that at least
    propagated where none was, and that were not since failed or rolled back. Where the newest one's content is what
    runs, the stack is as that release left it: whoever wants it rolled back holds it to be bad, and gets the one
    before. A step of a canary is on the way to something else, and never good by itself.
    """
    known = list(releases)
    whole = [one for one in known if not one.is_step]
    gone = reverted(known)
    proven = [one for one in whole if one.status is Status.VERIFIED and one.number not in gone]
    taken = [one for one in whole if one.status is Status.PROPAGATED and one.number not in gone]
    return tuple(one for one in proven or taken if one.digest != running)


def reverted(releases: Iterable[Release]) -> frozenset[int]:
    """The numbers of the releases that a later rollback took back: those between what it restored and itself."""
    return frozenset(
        number for one in releases if one.restores is not None for number in range(one.restores + 1, one.number)
    )


def _item(resource: Resource) -> Item:
    spec, tags = contents(resource)
    return Item(key=resource.key, spec=spec, tags=tags)
