"""One connected proxy: what it should hold and what of that it has not acked.

The one rule: level-triggered. A proxy's standing is what it has not acked of the newest snapshot, never a sequence of
events that must all be seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import msgspec

from meshwright.control.absent import Absence
from meshwright.control.group import BUILD, names_of
from meshwright.control.lane import Lane, Name
from meshwright.control.ledger import steps_of
from meshwright.control.standing import Held, Proxy, ProxyStatus
from meshwright.release import Account, Cause, Rejection
from meshwright.snapshot.blame import Culprit, reason, traced
from meshwright.snapshot.resources import CLUSTER, LISTENER, Loopback, Snapshot

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping

    from meshwright.control.group import Group
    from meshwright.control.lane import Push
    from meshwright.control.ledger import Sending, Tracker
    from meshwright.control.loop import Control
    from meshwright.model.identity import Key
    from meshwright.release.evidence import State
    from meshwright.snapshot.resources import EnvoyResource

Verdict: TypeAlias = Literal["unconcerned", "acked", "pending", "rejected"]

_ALONE = frozenset({"", CLUSTER, LISTENER})
"""What a proxy has at most one stream of; "" stands for the one of all types."""
_MOST_ALIKE = 1_000
"""Streams of one other type that a proxy may have; a node of App Mesh has 50 backends."""


class _Again(NamedTuple):
    """Another version of what was rejected."""

    revision: int
    before: str
    """The words of the rejection."""


class Delivery:
    """One connected proxy: what it should hold, and what of that it has not acked, by the word of all its streams."""

    def __init__(self, control: Control, group: Group, proxy: Proxy) -> None:
        self.proxy = proxy
        self._control = control
        self._group = group
        self._since = control.revision
        self._connected_at = control.now()
        self._lanes: tuple[Lane, ...] = ()
        """Its open streams, the newest last."""
        self._all = False
        """Whether it takes whatever it should hold from here: else what it asks for."""
        self._behind: dict[Name, int] = {}
        self._rejected: dict[Name, Rejection] = {}
        self._again: dict[Name, _Again] = {}
        """What it had rejected when another version of it was offered, until it takes one."""
        self.leaving = False
        """Whether the proxy said farewell."""
        self.trackers: set[Tracker] = set()
        """Those that wait for this proxy."""

    @property
    def snapshot(self) -> Snapshot:
        """What the proxy should hold now."""
        return self._group.snapshot

    @property
    def listening(self) -> bool:
        """Whether the proxy has taken every listener that it should hold."""
        return not any(url == LISTENER for url, _ in self._behind)

    def offered(self) -> frozenset[Name]:
        """The type and name of everything that the proxy should hold."""
        return names_of(self._group.snapshot)

    def clock(self) -> tuple[int, int]:
        """The newest revision, and milliseconds since the epoch, UTC."""
        return self._control.revision, self._control.now()

    def join(self, push: Push, only: str) -> Lane:
        """The proxy has one more stream: of the type `only`, or "" for all of them."""
        lane = Lane(self, push, only)
        self._keep((*self._lanes, lane))
        for name in lane.behind:
            self._behind[name] = self._since
        return lane

    def leave(self, lane: Lane) -> None:
        """A stream is over; with the last one the proxy is gone."""
        if self._lanes == (lane,):
            self._control.disconnect(self)
            self._lanes = ()
        elif lane in self._lanes:
            self._keep(tuple(one for one in self._lanes if one is not lane))
            self.stand()

    def absence(self, due: range | None) -> Absence:
        """What is remembered of the proxy while it is away; `due` are the revisions that are not built for it yet."""
        lacking = [*self._behind.values(), *(due or ())[:1]]
        return Absence(self.proxy, self._control.now(), self._since, min(lacking, default=None), self._group.reach)

    def makes_way(self, proxy: Proxy, only: str) -> bool:
        """A newer stream comes, of the type `only`: end those whose place it takes; True where these are all.

        Envoy has one stream for clusters and one for listeners. Of the other types it opens one for each cluster and
        route configuration: which of them is half dead cannot be told, and the oldest goes only where they are many.
        """
        alike = tuple(one for one in self._lanes if one.only == only)
        if proxy != self.proxy or (only in _ALONE and alike == self._lanes):
            return True
        gone = alike if only in _ALONE else alike[: max(0, len(alike) + 1 - _MOST_ALIKE)]
        self._keep(tuple(one for one in self._lanes if one not in gone))
        for lane in gone:
            lane.end()
        return False

    def stand(self) -> None:
        """One of the streams has a new standing, and with it the proxy."""
        names, words = self._words()
        if self.proxy.traits.separate is not None:
            names = names.union(name for name in self.offered() if not self._asks(name))
        if self._group.failure:
            names = names | {BUILD}
        self._behind = {name: self._behind.get(name, self._control.revision) for name in names}
        self._rejected = {name: self._rejection(name, reason(said)) for name, said in words.items()}
        self._again = {name: one for name, one in self._again.items() if name in self._behind}
        self._control.moved(self)

    def offer(self, names: frozenset[Name], revision: int, *, built: bool) -> None:
        """The snapshot changed in `names` at `revision`."""
        for name in self._taken(names):
            self._behind.setdefault(name, revision)
            if (before := self._rejected.pop(name, None)) is not None:
                self._again[name] = _Again(revision, before.message)
        if built:
            self._behind.pop(BUILD, None)
            for lane in self._lanes:
                lane.offer(names)
                lane.push(self._group.snapshot)

    def end(self) -> None:
        """A newer stream took the place of all there are."""
        lanes, self._lanes = self._lanes, ()
        for lane in lanes:
            lane.end()

    def verdict(self, revision: int) -> Verdict:
        """Where the proxy stands on one revision; one older than its connection counts by what it runs."""
        if self._preceded(revision):
            names, due = frozenset(self._behind), self._due(revision)
        else:
            change = self._group.change(revision)
            if change is None:
                return "unconcerned"
            concerning = self._taken(change.names)
            if change.names and not concerning:
                return "unconcerned"
            names, due = concerning.intersection(self._behind), change.revisions[-1]
        late = {name for name in names if self._behind[name] <= due}
        if not late:
            return "acked"
        failed = self._group.failure and BUILD in late
        return "rejected" if failed or late & set(self._rejected) else "pending"

    def account(self, revision: int, verdict: Verdict) -> Account:
        """What the proxy made of a revision that concerns it, on which it stands as `verdict`."""
        change = None if self._preceded(revision) else self._group.change(revision)
        names = self._taken(self.offered() if change is None else change.names - {BUILD})
        due = self._due(revision) if change is None else change.revisions[-1]
        states: dict[Name, State] = {
            name: "acked"
            if self._behind.get(name, due + 1) > due
            else "rejected"
            if name in self._rejected
            else "pending"
            for name in names
        }
        rejections = self._rejections(frozenset(names)) if verdict == "rejected" else ()
        return Account(
            id=self.proxy.id,
            node=self.proxy.node,
            envoy_version=self.proxy.envoy_version,
            state="acked" if verdict == "unconcerned" else verdict,
            steps=steps_of(
                states,
                self.sending,
                self._group.snapshot,
                since=0 if change is None else change.revisions[0],
                at=self._control.now(),
            ),
            rejections=rejections,
        )

    def held(self) -> Iterator[Held]:
        """Every resource that the proxy should hold or is to drop, by type and name, and how far it is with each."""
        offered = self._group.snapshot
        for url, name in sorted((self._taken(self.offered()) | self._behind.keys()) - {BUILD}):
            resource, rejection = offered.of(url).get(name), self._rejected.get((url, name))
            sending = self.sending(url, name)
            if sending is not None and sending.versions[name] != (resource.version if resource is not None else ""):
                sending = None
            sent_at = sending.sent_at if sending is not None else self._connected_at
            at = (sending.settled_at if sending is not None else None) or sent_at
            if (url, name) not in self._behind:
                yield Held(url, name, resource, "synced", at, None)
            elif rejection is not None:
                yield Held(url, name, resource, "error", rejection.at, rejection)
            else:
                yield Held(url, name, resource, "stale" if sending is not None else "not sent", sent_at, None)

    def refuses(self, revision: int, touched: frozenset[Key]) -> bool:
        """Whether the proxy rejects what `revision` brought, which changed the objects `touched`.

        Where the proxy connected afterwards, or took the revision in together with others, it cannot be told from
        what the proxy holds besides; the objects at fault tell. So they do of a resource that it had rejected before,
        and rejects for another reason now.
        """
        if self.verdict(revision) != "rejected":
            return False
        found = self._rejections()
        change = None if self._preceded(revision) else self._group.change(revision)
        if change is None or len(change.revisions) > 1:
            return any(not touched.isdisjoint(one.origins) for one in found)
        return any(one.revision == revision for one in found) or any(
            again.revision == revision and again.before != one.message and not touched.isdisjoint(one.origins)
            for name, one in self._rejected.items()
            if (again := self._again.get(name)) is not None
        )

    def took(self, type_url: str, name: str) -> bool:
        """Whether the proxy has the resource as it should; also where it should have none of that name any more."""
        return (type_url, name) not in self._behind

    def rejects(self, keys: frozenset[Key] | None) -> bool:
        """Whether the proxy rejects something now; with `keys`, for which one of these objects is at fault."""
        return any(keys is None or not keys.isdisjoint(one.origins) for one in self._rejected.values())

    @property
    def state(self) -> Literal["synced", "pending", "rejected"]:
        """How the proxy stands on what it should hold now."""
        return "rejected" if self._rejected or self._group.failure else "pending" if self._behind else "synced"

    def count_behind(self, found: Counter[tuple[str, str]]) -> None:
        """Add to `found`, by type URL and state, the resources that the proxy should hold and does not."""
        for name in self._behind:
            found[name[0], "rejected" if name in self._rejected or name == BUILD else "pending"] += 1

    def status(self) -> ProxyStatus:
        """The proxy's standing as a value."""
        target = self._control.revision
        return ProxyStatus(
            id=self.proxy.id,
            node=self.proxy.node,
            placement="loopback" if isinstance(self.proxy.placement, Loopback) else "redirect",
            envoy_version=self.proxy.envoy_version,
            connected_at=self._connected_at,
            target_revision=target,
            acked_revision=min(self._behind.values(), default=target + 1) - 1,
            state=self.state,
            rejections=self._rejections(),
            gone=self._group.gone,
            unserved=self._group.snapshot.unserved,
            shared_id=self.proxy.shared_id,
        )

    def sending(self, type_url: str, name: str) -> Sending | None:
        """The response that brought a resource last, over any of the streams."""
        found = [one for lane in self._lanes if (one := lane.sending(type_url, name)) is not None]
        return max(found, key=lambda one: one.sent_at) if found else None

    @property
    def group(self) -> Group:
        """The proxies that hold the same snapshot."""
        return self._group

    def _keep(self, lanes: tuple[Lane, ...]) -> None:
        self._lanes = lanes
        self._all = self.proxy.traits.separate is not None or any(not lane.only for lane in lanes)

    def _words(self) -> tuple[set[Name], Mapping[Name, str]]:
        """What the streams have not acked, all together, and what is said of what they refused."""
        if len(self._lanes) == 1:
            return self._lanes[0].behind, self._lanes[0].refused
        names: set[Name] = set()
        words: dict[Name, str] = {}
        own = {one.only for one in self._lanes} - {""}
        for lane in self._lanes:
            # Of a type that has streams of its own, these tell and not the stream of all types.
            mute = set() if lane.only else own
            names.update(name for name in lane.behind if name[0] not in mute)
            words.update((name, said) for name, said in lane.refused.items() if name[0] not in mute)
        return names, words

    def _asks(self, name: Name) -> bool:
        return any(lane.takes(name) for lane in self._lanes)

    def _taken(self, names: frozenset[Name]) -> frozenset[Name]:
        """Those of `names` that the proxy takes from here."""
        return names if self._all else frozenset(name for name in names if name == BUILD or self._asks(name))

    def _preceded(self, revision: int) -> bool:
        """Whether a revision is older than the connection, or than what is remembered of changes."""
        return revision <= max(self._since, self._group.forgotten)

    def _due(self, revision: int) -> int:
        """Up to which revision the proxy must have everything for one that preceded.

        Of what is forgotten it is not known any more what was taken in together with it, nor what it changed.
        """
        return self._since if revision <= self._since else self._group.forgotten

    def _rejection(self, name: Name, message: str) -> Rejection:
        known = self._rejected.get(name)
        if known is not None and known.message == message:
            return known
        resource = self._group.snapshot.of(name[0]).get(name[1])
        revision = self._behind.get(name, self._control.revision)
        found = self._culprits(resource, message, revision) if resource is not None else ()
        return Rejection(
            type_url=name[0],
            resources=(name[1],),
            origins=tuple(dict.fromkeys(one.origin for one in found)),
            message=message,
            revision=revision,
            at=self._control.now(),
            causes=tuple(Cause(key=one.origin, path=one.path) for one in found),
        )

    def _culprits(self, resource: EnvoyResource, message: str, revision: int) -> tuple[Culprit, ...]:
        """What shows itself to be at fault; else what changed since the proxy took the resource; else all of it."""
        found = traced(resource, message, self._control.spec_of)
        if found:
            return found
        changed = self._control.changed_since(revision) if revision > self._since else frozenset()
        suspects = [key for key in resource.origins if key in changed] or resource.origins
        return tuple(Culprit(key, "") for key in suspects)

    def _rejections(self, names: frozenset[Name] | None = None) -> tuple[Rejection, ...]:
        """One for each message of each type, with all the resources that it speaks of; of `names` only, if given."""
        merged: dict[tuple[str, str], Rejection] = {}
        some = [one for name, one in self._rejected.items() if names is None or name in names]
        for one in sorted(some, key=lambda found: (found.type_url, found.resources)):
            known = merged.get((one.type_url, one.message))
            if known is not None:
                merged[one.type_url, one.message] = msgspec.structs.replace(
                    known,
                    resources=known.resources + one.resources,
                    origins=tuple(dict.fromkeys(known.origins + one.origins)),
                    causes=tuple(dict.fromkeys(known.causes + one.causes)),
                    revision=min(known.revision, one.revision),
                )
            else:
                merged[one.type_url, one.message] = one
        failure = self._group.failure
        return (*merged.values(), failure) if failure else tuple(merged.values())
