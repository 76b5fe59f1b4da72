"""The control loop: from the newest revision to a snapshot for each group of proxies that it concerns.

The one rule: level-triggered. Only the newest state counts, and a failure for one proxy stops no other.

One group of proxies is built for after the other, and what it is pushed leaves before the next: twenty Envoys work on
what they got while the server still builds. Whoever asks how proxies stand has the rest built first. What a commit
will change is built while the disk is waited for (`foresee`), as far as there is time.

The class is long, because whom a change concerns, what they were sent and who waits for it change together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, TypeAlias

from meshwright.control.absent import Absent
from meshwright.control.delivery import Delivery
from meshwright.control.easing import Easing
from meshwright.control.foreseen import Foreseen
from meshwright.control.group import Group
from meshwright.control.ledger import Tracker
from meshwright.control.newest import Newest
from meshwright.control.pacing import at_once
from meshwright.control.propagating import Waiter, propagation
from meshwright.control.standing import Standing
from meshwright.errors import MeshwrightError, UnknownProxyError
from meshwright.snapshot.reaching import reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from meshwright.control.group import Renewal
    from meshwright.control.lane import Lane, Push
    from meshwright.control.pacing import Pace
    from meshwright.control.standing import Propagation, Proxy, ProxyStatus
    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.model.state import Spec, State
    from meshwright.release import Account, Rejection
    from meshwright.snapshot.resources import Placement, Snapshot, Traits
    from meshwright.store.contract import Head

    Builder: TypeAlias = Callable[[Graph, Key, Placement, Traits, int], Snapshot]
    Clock: TypeAlias = Callable[[], int]

_LONGEST_REST = 60.0
"""Seconds after which the clock is looked at again: it may have been set."""

_log = logging.getLogger(__name__)


class Control:
    """Connects proxies with the newest state. Not for use from more than one thread."""

    def __init__(self, build: Builder, clock: Clock, pace: Pace = at_once, *, away_seconds: float = 0) -> None:
        """`build` makes the snapshot that a proxy should hold at a moment.

        `clock` answers with milliseconds since the epoch, UTC. `pace` says when what was published is taken in. A
        proxy that left without a farewell is waited for `away_seconds` long.
        """
        self._build = build
        self._clock = clock
        self._pace = pace
        self._newest = Newest()
        self._foreseen = Foreseen()
        self._easing = Easing(lambda: self._pace(self._turn))
        """Who is to hear that instances came or went."""
        self._groups: dict[tuple[Key, Placement, Traits], Group] = {}
        self._due: OrderedDict[Group, range | None] = OrderedDict()
        """The groups to build for, each with the revisions that it is of; None where it is of none."""
        self._unfinished = range(0)
        """The revisions that were taken in and may not be built for all yet."""
        self._deliveries: dict[str, Delivery] = {}
        self._absent = Absent(clock, away_seconds)
        self._waiters: set[Waiter] = set()
        self._rescheduled = asyncio.Event()
        self._trackers: set[Tracker] = set()
        self.running = False
        """Whether a revision was ever published: until then no proxy can be served."""

    def now(self) -> int:
        """Milliseconds since the epoch, UTC."""
        return self._clock()

    def snapshot_of(self, proxy: str) -> Snapshot | None:
        """What the connected proxy of that id should hold; None where there is none."""
        found = self._deliveries.get(proxy)
        return found.snapshot if found is not None else None

    def snapshot_at(self, node: Key) -> Snapshot | None:
        """What one of the connected proxies of `node` should hold, whichever it is; None where there is none."""
        return next((group.snapshot for (of, _, _), group in self._groups.items() if of == node), None)

    def spec_of(self, key: Key) -> Spec | None:
        """The spec of an object as it is now; None for one that there is not."""
        self._take_in()
        found = self._newest.state.get(key)
        return found.spec if found is not None else None

    def changed_since(self, revision: int) -> frozenset[Key]:
        """The objects that `revision` and later ones changed, as far as that is remembered."""
        self._take_in()
        return self._newest.changed_since(revision)

    def publish(self, head: Head, touched: Iterable[Key] | None = None) -> None:
        """From now on `head` is the truth: push to every proxy whose snapshot it changes. An older one is ignored.

        Several heads may be taken in together, as `pace` says. Whoever asks for anything sees the newest.
        `touched` are the objects that may differ from the head that was published before, where that is known: to
        find them in a mesh of 2,000 objects took 30 µs of each of 32 writes that were committed together.
        """
        if self._newest.publish(head, touched):
            self.running = True
            self._pace(self._turn)

    def foresee(self, head: Head, touched: Iterable[Key]) -> Iterator[None]:
        """Build what `head` will change, which differs in `touched` from the newest, a step for each group.

        It is being made durable: until it is published nobody hears of it, and if it never is nobody ever does.
        """
        found = self._newest.foresee(head, touched)
        if found is None:
            return
        self._foreseen = foreseen = Foreseen(found.graph)
        for group in tuple(self._groups.values()):
            if not found.changed.isdisjoint(group.reach) and group.node in head.state:
                built = self._built(group, found.graph)
                if not isinstance(built, Exception):  # else it fails in its turn
                    foreseen.keep(group, built)
                yield

    def _turn(self) -> Iterator[None]:
        """One turn of the control loop: a step for each group that what was published concerns."""
        self._take_in()
        while self._due:
            self._build_for(*self._due.popitem(last=False))
            yield
        if self._unfinished:
            self._unfinished = range(0)
            self._foreseen = Foreseen()
            self._waken()

    def _catch_up(self) -> None:
        """Take in what was published, and where instances are now, for everybody."""
        for _ in self._turn():
            pass

    def _take_in(self) -> None:
        """Find out whom it concerns; what they should hold is built in the steps of a turn."""
        changed, newest = self._newest.take_in(), self._newest.revisions
        if changed is not None:
            self._unfinished = range((self._unfinished or newest).start, newest.stop)
            self._concern(changed, newest)
        for group in self._easing.due(self._groups.values()):
            self._due.setdefault(group)

    def _concern(self, changed: frozenset[Key], revisions: range) -> None:
        """Have built anew for whoever may reach what changed at `revisions`, which join those not yet built."""
        for group in self._groups.values():
            if not changed.isdisjoint(group.reach):
                known = self._due.get(group)
                self._due[group] = range(known.start, revisions.stop) if known else revisions
        self._absent.concern(changed, revisions.start)

    def refresh(self, nodes: Iterable[Key]) -> None:
        """The endpoints of `nodes` changed: push what this changes to every proxy that may call them.

        No revision is behind it: what a proxy has of the newest one stays as it is. A thousand instances that start
        together are taken in together, as `pace` says, and those that start one after the other ever more of them.
        """
        self._foreseen = Foreseen()
        self._easing.note(nodes)
        self._pace(self._turn)

    def connect(self, proxy: Proxy, push: Push, only: str = "") -> Lane:
        """A proxy opened a stream, of the type `only` or "" for all; `push` is called with each new snapshot.

        The newest stream of an id takes the place of the older one of its kind, and of all of them where the proxy
        says other things of itself: the older one is pushed None, which means that it is to end.

        Raises:
            UnknownProxyError: its virtual node or gateway does not exist.
            MeshwrightError: its snapshot cannot be built.
        """
        self._take_in()
        if proxy.node not in self.state:
            raise UnknownProxyError(
                f"there is no {proxy.node.kind.type_name} {proxy.node.path!r} here: create it first, or correct the "
                "node id (an ARN, or a path such as mesh/NAME/virtualNode/NAME) in the Envoy's bootstrap"
            )
        group = self._group_of(proxy)
        delivery = self._deliveries.get(proxy.id)
        if delivery is not None and delivery.makes_way(proxy, only):
            self.disconnect(delivery)
            delivery.end()
            delivery = None
        if delivery is None:
            delivery = self._deliveries[proxy.id] = Delivery(self, group, proxy)
            self._absent.came(proxy)
            self._groups.setdefault((proxy.node, proxy.placement, proxy.traits), group)
            group.members.add(delivery)
        lane = delivery.join(push, only)
        for tracker in self._trackers:
            tracker.look(delivery)
        self._waken()
        return lane

    def _group_of(self, proxy: Proxy) -> Group:
        """Those that hold the same snapshot; it is built for the first of them.

        Raises:
            MeshwrightError: it cannot be built.
        """
        alike = (proxy.node, proxy.placement, proxy.traits)
        group = self._groups.get(alike)
        if group is None:
            group = Group(proxy, reach(self.graph, proxy.node))
            self._build_for(group, self._newest.revisions)
            if group.failure:
                raise MeshwrightError(
                    f"the configuration of {proxy.node.path!r} cannot be built now; the log says why"
                )
            self._groups[alike] = group
        elif group in self._due:
            self._build_for(group, self._due.pop(group))
        return group

    def disconnect(self, delivery: Delivery) -> None:
        """The proxy of `delivery` is gone."""
        if not delivery.leaving:
            self._absent.left(delivery.absence(self._due.get(delivery.group)))
        for tracker in tuple(delivery.trackers):
            tracker.leave(delivery)
        group = delivery.group
        group.members.discard(delivery)
        if not group.members:
            self._groups.pop((group.node, group.placement, group.traits), None)
            self._due.pop(group, None)
        if self._deliveries.get(delivery.proxy.id) is delivery:
            del self._deliveries[delivery.proxy.id]
        self._waken()

    def take_leave(self, proxy: str) -> None:
        """The proxy of that id said farewell: once it is gone nobody waits for it to come back."""
        delivery = self._deliveries.get(proxy)
        if delivery is not None:
            delivery.leaving = True
        self._absent.gone(proxy)
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
        for tracker in tuple(delivery.trackers):
            tracker.look(delivery)

    def track(self, revision: int, mesh: str, known: Iterable[Account], told: Callable[[], None]) -> Tracker:
        """Follow what the proxies of `mesh` make of `revision`; `known` is what was seen of it before.

        `told` is called whenever there may be something new to see; `untrack` ends it.
        """
        tracker = Tracker(revision, mesh, known, told)
        self._trackers.add(tracker)
        for delivery in self._deliveries.values() if revision <= self.revision else ():
            tracker.look(delivery)  # at others once they are built for
        return tracker

    def untrack(self, tracker: Tracker) -> None:
        """Follow no longer."""
        self._trackers.discard(tracker)
        tracker.end()

    def accounts(self, revision: int, mesh: str = "") -> tuple[Account, ...]:
        """What each connected proxy that `revision` concerns made of it, by id; of a newer one where it took that."""
        self._catch_up()
        found = ((one, one.verdict(revision)) for _, one in sorted(self._deliveries.items()))
        return tuple(
            one.account(revision, verdict)
            for one, verdict in found
            if verdict != "unconcerned" and mesh in {"", one.proxy.node.mesh}
        )

    def refused(self, revision: int, mesh: str, touched: frozenset[Key]) -> bool:
        """Whether a proxy of `mesh` rejects what `revision` brought, which changed the objects `touched`."""
        self._catch_up()
        return any(one.refuses(revision, touched) for one in self._deliveries.values() if one.proxy.node.mesh == mesh)

    def took(self, proxy: str, rejection: Rejection) -> bool:
        """Whether the connected proxy of that id has taken what it once rejected, as it is now."""
        self._catch_up()
        found = self._deliveries.get(proxy)
        return found is not None and all(found.took(rejection.type_url, name) for name in rejection.resources)

    def rejects(self, mesh: str, keys: frozenset[Key] | None = None) -> bool:
        """Whether a proxy of `mesh` rejects something; with `keys`, for which one of these objects is at fault."""
        self._catch_up()
        return any(True for _ in self._rejecting(mesh, keys))

    def rejecting(self, mesh: str, keys: frozenset[Key]) -> tuple[ProxyStatus, ...]:
        """The proxies of `mesh` that reject something for which one of these objects is at fault."""
        self._catch_up()
        return tuple(sorted((one.status() for one in self._rejecting(mesh, keys)), key=lambda one: one.id))

    def _rejecting(self, mesh: str, keys: frozenset[Key] | None) -> Iterator[Delivery]:
        return (one for one in self._deliveries.values() if one.proxy.node.mesh == mesh and one.rejects(keys))

    def pass_time(self) -> int | None:
        """Build again what time has changed; the moment at which that is next due, None for never."""
        self._take_in()
        for group in list(self._groups.values()):
            if group.changes_at is not None and group.changes_at <= self.now():
                self._build_for(group, self._due.pop(group, None))
        return min((one.changes_at for one in self._groups.values() if one.changes_at is not None), default=None)

    async def keep_time(self) -> None:
        """Build again what time changes, when it does, until cancelled."""
        while True:
            self._rescheduled.clear()
            due = self.pass_time()
            rest = None if due is None else min(max(due - self.now(), 1) / 1000, _LONGEST_REST)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):  # `wait_for` may lose a cancellation
                    await self._rescheduled.wait()

    def statuses(self) -> tuple[ProxyStatus, ...]:
        """Every connected proxy, by id."""
        self._catch_up()
        return tuple(self._deliveries[one].status() for one in sorted(self._deliveries))

    @property
    def connected(self) -> int:
        """How many proxies are connected."""
        return len(self._deliveries)

    def standing(self) -> Standing:
        """How all connected proxies stand, in numbers."""
        self._catch_up()
        behind: Counter[tuple[str, str]] = Counter()
        for one in self._deliveries.values():
            one.count_behind(behind)
        return Standing(proxies=Counter(one.state for one in self._deliveries.values()), resources=behind)

    def delivery(self, proxy_id: str) -> Delivery | None:
        """One connected proxy."""
        self._catch_up()
        return self._deliveries.get(proxy_id)

    def propagation(self, revision: int, mesh: str = "") -> Propagation:
        """How far `revision` has come; with `mesh`, among its proxies only: those of others say nothing about it."""
        self._catch_up()
        return self._propagation(revision, mesh)

    def _propagation(self, revision: int, mesh: str) -> Propagation:
        deliveries = {one: it for one, it in self._deliveries.items() if mesh in {"", it.proxy.node.mesh}}
        absent = self._absent.lacking(revision, mesh, self.state)
        built = self._unfinished.start - 1 if self._unfinished else self.revision
        return propagation(revision, deliveries, absent, decided=revision <= built)

    async def wait(self, revision: int, timeout: float, mesh: str = "") -> Propagation:  # noqa: ASYNC109 - the caller gets an answer, not an exception
        """Wait until every proxy that `revision` concerns has it, one rejects it, or `timeout` seconds are over.

        Who waits has nothing built sooner than its turn would.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            found = self._propagation(revision, mesh)
            left = deadline - asyncio.get_running_loop().time()
            if found.state != "pending":
                return found
            if left <= 0:
                return self.propagation(revision, mesh)
            waiter = Waiter(revision, set(found.pending))
            self._waiters.add(waiter)
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(waiter.woken.wait(), min(left, self._absent.rest()))
            finally:
                self._waiters.discard(waiter)

    @property
    def state(self) -> State:
        """The newest state."""
        return self._newest.state

    @property
    def revision(self) -> int:
        """The newest revision."""
        return self._newest.revision

    @property
    def graph(self) -> Graph:
        """The newest state's graph."""
        return self._newest.graph

    def _waken(self) -> None:
        for waiter in self._waiters:
            waiter.wake()

    def _build_for(self, group: Group, revisions: range | None) -> None:
        """A new snapshot for one group of proxies; a failure stays with that group.

        It is recorded as what `revisions` changed, or else belongs to none.
        """
        of = revisions or self._newest.revisions
        if group.node not in self.state:
            # An Envoy cannot do anything useful without its node: it keeps what it has.
            group.gone = True
        else:
            built = self._foreseen.take(group, self.graph, self.now()) or self._built(group)
            if isinstance(built, Exception):
                _log.error("snapshot of %s cannot be built", group.node.path, exc_info=built)
                within = reach(self.graph, group.node)
                group.fail(f"{type(built).__name__}: {built}", within, of, self.now())
            else:
                group.renew(built, of, recorded=revisions is not None)
                if group.snapshot.changes_at is not None:
                    self._rescheduled.set()
        for tracker in self._trackers:
            for member in group.members if tracker.revision in of else ():
                tracker.look(member)

    def _built(self, group: Group, graph: Graph | None = None) -> Renewal | Exception:
        """What the group should hold by `graph`, which is the newest one if it is not given, or why it cannot be."""
        try:
            of = graph or self.graph
            snapshot = self._build(of, group.node, group.placement, group.traits, self.now())
        except Exception as error:  # noqa: BLE001 - one turn of the control loop: others must go on
            return error
        return group.compared(snapshot, reach(of, group.node))
