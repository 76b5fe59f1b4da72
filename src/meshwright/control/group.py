"""The proxies that hold one snapshot, and what each revision changed in it.

The one rule: level-triggered. Only the newest snapshot is offered; of older changes only the names are remembered.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from meshwright.release import Rejection
from meshwright.snapshot.resources import Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.control.delivery import Delivery
    from meshwright.control.lane import Name
    from meshwright.control.standing import Proxy
    from meshwright.model.identity import Key
    from meshwright.snapshot.resources import EnvoyResource

_HISTORY = 512
"""Changes of a snapshot that are remembered by revision; an older one counts by what is outstanding now."""
_ALIKE = 64
"""Of them, the last ones among which one of the same names is looked for: most change what changed before."""

BUILD: Name = ("", "")
"""Stands for the snapshot as a whole where it could not be built."""


class Change(NamedTuple):
    """What revisions that were taken in together changed in a snapshot."""

    revisions: range
    names: frozenset[Name]


class Renewal(NamedTuple):
    """A newer snapshot of a group of proxies, made of the objects of the one before where they are equal."""

    before: Snapshot
    snapshot: Snapshot
    names: frozenset[Name]
    """What differs."""
    within: frozenset[Key]
    """What may shape it."""


class Group:
    """The proxies of one node that are alike in placement and traits: they share a snapshot."""

    def __init__(self, proxy: Proxy, within: frozenset[Key]) -> None:
        self.node = proxy.node
        self.placement = proxy.placement
        self.traits = proxy.traits
        self.reach = within
        self.snapshot = Snapshot(proxy=proxy.node, resources={})
        self.members: set[Delivery] = set()
        self.gone = False
        self.failure: Rejection | None = None
        self.forgotten = 0
        # Apart, for the revisions are those of all groups, and the names mostly those of another change.
        self._revisions: deque[range] = deque()
        self._names: deque[frozenset[Name]] = deque()

    @property
    def changes_at(self) -> int | None:
        """When it is to be built again because time alone changes it; None for never."""
        return None if self.gone or self.failure else self.snapshot.changes_at

    def compared(self, snapshot: Snapshot, within: frozenset[Key]) -> Renewal:
        """`snapshot`, shaped by what lies `within`, beside the one that the group has."""
        shared = snapshot.sharing(self.snapshot)
        return Renewal(self.snapshot, shared, _difference(self.snapshot, shared), within)

    def renew(self, found: Renewal, revisions: range, *, recorded: bool = True) -> None:
        """There is a new snapshot, of `revisions` taken in together: offer it to every member if it differs.

        Not `recorded`, it is no part of them: endpoints come and go between two revisions, and what has an end
        ends; whoever has not acked that yet is behind on the next one at most.
        """
        if found.before is not self.snapshot:
            found = self.compared(found.snapshot, found.within)
        names, mended = found.names, self.failure is not None
        self.snapshot, self.reach = found.snapshot, found.within
        self.gone, self.failure = False, None
        if names or mended:
            if recorded:
                self._remember(revisions, names)
            for member in self.members:
                member.offer(names, revisions[-1] if recorded else revisions[-1] + 1, built=True)

    def fail(self, message: str, within: frozenset[Key], revisions: range, at: int) -> None:
        """The snapshot could not be built from what lies `within`: members keep what they have, and say so."""
        self.reach = within
        revision = revisions[-1]
        self.failure = Rejection(
            type_url="", resources=(), origins=(self.node,), message=message, revision=revision, at=at
        )
        self._remember(revisions, frozenset({BUILD}))
        for member in self.members:
            member.offer(frozenset({BUILD}), revision, built=False)

    def change(self, revision: int) -> Change | None:
        """What `revision` changed in the snapshot, with those taken in together with it; None for nothing."""
        for revisions, names in zip(reversed(self._revisions), reversed(self._names), strict=True):
            if revision in revisions:
                return Change(revisions, names)
        return None

    def _remember(self, revisions: range, names: frozenset[Name]) -> None:
        lately = islice(reversed(self._names), _ALIKE)
        self._revisions.append(revisions)
        self._names.append(next((same for same in lately if same == names), names))
        if len(self._revisions) > _HISTORY:
            self._names.popleft()
            self.forgotten = self._revisions.popleft()[-1]


def names_of(snapshot: Snapshot) -> frozenset[Name]:
    """The type and name of everything in it."""
    return frozenset((url, name) for url, some in snapshot.resources.items() for name in some)


def _difference(before: Snapshot, after: Snapshot) -> frozenset[Name]:
    found: set[Name] = set()
    for url in {**before.resources, **after.resources}:
        old, new = before.of(url), after.of(url)
        if old is not new:
            found.update((url, name) for name in {**old, **new} if _version(old, name) != _version(new, name))
    return frozenset(found)


def _version(named: Mapping[str, EnvoyResource], name: str) -> str | None:
    resource = named.get(name)
    return resource.version if resource else None
