"""The newest state and its graph: what was published, and what of it is taken in.

The one rule: level-triggered. Of several heads that were published since the last one was taken in only the newest
counts, and what they touched is taken in together.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from meshwright.graph import Graph, felt, resolve
from meshwright.model.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.model.identity import Key
    from meshwright.store.contract import Head

_CHANGES = 64
"""Publications of which it is remembered what they changed, for telling what a proxy rejects."""


class Outlook(NamedTuple):
    """What a head would bring that is not published yet."""

    head: Head
    since: State
    """The state that it follows."""
    graph: Graph
    changed: frozenset[Key]
    """The objects by which a proxy feels it."""


class Newest:
    """The newest state that was taken in, and what is to be taken in next."""

    def __init__(self) -> None:
        self.state = State()
        self.revision = 0
        self.revisions = range(1)
        """Those that were taken in last, together."""
        self._graph = resolve(self.state)
        self._touched: set[Key] = set()
        """What may differ between the state and the graph, which is renewed when a proxy needs it."""
        self._next: Head | None = None
        """What was published and is not yet taken in."""
        self._named: set[Key] | None = set()
        """What may differ in it; None where that has to be found out."""
        self._outlook: Outlook | None = None
        self._changes: deque[tuple[int, frozenset[Key]]] = deque(maxlen=_CHANGES)

    def publish(self, head: Head, touched: Iterable[Key] | None) -> bool:
        """`head` is the truth, and differs in `touched` at most from the one before; False where it is older."""
        if head.revision < (self.revision if self._next is None else self._next.revision):
            return False
        self._next = head
        if touched is None:
            self._named = None
        elif self._named is not None:
            self._named.update(touched)
        return True

    def foresee(self, head: Head, touched: Iterable[Key]) -> Outlook | None:
        """What `head` will bring, which differs in `touched` at most; None where something else comes first."""
        if self._next is not None:
            return None
        differing = frozenset(touched)
        graph = self.graph.renewed(head.state, differing)
        self._outlook = Outlook(head, self.state, graph, felt(differing, self.state, head.state))
        return self._outlook

    def take_in(self) -> frozenset[Key] | None:
        """Take in what was published; the objects by which a proxy feels it, None where nothing was."""
        head, named, foreseen = self._next, self._named, self._outlook
        if head is None:
            return None
        self._next, self._named, self._outlook = None, set(), None
        differing = frozenset(head.state.differing(self.state) if named is None else named)
        changed = felt(differing, self.state, head.state)
        if differing:
            self._changes.append((head.revision, differing))
        if foreseen is not None and foreseen.head is head and foreseen.since is self.state:
            self._graph = foreseen.graph
        elif changed:
            self._touched.update(differing)
        self.revisions = range(min(self.revision + 1, head.revision), head.revision + 1)
        self.revision, self.state = head.revision, head.state
        return changed

    def changed_since(self, revision: int) -> frozenset[Key]:
        """The objects that `revision` and later ones changed, as far as that is remembered."""
        return frozenset(key for number, keys in self._changes if number >= revision for key in keys)

    @property
    def graph(self) -> Graph:
        """The graph of the state."""
        if self._touched:
            self._graph = self._graph.renewed(self.state, self._touched)
            self._touched.clear()
        return self._graph
