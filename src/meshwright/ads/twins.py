"""Envoys that say they are the same one: told apart by where they come from, once they are known to be several.

The one rule: that a newer stream took the place of an older one proves nothing, as one does whose connection died.
Whoever comes back over the very connection of a stream that lost its place is not the Envoy that took it; and as the
port of a connection that died may be that of the next, it is believed once it happened twice.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    K = TypeVar("K")
    V = TypeVar("V")

RETURN_SECONDS = 120.0
"""How long it is remembered who lost its place: an Envoy comes back within half a minute, by its own back-off, and a
port of the kernel's choice may later be anybody's."""
MOST_REPEATS = 3
"""Streams that may take each other's place over one connection within `RETURN_SECONDS`: an Envoy ends its older one
before, and once in a while the server hears of that too late."""
APART_SECONDS = 600.0
"""After so long without two of a name at once, whoever comes next has the name alone: longer than replicas take to be
replaced, and than a network is away that parted them."""
_REMEMBERED = 10_000


class Twins:
    """Which ids several Envoys have at once. For use in one event loop."""

    def __init__(self, now: Callable[[], float], apart: Iterable[tuple[str, str]] = ()) -> None:
        """`now` answers with seconds of a clock that nobody sets.

        `apart` are those who were told apart before: what each calls itself, and the id that it had.
        """
        self._now = now
        self._lost: dict[tuple[str, str], tuple[float, bool]] = {}
        """When a stream of an id and a connection lost its place to another one, and whether that is of one host."""
        self._suspected: dict[str, float] = {}
        """When one of an id came back over its own connection for the first time."""
        self._repeats: dict[str, tuple[float, int]] = {}
        """Since when, and how often, streams of an id took each other's place over one connection."""
        self._shared: dict[str, float] = dict.fromkeys((one for known in apart for one in _shared_by(*known)), now())
        """The ids that several have, and when two of them were last there at once."""

    def met(self, name: str, *, others: bool) -> None:
        """Somebody who calls itself `name` comes or goes; whether `others` that do are there at this moment.

        Where none was for `APART_SECONDS`, the name is that of one again.
        """
        if name not in self._shared:
            return
        if others:
            self._shared[name] = self._now()
        elif self._now() - self._shared[name] > APART_SECONDS:
            for one in [one for one in self._shared if one == name or one.startswith(f"{name}+")]:
                del self._shared[one]

    def numbered(self, one: str) -> bool:
        """Whether `told` answered `one` for nothing tells it from others."""
        return one.endswith("#")

    def told(self, name: str, peer: str) -> str:
        """The id of whoever calls itself `name` and comes from `peer`, as far as these tell; else nobody's."""
        return next((one for one in _ways(name, peer) if one not in self._shared), f"{name}#")

    def entered(self, name: str, peer: str, taken: Callable[[], Collection[str]]) -> str:
        """The same for who comes to stay: where nothing tells it from the ids that are `taken`, it gets a number."""
        found = self.told(name, peer)
        if found != f"{name}#":
            return found
        others = taken()
        return next(one for number in itertools.count(1) if (one := f"{found}{number}") not in others)

    def returned(self, name: str, peer: str) -> str | None:
        """The id that is found to be of several, as one of them comes back from `peer`; None where none is."""
        found = self.told(name, peer)
        at, near = self._lost.pop((found, peer), (float("-inf"), False))
        if self._now() - at > RETURN_SECONDS:
            return None
        if self._now() - self._suspected.pop(found, float("-inf")) > RETURN_SECONDS:
            _remember(self._suspected, found, self._now())
            return None
        _remember(self._shared, found, self._now())
        if near:
            _remember(self._shared, f"{name}+{_host(peer)}", self._now())
        return found

    def displaced(self, one: str, peer: str, by: Collection[str]) -> bool:
        """A stream of the id `one` from `peer` lost its place to streams from `by`; whether several have the id."""
        if peer not in by:
            _remember(self._lost, (one, peer), (self._now(), _host(peer) in map(_host, by)))
            return False
        since, times = self._repeats.get(one, (self._now(), 0))
        if self._now() - since > RETURN_SECONDS:
            since, times = self._now(), 0
        _remember(self._repeats, one, (since, times + 1))
        if times < MOST_REPEATS:
            return False
        _remember(self._shared, one, self._now())
        return True


def _ways(name: str, peer: str) -> Iterator[str]:
    """By what to tell those of one name apart, the most lasting first: it outlives a connection, or is one's own."""
    yield name
    if _host(peer) and not name.endswith(f"@{peer}"):
        yield f"{name}+{_host(peer)}"
        yield f"{name}+{peer}"


def _shared_by(name: str, one: str) -> Iterator[str]:
    """The ids that several have, as one of those who call themselves `name` was told apart as `one`."""
    yield name
    host, _, port = one.removeprefix(f"{name}+").rpartition(":")
    if one.startswith(f"{name}+") and port.isdecimal() and ":" in host:
        yield f"{name}+{host}"


def _host(peer: str) -> str:
    """What is left of `ipv4:10.0.0.7:41234` without the port; "" for a Unix socket, whose clients have no address."""
    return "" if peer.startswith("unix:") else peer.rpartition(":")[0]


def _remember(memory: dict[K, V], key: K, value: V) -> None:
    memory.pop(key, None)
    if len(memory) >= _REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value
