"""Endpoints that proxies bring along: each is there while its proxy is connected, and a while longer.

The one rule: an endpoint goes when its proxy says that it leaves, or has been away for the whole grace period; what a
restart of the control plane or a lost stream looks like changes nothing for anybody else.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from meshwright.discovery.found import Fault, Row
from meshwright.model.identity import Key
from meshwright.snapshot.resources import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from meshwright.discovery.memory import Memory

SOURCE = "registration"
_TOGETHER = 0.1
"""Seconds between two looks for whose grace period is over: thousands that were lost at once go together."""
_OPENING_MILLISECONDS = 10_000
"""After it took its listeners a proxy that checks itself is waited for: then they are taken for open in any case."""


class Registree(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy that registers its node's endpoint."""

    id: str
    node: Key
    address: str
    port: int = 0
    """0 for each listener's own."""
    zone: str = ""
    checked: bool = False
    """Whether the proxy reports its application's health, so that it counts as healthy only once it said so.

    It does where it can, and its node's definition has something to check.
    """
    shared_id: str = ""
    """The id by its own word, where others say so too; "" as a rule."""


class _Entry(msgspec.Struct, kw_only=True):
    """One registered endpoint."""

    proxy: Registree
    listening: bool = False
    """Whether its listeners are known to have been open: from then on it may be ill, and is no longer starting."""
    healthy: bool | None = None
    """What the proxy said of its application last; None for nothing yet."""
    lost_at: int | None = None
    """Since when its proxy is away, in milliseconds since the epoch, UTC; None while it is connected."""

    @property
    def endpoint(self) -> Endpoint:
        proxy = self.proxy
        well = not proxy.checked if self.healthy is None else self.healthy
        return Endpoint(
            address=proxy.address,
            port=proxy.port,
            healthy=self.listening and well,
            starting=not self.listening,
            zone=proxy.zone,
        )

    @property
    def state(self) -> str:
        if self.lost_at is not None:
            return "lost"
        if not self.listening:
            return "starting"
        if self.healthy is False:
            return "unhealthy"
        return "healthy" if self.endpoint.healthy else "starting"


class Held:
    """One stream's hold on its endpoint; made by `Registrations.join`."""

    def __init__(self, registrations: Registrations, proxy: Registree) -> None:
        self.proxy = proxy
        self.listening = False
        self._registrations = registrations

    def listen(self) -> None:
        """The proxy took its listeners, and opens them."""
        self.listening = True
        self._registrations.listen(self)

    def lose(self) -> None:
        """The stream ended; means nothing once a newer one of the same proxy holds the endpoint."""
        self._registrations.lose(self)


