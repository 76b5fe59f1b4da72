"""The newest revision becomes a snapshot for each connected proxy; what each proxy took is held here.

The one rule: level-triggered. Only the newest state counts, and a proxy's standing is what it has not acked of it,
never a sequence of events that must all be seen.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from meshwright.errors import MeshwrightError, UnknownProxyError
from meshwright.graph import Graph, Relation, resolve
from meshwright.model.identity import Key, Kind
from meshwright.model.state import State
from meshwright.snapshot.blame import culprits
from meshwright.snapshot.resources import Loopback, Placement, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from meshwright.store.contract import Head

    Builder: TypeAlias = Callable[[Graph, Key, Placement], Snapshot]
    Clock: TypeAlias = Callable[[], int]
    Push: TypeAlias = Callable[[Snapshot | None], None]

Verdict: TypeAlias = Literal["unconcerned", "acked", "pending", "rejected"]
_Name: TypeAlias = tuple[str, str]

_HISTORY = 512
"""Changes of a snapshot that are remembered by revision; an older one counts by what is outstanding now."""

_BUILD: _Name = ("", "")
"""Stands for the snapshot as a whole where it could not be built."""

_log = logging.getLogger(__name__)


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """A connected Envoy: its own id, the virtual node or gateway it stands for, and where it listens."""

    id: str
    node: Key
    placement: Placement
    envoy_version: str = ""


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """What a proxy refused, in Envoy's words, and the mesh objects that it was made from."""

    type_url: str
    resources: tuple[str, ...]
    origins: tuple[Key, ...]
    message: str
    revision: int
    at: int
    """When, in milliseconds since the epoch, UTC."""


class ProxyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far one proxy is."""

    id: str
    node: Key
    placement: Literal["redirect", "loopback"]
    envoy_version: str
    connected_at: int
    target_revision: int
    acked_revision: int
    """The newest revision up to which the proxy has acked everything that concerns it."""
    state: Literal["synced", "pending", "rejected"]
    rejections: tuple[Rejection, ...] = ()
    gone: bool = False
    """Its virtual node or gateway was deleted: it keeps the last configuration it had."""


class Propagation(msgspec.Struct, frozen=True, kw_only=True):
    """How far one revision has come; proxies by id."""

    revision: int
    state: Literal["no-proxies", "pending", "rejected", "propagated"]
    concerned: tuple[str, ...] = ()
    """The connected proxies whose snapshot the revision changed, or that connected after it."""
    acked: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    rejected: tuple[ProxyStatus, ...] = ()


class Delivery:
    """One connected proxy: what it should hold, and what of that it has not acked. Made by `Control.connect`."""

    def __init__(self, control: Control, group: _Group, proxy: Proxy, push: Push) -> None:
        self.proxy = proxy
        self._control = control
        self._group = group
        self._push = push
        self._since = control.revision
        self._connected_at = control.now()
        self._behind: dict[_Name, int] = dict.fromkeys(_names(group.snapshot), self._since)
        self._rejected: dict[_Name, Rejection] = {}

    @property
    def snapshot(self) -> Snapshot:
        """What the proxy should hold now."""
        return self._group.snapshot

    def report(self, outstanding: Mapping[str, frozenset[str]], refused: Mapping[str, Mapping[str, str]]) -> None:
        """The proxy's standing: by type the names that it has not acked, and its words on those it refused."""
        names = {(url, name) for url, some in outstanding.items() for name in some}
        if self._group.failure:
            names.add(_BUILD)
        self._behind = {name: self._behind.get(name, self._control.revision) for name in names}
        words = {(url, name): message for url, some in refused.items() for name, message in some.items()}
        self._rejected = {name: self._rejection(name, message) for name, message in words.items()}
        self._control.moved(self)

    def offer(self, names: frozenset[_Name], revision: int, *, built: bool) -> None:
        """The snapshot changed in `names` at `revision`."""
        for name in names:
            self._behind.setdefault(name, revision)
            self._rejected.pop(name, None)
        if built:
            self._behind.pop(_BUILD, None)
            self._push(self._group.snapshot)

    def verdict(self, revision: int) -> Verdict:
        """Where the proxy stands on one revision; one older than its connection counts by what it runs."""
        if revision <= max(self._since, self._group.forgotten):
            names = frozenset(self._behind)
        else:
            changed = self._group.changed(revision)
            if changed is None:
                return "unconcerned"
            names = changed.intersection(self._behind)
        late = {name for name in names if self._behind[name] <= max(revision, self._since)}
        if not late:
            return "acked"
        failed = self._group.failure and _BUILD in late
        return "rejected" if failed or late & set(self._rejected) else "pending"

    def status(self) -> ProxyStatus:
        """The proxy's standing as a value."""
        target = self._control.revision
        rejections = self._rejections()
        return ProxyStatus(
            id=self.proxy.id,
            node=self.proxy.node,
            placement="loopback" if isinstance(self.proxy.placement, Loopback) else "redirect",
            envoy_version=self.proxy.envoy_version,
            connected_at=self._connected_at,
            target_revision=target,
            acked_revision=min(self._behind.values(), default=target + 1) - 1,
            state="rejected" if rejections else "pending" if self._behind else "synced",
            rejections=rejections,
            gone=self._group.gone,
        )

    def end(self) -> None:
        """Another stream of the same proxy took this one's place."""
        self._push(None)

    def close(self) -> None:
        """The proxy is gone; may be called twice."""
        self._control.disconnect(self)

    @property
    def group(self) -> _Group:
        """The proxies that hold the same snapshot."""
        return self._group

    def _rejection(self, name: _Name, message: str) -> Rejection:
        known = self._rejected.get(name)
        if known is not None and known.message == message:
            return known
        resource = self._group.snapshot.of(name[0]).get(name[1])
        return Rejection(
            type_url=name[0],
            resources=(name[1],),
            origins=culprits(resource, message) if resource else (),
            message=message,
            revision=self._behind.get(name, self._control.revision),
            at=self._control.now(),
        )

    def _rejections(self) -> tuple[Rejection, ...]:
        """One for each message of each type, with all the resources that it speaks of."""
        merged: dict[tuple[str, str], Rejection] = {}
        for one in sorted(self._rejected.values(), key=lambda found: (found.type_url, found.resources)):
            known = merged.get((one.type_url, one.message))
            if known is not None:
                merged[one.type_url, one.message] = msgspec.structs.replace(
                    known,
                    resources=known.resources + one.resources,
                    origins=tuple(dict.fromkeys(known.origins + one.origins)),
                    revision=min(known.revision, one.revision),
                )
            else:
                merged[one.type_url, one.message] = one
        failure = self._group.failure
        return (*merged.values(), failure) if failure else tuple(merged.values())


