"""What was sent to one proxy and what it said to it, resource by resource; and what proxies made of one revision.

The one rule: small whatever happens. A proxy has one entry a resource that it holds, a followed revision one a proxy,
and a response is one value however many resources it carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.release import Account, Rejection, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from meshwright.control.delivery import Delivery, Verdict
    from meshwright.release.evidence import State
    from meshwright.snapshot.resources import Snapshot

MOST_ACCOUNTS = 5_000
"""Proxies of which the evidence of one release is kept; those beyond it are not told one by one."""
MOST_REJECTIONS = 20
"""Rejections of one proxy that are kept in the evidence of a release."""
LONGEST_MESSAGE = 2_000
"""Characters of Envoy's words that are kept there."""


class Sending:
    """One response on its way to one proxy, or arrived there."""

    __slots__ = ("accepted", "revision", "sent_at", "settled_at", "versions")

    def __init__(self, versions: dict[str, str], revision: int, sent_at: int) -> None:
        self.versions = versions
        """What it carries, by name; "" for what it removes."""
        self.revision = revision
        """The newest one when it was sent."""
        self.sent_at = sent_at
        self.settled_at: int | None = None
        self.accepted = False


class Sendings:
    """For each resource that one proxy was sent on this stream, the response that brought it."""

    def __init__(self) -> None:
        self._latest: dict[str, dict[str, Sending]] = {}
        self._flying: dict[str, Sending] = {}
        self._removed: set[tuple[str, str]] = set()

    def sent(
        self, type_url: str, versions: dict[str, str], removed: Iterable[str] | None, *, revision: int, at: int
    ) -> None:
        """A response of a type went out; what it only repeats keeps the response that brought it first.

        `removed` is None where the response is the whole set, and what is not in it is thereby removed.
        """
        latest = self._latest.setdefault(type_url, {})
        for name in latest.keys() - versions.keys() if removed is None else removed:
            if name in latest:  # else it is only told that there is no such thing
                versions[name] = ""
                self._removed.add((type_url, name))
        sending = self._flying[type_url] = Sending(versions, revision, at)
        for name, version in versions.items():
            known = latest.get(name)
            if known is None or not known.accepted or known.versions[name] != version:
                latest[name] = sending

    def settled(self, type_url: str, at: int, *, accepted: bool) -> None:
        """The proxy took or refused the response of that type that is on its way."""
        sending = self._flying.pop(type_url, None)
        if sending is not None:
            sending.settled_at, sending.accepted = at, accepted

    def of(self, type_url: str, name: str) -> Sending | None:
        """The response that brought a resource last."""
        return self._latest.get(type_url, {}).get(name)

    def forget_removed(self) -> None:
        """Forget what the proxy has dropped."""
        if not self._removed:
            return
        removed, self._removed = self._removed, set()
        for type_url, name in removed:
            sending = self.of(type_url, name)
            if sending is not None and not sending.versions[name]:
                if sending.accepted:
                    del self._latest[type_url][name]
                else:
                    self._removed.add((type_url, name))


