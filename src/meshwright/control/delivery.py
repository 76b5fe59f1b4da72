"""One connected proxy: what it should hold and what of that it has not acked.

The one rule: level-triggered. A proxy's standing is what it has not acked of the newest snapshot, never a sequence of
events that must all be seen.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import msgspec

from meshwright.control.ledger import Sendings, Tracker, steps_of
from meshwright.control.standing import Held, Proxy, ProxyStatus
from meshwright.release import Account, Cause, Rejection
from meshwright.snapshot.blame import Culprit, reason, traced
from meshwright.snapshot.resources import LISTENER, Loopback, Snapshot

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from meshwright.control.loop import Control
    from meshwright.model.identity import Key
    from meshwright.release.evidence import State
    from meshwright.snapshot.resources import EnvoyResource

    Push: TypeAlias = Callable[[Snapshot | None], None]

Verdict: TypeAlias = Literal["unconcerned", "acked", "pending", "rejected"]
_Name: TypeAlias = tuple[str, str]

_HISTORY = 512
"""Changes of a snapshot that are remembered by revision; an older one counts by what is outstanding now."""

_BUILD: _Name = ("", "")
"""Stands for the snapshot as a whole where it could not be built."""


class Delivery:
    """One connected proxy: what it should hold, and what of that it has not acked. Made by `Control.connect`."""

    def __init__(self, control: Control, group: Group, proxy: Proxy, push: Push) -> None:
        self.proxy = proxy
        self._control = control
        self._group = group
        self._push = push
        self._since = control.revision
        self._connected_at = control.now()
        self._behind: dict[_Name, int] = dict.fromkeys(_names(group.snapshot), self._since)
        self._rejected: dict[_Name, Rejection] = {}
        self._sendings = Sendings()
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

    def report(self, outstanding: Mapping[str, frozenset[str]], refused: Mapping[str, Mapping[str, str]]) -> None:
        """The proxy's standing: by type the names that it has not acked, and its words on those it refused."""
        names = {(url, name) for url, some in outstanding.items() for name in some}
        if self._group.failure:
            names.add(_BUILD)
        self._behind = {name: self._behind.get(name, self._control.revision) for name in names}
        words = {(url, name): reason(message) for url, some in refused.items() for name, message in some.items()}
        self._rejected = {name: self._rejection(name, message) for name, message in words.items()}
        self._control.moved(self)

    def sent(self, type_url: str, resources: Iterable[EnvoyResource], removed: Iterable[str] | None) -> None:
        """A response of a type goes out to the proxy; `removed` is None where what is not in it is removed."""
        versions = {one.name: one.version for one in resources}
        control = self._control
        self._sendings.sent(type_url, versions, removed, revision=control.revision, at=control.now())

    def settled(self, type_url: str, *, accepted: bool) -> None:
        """The proxy took or refused the response of that type that is on its way."""
        self._sendings.settled(type_url, self._control.now(), accepted=accepted)

    def offer(self, names: frozenset[_Name], revision: int, *, built: bool) -> None:
        """The snapshot changed in `names` at `revision`."""
        self._sendings.forget_removed()
        for name in names:
            self._behind.setdefault(name, revision)
            self._rejected.pop(name, None)
        if built:
            self._behind.pop(_BUILD, None)
            self._push(self._group.snapshot)

    def verdict(self, revision: int) -> Verdict:
        """Where the proxy stands on one revision; one older than its connection counts by what it runs."""
        if self._preceded(revision):
            names, due = frozenset(self._behind), self._since
        else:
            change = self._group.change(revision)
            if change is None:
                return "unconcerned"
            names, due = change.names.intersection(self._behind), change.revisions[-1]
        late = {name for name in names if self._behind[name] <= due}
        if not late:
            return "acked"
        failed = self._group.failure and _BUILD in late
        return "rejected" if failed or late & set(self._rejected) else "pending"

    def account(self, revision: int, verdict: Verdict) -> Account:
        """What the proxy made of a revision that concerns it, on which it stands as `verdict`."""
        change = None if self._preceded(revision) else self._group.change(revision)
        names = _names(self._group.snapshot) if change is None else change.names - {_BUILD}
        due = max(revision, self._since) if change is None else change.revisions[-1]
        states: dict[_Name, State] = {
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
                self._sendings,
                self._group.snapshot,
                since=0 if change is None else change.revisions[0],
                at=self._control.now(),
            ),
            rejections=rejections,
        )

    def held(self) -> Iterator[Held]:
        """Every resource that the proxy should hold or is to drop, by type and name, and how far it is with each."""
        offered = self._group.snapshot
        for url, name in sorted((_names(offered) | self._behind.keys()) - {_BUILD}):
            resource, rejection = offered.of(url).get(name), self._rejected.get((url, name))
            sending = self._sendings.of(url, name)
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
        what the proxy holds besides; the objects at fault tell.
        """
        if self.verdict(revision) != "rejected":
            return False
        found = self._rejections()
        change = None if self._preceded(revision) else self._group.change(revision)
        if change is None or len(change.revisions) > 1:
            return any(not touched.isdisjoint(one.origins) for one in found)
        return any(one.revision == revision for one in found)

    @property
    def state(self) -> Literal["synced", "pending", "rejected"]:
        """How the proxy stands on what it should hold now."""
        return "rejected" if self._rejected or self._group.failure else "pending" if self._behind else "synced"

    def count_behind(self, found: Counter[tuple[str, str]]) -> None:
        """Add to `found`, by type URL and state, the resources that the proxy should hold and does not."""
        for name in self._behind:
            found[name[0], "rejected" if name in self._rejected or name == _BUILD else "pending"] += 1

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
        )

    def end(self) -> None:
        """Another stream of the same proxy took this one's place."""
        self._push(None)

    def close(self) -> None:
        """The proxy is gone; may be called twice."""
        self._control.disconnect(self)

    @property
    def group(self) -> Group:
        """The proxies that hold the same snapshot."""
        return self._group

    def _preceded(self, revision: int) -> bool:
        """Whether a revision is older than the connection, or than what is remembered of changes."""
        return revision <= max(self._since, self._group.forgotten)

    def _rejection(self, name: _Name, message: str) -> Rejection:
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

    def _rejections(self, names: frozenset[_Name] | None = None) -> tuple[Rejection, ...]:
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