class Control:
    """Connects proxies with the newest state. Not for use from more than one thread."""

    def __init__(self, build: Builder, clock: Clock) -> None:
        """`build` makes a proxy's snapshot, `clock` answers with milliseconds since the epoch, UTC."""
        self._build = build
        self._clock = clock
        self._state = State()
        self._graph = resolve(self._state)
        self._groups: dict[tuple[Key, Placement], _Group] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._waiters: set[_Waiter] = set()
        self.revision = 0
        self.running = False
        """Whether a revision was ever published: until then no proxy can be served."""

    def now(self) -> int:
        """Milliseconds since the epoch, UTC."""
        return self._clock()

    def publish(self, head: Head) -> None:
        """From now on `head` is the truth: push to every proxy whose snapshot it changes. An older one is ignored."""
        if head.revision < self.revision:
            return
        self.running = True
        changed = _changed(self._state, head.state)
        self.revision, self._state = head.revision, head.state
        if changed:
            self._graph = resolve(head.state)
            for group in list(self._groups.values()):
                if not changed.isdisjoint(group.reach):
                    self._turn(group)
        for waiter in list(self._waiters):
            waiter.wake()

    def connect(self, proxy: Proxy, push: Push) -> Delivery:
        """A proxy connected; `push` is called with each new snapshot.

        The newest stream of an id takes its place: the older one is pushed None, which means that it is to end.

        Raises:
            UnknownProxyError: its virtual node or gateway does not exist.
            MeshwrightError: its snapshot cannot be built.
        """
        if proxy.node not in self._state:
            raise UnknownProxyError(
                f"there is no {proxy.node.kind.type_name} {proxy.node.path!r} here: create it first, or correct the "
                "node id (an ARN, or a path such as mesh/NAME/virtualNode/NAME) in the Envoy's bootstrap"
            )
        group = self._groups.get((proxy.node, proxy.placement))
        if group is None:
            group = _Group(proxy.node, proxy.placement, reach(self._graph, proxy.node))
            self._turn(group)
            if group.failure:
                raise MeshwrightError(
                    f"the configuration of {proxy.node.path!r} cannot be built now; the log says why"
                )
            self._groups[proxy.node, proxy.placement] = group
        delivery = Delivery(self, group, proxy, push)
        older = self._deliveries.get(proxy.id)
        if older is not None:
            self.disconnect(older)
            older.end()
        self._deliveries[proxy.id] = delivery
        self._groups.setdefault((proxy.node, proxy.placement), group)
        group.members.add(delivery)
        self._waken()
        return delivery

    def disconnect(self, delivery: Delivery) -> None:
        """The proxy of `delivery` is gone."""
        group = delivery.group
        group.members.discard(delivery)
        if not group.members:
            self._groups.pop((group.node, group.placement), None)
        if self._deliveries.get(delivery.proxy.id) is delivery:
            del self._deliveries[delivery.proxy.id]
        self._waken()

    def moved(self, delivery: Delivery) -> None:
        """`delivery` has a new standing: whoever waits for the last one is woken."""
        for waiter in self._waiters:
            if delivery.proxy.id in waiter.pending:
                verdict = delivery.verdict(waiter.revision)
                if verdict != "pending":
                    waiter.pending.discard(delivery.proxy.id)
                if verdict == "rejected" or not waiter.pending:
                    waiter.wake()

    def statuses(self) -> tuple[ProxyStatus, ...]:
        """Every connected proxy, by id."""
        return tuple(self._deliveries[one].status() for one in sorted(self._deliveries))

    def propagation(self, revision: int) -> Propagation:
        """How far `revision` has come."""
        if not self._deliveries:
            return Propagation(revision=revision, state="no-proxies")
        if revision > self.revision:
            return Propagation(revision=revision, state="pending")
        verdicts = {one: self._deliveries[one].verdict(revision) for one in sorted(self._deliveries)}
        pending = tuple(one for one, verdict in verdicts.items() if verdict == "pending")
        rejected = tuple(self._deliveries[one].status() for one, verdict in verdicts.items() if verdict == "rejected")
        return Propagation(
            revision=revision,
            state="rejected" if rejected else "pending" if pending else "propagated",
            concerned=tuple(one for one, verdict in verdicts.items() if verdict != "unconcerned"),
            acked=tuple(one for one, verdict in verdicts.items() if verdict == "acked"),
            pending=pending,
            rejected=rejected,
        )

    async def wait(self, revision: int, timeout: float) -> Propagation:  # noqa: ASYNC109 - the caller gets an answer, not an exception
        """Wait until every proxy that `revision` concerns has it, one rejects it, or `timeout` seconds are over."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            found = self.propagation(revision)
            left = deadline - asyncio.get_running_loop().time()
            if found.state != "pending" or left <= 0:
                return found
            waiter = _Waiter(revision, set(found.pending))
            self._waiters.add(waiter)
            try:
                await asyncio.wait_for(waiter.woken.wait(), left)
            except TimeoutError:
                return self.propagation(revision)
            finally:
                self._waiters.discard(waiter)

    def _waken(self) -> None:
        for waiter in self._waiters:
            waiter.wake()

    def _turn(self, group: _Group) -> None:
        """One turn of the control loop: a new snapshot for one group of proxies; a failure stays with that group."""
        try:
            if group.node not in self._state:
                # An Envoy cannot do anything useful without its node: it keeps what it has.
                group.gone = True
                return
            snapshot = self._build(self._graph, group.node, group.placement)
        except Exception as error:  # noqa: BLE001 - one turn of the control loop: others must go on
            _log.exception("snapshot of %s cannot be built", group.node.path)
            group.fail(f"{type(error).__name__}: {error}", self.revision, self.now())
        else:
            group.renew(snapshot, reach(self._graph, group.node), self.revision)


class _Group:
    """The proxies of one node in one placement: they share a snapshot."""

    def __init__(self, node: Key, placement: Placement, within: frozenset[Key]) -> None:
        self.node = node
        self.placement = placement
        self.reach = within
        self.snapshot = Snapshot(proxy=node, resources={})
        self.members: set[Delivery] = set()
        self.gone = False
        self.failure: Rejection | None = None
        self.forgotten = 0
        self._changes: deque[tuple[int, frozenset[_Name]]] = deque()

    def renew(self, snapshot: Snapshot, within: frozenset[Key], revision: int) -> None:
        names = _difference(self.snapshot, snapshot)
        mended = self.failure is not None
        self.snapshot, self.reach = snapshot, within
        self.gone, self.failure = False, None
        if names or mended:
            self._remember(revision, names)
            for member in self.members:
                member.offer(names, revision, built=True)

    def fail(self, message: str, revision: int, at: int) -> None:
        self.failure = Rejection(
            type_url="", resources=(), origins=(self.node,), message=message, revision=revision, at=at
        )
        self._remember(revision, frozenset({_BUILD}))
        for member in self.members:
            member.offer(frozenset({_BUILD}), revision, built=False)

    def changed(self, revision: int) -> frozenset[_Name] | None:
        """What `revision` changed in the snapshot; None for nothing."""
        for number, names in self._changes:
            if number == revision:
                return names
        return None

    def _remember(self, revision: int, names: frozenset[_Name]) -> None:
        self._changes.append((revision, names))
        if len(self._changes) > _HISTORY:
            self.forgotten = self._changes.popleft()[0]


class _Waiter:
    """One call of `wait`."""

    def __init__(self, revision: int, pending: set[str]) -> None:
        self.revision = revision
        self.pending = pending
        self.woken = asyncio.Event()

    def wake(self) -> None:
        self.woken.set()


def reach(graph: Graph, node: Key) -> frozenset[Key]:
    """Every object that may shape the snapshot of `node`, missing ones that it names included."""
    todo = [node, *graph.entry_services(node)]
    found = {Key.of_mesh(node.mesh), *todo}
    while todo:
        for key in _neighbours(graph, todo.pop()):
            if key not in found:
                found.add(key)
                todo.append(key)
    return frozenset(found)


def _neighbours(graph: Graph, key: Key) -> Iterator[Key]:
    # A called node's own backends are none of the caller's business: nodes are where the walk ends.
    called = (Relation.PROVIDER, Relation.TARGET)
    yield from (edge.target for edge in graph.outgoing(key, *called))
    yield from (child.key for child in graph.children(key) if key.kind is not Kind.MESH)


def _changed(before: State, after: State) -> frozenset[Key]:
    """The objects that differ, and the routers and gateways that they lie in."""
    keys = {one.key for one in before} | {one.key for one in after}
    differing = {key for key in keys if before.get(key) is not after.get(key) and before.get(key) != after.get(key)}
    owners = {key.owner for key in differing if key.kind.parent is not None}
    return frozenset(differing.union(owner for owner in owners if owner is not None))


def _names(snapshot: Snapshot) -> frozenset[_Name]:
    return frozenset((url, name) for url, some in snapshot.resources.items() for name in some)


def _difference(before: Snapshot, after: Snapshot) -> frozenset[_Name]:
    names = _names(before) | _names(after)
    return frozenset((url, name) for url, name in names if _version(before, url, name) != _version(after, url, name))


def _version(snapshot: Snapshot, url: str, name: str) -> str | None:
    resource = snapshot.of(url).get(name)
    return resource.version if resource else None
