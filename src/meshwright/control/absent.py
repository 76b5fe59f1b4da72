"""Proxies between two streams: who was here a moment ago, said no farewell, and may come back.

The one rule: a release waits for them for as long as an Envoy takes to come back and no longer; then it names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshwright.control.standing import Proxy
    from meshwright.model.identity import Key
    from meshwright.model.state import State

AWAY_SECONDS = 10.0
"""Twice the longest back-off of an Envoy that `meshwright proxy` starts; Envoy's own begins at half a second."""
NAMED_SECONDS = 120.0
"""After so long nobody asks for them any more: what vanished without a word was taken away."""
_MOST = 10_000


class Absence:
    """One proxy that is away."""

    def __init__(self, proxy: Proxy, at: int, since: int, lacking: int | None, within: frozenset[Key]) -> None:
        """Its last stream ended `at` milliseconds since the epoch; it was connected when `since` was the newest."""
        self.proxy = proxy
        self.at = at
        self._since = since
        self._lacking = lacking
        """The oldest revision of which it had not taken everything; None for none."""
        self._within = within

    def concern(self, changed: frozenset[Key], revision: int) -> None:
        """`changed` is what `revision` brought: it may be for this proxy."""
        if self._lacking is None and not changed.isdisjoint(self._within):
            self._lacking = revision

    def lacks(self, revision: int) -> bool:
        """Whether it may be that the proxy has not taken a revision; one older than it counts by what it ran."""
        return self._lacking is not None and self._lacking <= max(revision, self._since)


class Absent:
    """All who are away. Not for use from more than one thread."""

    def __init__(self, now: Callable[[], int], seconds: float) -> None:
        """`now` answers with milliseconds since the epoch; a release waits for each so many `seconds`."""
        self._now = now
        self._patience = round(seconds * 1000)
        self._away: dict[str, Absence] = {}
        """By id; who left first stands first."""

    def left(self, one: Absence) -> None:
        """A proxy has gone, and said no farewell."""
        if self._patience:
            self._away.pop(one.proxy.id, None)
            self._away[one.proxy.id] = one
            self._forget()

    def came(self, proxy: Proxy) -> None:
        """A proxy is there: it is away no longer, by whichever id where several share its name."""
        if self._away.pop(proxy.id, None) is None and self._away:
            name = proxy.shared_id or proxy.id
            shared = (one for one in self._of(proxy.node) if (one.proxy.shared_id or one.proxy.id) == name)
            found = next(shared, None)
            if found is not None:
                del self._away[found.proxy.id]

    def gone(self, name: str) -> None:
        """The proxy of that id said farewell."""
        self._away.pop(name, None)

    def concern(self, changed: frozenset[Key], revision: int) -> None:
        """`changed` is what `revision` brought."""
        for one in self._away.values():
            one.concern(changed, revision)

    def lacking(self, revision: int, mesh: str, state: State) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """By id, who is still waited for as it may not have taken `revision`, and who is not waited for any longer.

        With `mesh`, of that mesh alone; and only of nodes that there are in `state`.
        """
        self._forget()
        some = [
            one
            for one in self._away.values()
            if one.lacks(revision) and mesh in {"", one.proxy.node.mesh} and one.proxy.node in state
        ]
        waited = {one.proxy.id for one in some if one.at + self._patience > self._now()}
        return tuple(sorted(waited)), tuple(sorted(one.proxy.id for one in some if one.proxy.id not in waited))

    def rest(self) -> float:
        """Seconds until one more is not waited for any longer; infinite where nobody is."""
        ends = (one.at + self._patience - self._now() for one in self._away.values())
        return min((left for left in ends if left > 0), default=float("inf")) / 1000

    def _of(self, node: Key) -> Iterator[Absence]:
        return (one for one in self._away.values() if one.proxy.node == node)

    def _forget(self) -> None:
        """Drop who is away for too long, and of very many the first."""
        for name, one in list(self._away.items()):
            if len(self._away) <= _MOST and one.at + NAMED_SECONDS * 1000 > self._now():
                return
            del self._away[name]