class Change(NamedTuple):
    """What revisions that were taken in together changed in a snapshot."""

    revisions: range
    names: frozenset[_Name]


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
        self._changes: deque[Change] = deque()

    @property
    def changes_at(self) -> int | None:
        """When it is to be built again because time alone changes it; None for never."""
        return None if self.gone or self.failure else self.snapshot.changes_at

    def renew(self, snapshot: Snapshot, within: frozenset[Key], revisions: range, *, recorded: bool = True) -> None:
        """There is a new snapshot, of `revisions` taken in together: offer it to every member if it differs.

        Not `recorded`, it is no part of them: endpoints come and go between two revisions, and what has an end
        ends; whoever has not acked that yet is behind on the next one at most.
        """
        snapshot = snapshot.sharing(self.snapshot)
        names = _difference(self.snapshot, snapshot)
        mended = self.failure is not None
        self.snapshot, self.reach = snapshot, within
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
        self._remember(revisions, frozenset({_BUILD}))
        for member in self.members:
            member.offer(frozenset({_BUILD}), revision, built=False)

    def change(self, revision: int) -> Change | None:
        """What `revision` changed in the snapshot, with those taken in together with it; None for nothing."""
        return next((one for one in reversed(self._changes) if revision in one.revisions), None)

    def _remember(self, revisions: range, names: frozenset[_Name]) -> None:
        self._changes.append(Change(revisions, names))
        if len(self._changes) > _HISTORY:
            self.forgotten = self._changes.popleft().revisions[-1]


def _names(snapshot: Snapshot) -> frozenset[_Name]:
    return frozenset((url, name) for url, some in snapshot.resources.items() for name in some)


def _difference(before: Snapshot, after: Snapshot) -> frozenset[_Name]:
    found: set[_Name] = set()
    for url in {**before.resources, **after.resources}:
        old, new = before.of(url), after.of(url)
        if old is not new:
            found.update((url, name) for name in {**old, **new} if _version(old, name) != _version(new, name))
    return frozenset(found)


def _version(named: Mapping[str, EnvoyResource], name: str) -> str | None:
    resource = named.get(name)
    return resource.version if resource else None