class Registrations:
    """Who registered what. Not for use from more than one thread."""

    def __init__(
        self,
        *,
        grace: float,
        most: int,
        now: Callable[[], int],
        changed: Callable[[Iterable[Key]], None],
        memory: Memory,
        connected: Callable[[], int],
    ) -> None:
        """`grace` in seconds; at most `most` endpoints of a node are kept for proxies that are away.

        `changed` is told of the nodes whose endpoints are others than before. `connected` says how many proxies are
        connected, also those that register nothing.

        Raises:
            StorageError: what was kept cannot be read.
        """
        self._grace = round(grace * 1000)
        self._most = most
        self._now = now
        self._changed = changed
        self._memory = memory
        self._connected = connected
        self._nodes: dict[Key, dict[str, _Entry]] = {}
        self._holders: dict[str, Held] = {}
        self._opening: dict[str, int] = {}
        """Until when it is waited for the word of a proxy, by id, that its listeners are open; the soonest first."""
        self._woken = asyncio.Event()
        self._resting = False
        """Whether nobody is waited for whose grace period ends."""
        for name, body in memory.recall().items():
            entry = msgspec.json.decode(body, type=_Entry)
            entry.lost_at = now()
            self._nodes.setdefault(entry.proxy.node, {})[name] = entry

    def join(self, proxy: Registree) -> Held:
        """A proxy connected: from now on its endpoint is there. The newest stream of an id holds it."""
        held = self._holders[proxy.id] = Held(self, proxy)
        entries = self._nodes.setdefault(proxy.node, {})
        before = self.of(proxy.node)
        known = entries.get(proxy.id)
        same = known if known is not None and _place(known.proxy) == _place(proxy) else _renamed(entries, proxy)
        entry = _Entry(proxy=proxy)
        if same is not None:  # a stream that was lost and is there again changes nothing
            entry.listening, entry.healthy = same.listening, same.healthy
        entries[proxy.id] = entry
        for name in list(_replaced(entries, entry)):
            self._forget(entries, name)
        self._settle(proxy.node, before, entry if known is None or known.proxy != proxy else None)
        return held

    def faults(self, mesh: str = "") -> tuple[Fault, ...]:
        """As `Source.faults`: proxies come by themselves, nothing is looked up."""
        del mesh
        return ()

    def listen(self, held: Held) -> None:
        """As `Held.listen`. They are open a moment later, which a proxy that checks itself will say."""
        entry = self._held_entry(held)
        if entry is None or entry.listening:
            return
        if not entry.proxy.checked:
            self._open(entry)
            return
        if self._resting or not self._opening:
            self._woken.set()
        self._opening.pop(held.proxy.id, None)  # one that came again stands at the end of the line
        self._opening[held.proxy.id] = self._now() + _OPENING_MILLISECONDS

    def leave(self, name: str) -> None:
        """The proxy `name` is about to go: its endpoint goes now."""
        held = self._holders.pop(name, None)
        if held is not None:
            node = held.proxy.node
            before = self.of(node)
            self._forget(self._nodes.get(node, {}), name)
            self._settle(node, before)

    def expect(self, name: str, *, reports: bool) -> None:
        """What the proxy `name` is to check is another thing than before; without `reports` it is nothing at all."""
        entry = self._held_entry(self._holders.get(name))
        if entry is not None and entry.proxy.checked is not reports:
            before = self.of(entry.proxy.node)
            entry.proxy, entry.healthy = msgspec.structs.replace(entry.proxy, checked=reports), None
            entry.listening = entry.listening or (self._holders[name].listening and not reports)
            self._settle(entry.proxy.node, before, entry)

    def report(self, name: str, *, listening: bool, healthy: bool) -> None:
        """The proxy `name` looked after itself, and whether all is `healthy`; at least it may be `listening`."""
        entry = self._held_entry(self._holders.get(name))
        listening = listening or (entry is not None and entry.listening)
        if entry is not None and (entry.listening, entry.healthy) != (listening, healthy):
            before = self.of(entry.proxy.node)
            entry.listening, entry.healthy = listening, healthy
            self._settle(entry.proxy.node, before, entry)

    def _open(self, entry: _Entry) -> None:
        """The listeners of a proxy are taken for open."""
        before = self.of(entry.proxy.node)
        entry.listening = True
        self._settle(entry.proxy.node, before, entry)

    def lose(self, held: Held) -> None:
        """As `Held.lose`."""
        name, node = held.proxy.id, held.proxy.node
        entry = self._held_entry(held)
        if entry is None:
            return
        del self._holders[name]
        entries = self._nodes[node]
        if self.holders(held.proxy):  # it is there by another of its ids
            before = self.of(node)
            self._forget(entries, name)
            self._settle(node, before)
            return
        entry.lost_at = self._now()
        lost = sorted((one.lost_at, name) for name, one in entries.items() if one.lost_at is not None)
        if len(lost) > self._most:
            before = self.of(node)
            self._forget(entries, lost[0][1])
            self._settle(node, before)
        if self._resting:  # else its time ends after that of those who are away already
            self._woken.set()

    def meet(self) -> None:
        """Somebody connects after nobody was connected: whoever else is away has the whole grace period from now."""
        for entries in self._nodes.values():
            for entry in entries.values():
                if entry.lost_at is not None:
                    entry.lost_at = self._now()
        self._woken.set()

    def expire(self) -> float | None:
        """Let go of what was away for too long; seconds until the next look, None where nobody is waited for.

        Nor is anybody where nobody is connected at all: then it is the control plane that is away, and who comes back
        first must not be told that all the others are gone.
        """
        if not self._connected():
            return None
        now = self._now()
        ends = [*self._opened(now)]
        for node, entries in list(self._nodes.items()):
            away = {name: one.lost_at + self._grace for name, one in entries.items() if one.lost_at is not None}
            over = [name for name, end in away.items() if end <= now]
            ends += [end for end in away.values() if end > now]
            if over:
                before = self.of(node)
                for name in over:
                    self._forget(entries, name)
                self._settle(node, before)
        return max((min(ends) - now) / 1000, _TOGETHER) if ends else None

    def _opened(self, now: int) -> Iterator[int]:
        """Take the listeners for open of whom it was waited for long enough; when that is due for the next one."""
        for name, end in list(self._opening.items()):
            entry = self._held_entry(self._holders.get(name))
            if entry is not None and not entry.listening:
                if end > now:
                    yield end
                    return
                self._open(entry)
            del self._opening[name]

    async def run(self) -> None:
        """Let go of what was away for too long, and keep what is there over a restart; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._memory.run())
            tasks.create_task(self._expiring())

    async def _expiring(self) -> None:
        while True:
            self._woken.clear()
            seconds = self.expire()
            self._resting = seconds is None
            try:
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
            except TimeoutError:
                continue

    def of(self, node: Key) -> tuple[Endpoint, ...]:
        """As `Source.of`."""
        return tuple(sorted(entry.endpoint for entry in self._nodes.get(node, {}).values()))

    def nodes(self) -> frozenset[Key]:
        """As `Source.nodes`."""
        return frozenset(self._nodes)

    def holders(self, proxy: Registree) -> tuple[str, ...]:
        """The ids of the connected ones that have the name of `proxy` and registered its place: one as a rule."""
        return tuple(
            name
            for name, one in self._nodes.get(proxy.node, {}).items()
            if name in self._holders and _name(one.proxy) == _name(proxy) and _place(one.proxy) == _place(proxy)
        )

    def told_apart(self) -> frozenset[tuple[str, str]]:
        """The id that several proxies say they have, and the one that each got: known after a restart at once."""
        known = (one.proxy for some in self._nodes.values() for one in some.values())
        return frozenset((one.shared_id, one.id) for one in known if one.shared_id)

    def rows(self, mesh: str = "") -> tuple[Row, ...]:
        """As `Source.rows`."""
        return tuple(
            Row(node=node, endpoint=entry.endpoint, source=SOURCE, name=name, state=entry.state)
            for node, entries in sorted(self._nodes.items())
            if mesh in {"", node.mesh}
            for name, entry in sorted(entries.items())
        )

    def _held_entry(self, held: Held | None) -> _Entry | None:
        """The endpoint that `held` holds; None where a newer stream does, or nobody any more."""
        if held is None or self._holders.get(held.proxy.id) is not held:
            return None
        return self._nodes[held.proxy.node][held.proxy.id]

    def _forget(self, entries: dict[str, _Entry], name: str) -> None:
        if entries.pop(name, None) is not None:
            self._memory.keep(name, None)

    def _settle(self, node: Key, before: tuple[Endpoint, ...], written: _Entry | None = None) -> None:
        """Keep `written`, and tell whoever has to know that the endpoints of `node` are not `before` any more."""
        if written is not None:
            self._memory.keep(written.proxy.id, msgspec.json.encode(written).decode())
        if not self._nodes.get(node):
            self._nodes.pop(node, None)
        if self.of(node) != before:
            self._changed((node,))


def _place(proxy: Registree) -> tuple[str, int]:
    return proxy.address, proxy.port


def _name(proxy: Registree) -> str:
    """The id by its own word."""
    return proxy.shared_id or proxy.id


def _renamed(entries: dict[str, _Entry], newer: Registree) -> _Entry | None:
    """What `newer` registered by the id that it had while others shared its name, or before they did.

    Also where the end of that stream is not heard yet.
    """
    known = (one for one in entries.values() if _place(one.proxy) == _place(newer))
    return next((one for one in known if _name(one.proxy) == _name(newer)), None)


def _replaced(entries: dict[str, _Entry], newer: _Entry) -> Iterator[str]:
    """Proxies that are away and whose place `newer` took: a restarted one has another name and the same address."""
    for name, entry in entries.items():
        if entry.lost_at is not None and _place(entry.proxy) == _place(newer.proxy):
            yield name
