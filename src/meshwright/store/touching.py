"""What a commit did to each object, by digests: what an entry of the audit log tells without the bodies.

The one rule: a digest is of the text that is stored, before and after, so that both can be shown to be it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.audit import Touched
from meshwright.model.differing import differing
from meshwright.store import rows

if TYPE_CHECKING:
    from meshwright.model.identity import Key
    from meshwright.model.state import Resource, State

KNOWN = 10_000
"""Objects whose digests are remembered at most; then all are forgotten."""
FIELDS = 20
"""Paths that are told of one object; of more their number."""


class Digests:
    """Those of objects as they were stored last: what an update finds is mostly what an earlier one left."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[Resource, str]] = {}

    def note(self, one: Resource, digest: str) -> None:
        """`one` was stored, whether or not that comes to anything: it is known by being the very same value."""
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[one.key] = one, digest

    def of(self, one: Resource) -> str:
        """That of `one` as it is stored."""
        known = self._known.get(one.key)
        return known[1] if known is not None and known[0] is one else rows.text_digest(rows.body_of(one))


class Touching:
    """Objects as they are before each of several commits in a row."""

    def __init__(self, before: State, digests: Digests) -> None:
        self._before = before
        self._digests = digests
        self._since: dict[Key, Resource | None] = {}

    def told(self, key: Key, path: str, after: Resource | None, text: str | None) -> Touched:
        """What becomes of `key`, which is at `path`: `after`, stored as `text`; None for a delete."""
        before = self._since[key] if key in self._since else self._before.get(key)
        self._since[key] = after
        digest = "" if text is None else rows.text_digest(text)
        found = "" if before is None else self._digests.of(before)
        if after is not None:
            self._digests.note(after, digest)
        fields = differing(before, after) if before is not None and after is not None else []
        return Touched(
            object=path,
            before=found,
            after=digest,
            fields=tuple(fields[:FIELDS]),
            more=max(0, len(fields) - FIELDS),
        )