class Tracker:
    """What proxies make of one revision, from when it is followed until it is not; made by `Control.track`."""

    def __init__(self, revision: int, mesh: str, known: Iterable[Account], told: Callable[[], None]) -> None:
        self.revision = revision
        self.mesh = mesh
        self._accounts = {one.id: one for one in known}
        self._open: set[Delivery] = set()
        """Those whose account is not closed: it is made when it is asked for."""
        self._only: frozenset[str] | None = None
        """The ids of those who are still followed; None for everybody."""
        self._told = told

    @property
    def accounts(self) -> tuple[Account, ...]:
        """One a proxy that the revision concerns."""
        for delivery in self._open:
            self._keep(delivery, delivery.verdict(self.revision))
        return tuple(self._accounts.values())

    @property
    def waits(self) -> bool:
        """Whether one that is followed has not taken it yet; of everybody, one that is connected."""
        return bool(self._open) or any(self._is_pending(one) for one in self._only or ())

    def narrow(self) -> None:
        """Follow nobody from now on but those who are on the way, whether they are connected or not."""
        self._only = frozenset(one.id for one in self.accounts if one.state == "pending")
        self._only |= {one.proxy.id for one in self._open}

    def look(self, delivery: Delivery) -> None:
        """`delivery` is new, or moved, or built for; one of another mesh has nothing to do with it."""
        if delivery.proxy.node.mesh != self.mesh or not (self._only is None or delivery.proxy.id in self._only):
            return
        verdict = delivery.verdict(self.revision)
        if verdict in {"pending", "rejected"}:
            self._open.add(delivery)
            delivery.trackers.add(self)
        else:
            self._open.discard(delivery)
            delivery.trackers.discard(self)
        if verdict in {"acked", "rejected"}:
            self._keep(delivery, verdict)
        self._told()

    def leave(self, delivery: Delivery) -> None:
        """The proxy of `delivery` is gone: its account stays as it is, until it comes back."""
        if delivery in self._open:
            self._keep(delivery, delivery.verdict(self.revision))
            self._open.discard(delivery)
            delivery.trackers.discard(self)
            self._told()

    def end(self) -> None:
        """Follow no longer."""
        for delivery in self._open:
            delivery.trackers.discard(self)
        self._open.clear()

    def _is_pending(self, proxy: str) -> bool:
        known = self._accounts.get(proxy)
        return known is not None and known.state == "pending"

    def _keep(self, delivery: Delivery, verdict: Verdict) -> None:
        known = self._accounts.get(delivery.proxy.id)
        if known is None and len(self._accounts) >= MOST_ACCOUNTS:
            return
        if verdict == "unconcerned" or (verdict == "acked" and known is not None and known.state == "acked"):
            return  # one that comes back with what it took has nothing to add
        found = delivery.account(self.revision, verdict)
        if known is not None and known.rejections != found.rejections:
            found = msgspec.structs.replace(found, rejections=_merged(known.rejections, found.rejections))
        self._accounts[found.id] = found


def _merged(known: tuple[Rejection, ...], newer: tuple[Rejection, ...]) -> tuple[Rejection, ...]:
    """Both, each once; Envoy's words are cut, and of very many the first are kept."""
    cut = [msgspec.structs.replace(one, message=one.message[:LONGEST_MESSAGE]) for one in newer]
    told = {(one.type_url, one.resources, one.message) for one in known}
    more = [one for one in cut if (one.type_url, one.resources, one.message) not in told]
    return (*known, *more)[:MOST_REJECTIONS]


def steps_of(
    names: Mapping[tuple[str, str], State],
    sent: Callable[[str, str], Sending | None],
    offered: Snapshot,
    *,
    since: int,
    at: int,
) -> tuple[Step, ...]:
    """`names`, a type and a name each, that changed at revision `since`, by the responses that brought them.

    `sent` answers with the response that brought a resource last. `at` is when what was not sent on an open stream
    is known to be there.
    """
    found: dict[tuple[str, int, State], Step] = {}
    for (url, name), state in sorted(names.items()):
        resource = offered.of(url).get(name)
        version = resource.version if resource is not None else ""
        sending = sent(url, name)
        if sending is not None and (sending.revision < since or (not version and sending.versions[name])):
            sending = None  # that was before: this change still is to be sent, or went without a word
        place = (url, id(sending), state)
        if place not in found:
            found[place] = _step(url, state, sending, at)
        found[place].resources[name] = sending.versions[name] if sending is not None else version
    return tuple(found.values())


def _step(url: str, state: State, sending: Sending | None, at: int) -> Step:
    settled = None if state == "pending" else sending.settled_at if sending is not None else at
    return Step(
        type_url=url,
        resources={},
        state=state,
        sent_at=sending.sent_at if sending is not None else None,
        settled_at=settled,
    )
