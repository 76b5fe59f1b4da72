"""What one client wants of one resource type, what it has, and what is on its way.

The one rule: a client's copy counts as known only from its own word, an ack or the versions it names on connecting.
The class is long, because what a client wants, has and is on its way to get decide about each other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from meshwright.snapshot.resources import CLUSTER, LISTENER, EnvoyResource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

WHOLE_TYPES = frozenset({CLUSTER, LISTENER})
"""Types that a wildcard covers; in state of the world a response of these is the whole set.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return
"""

_UNSURE = ""
"""The version of a resource whose last response was refused: the client may have the old one or half of the new."""


class Refusal(msgspec.Struct, frozen=True):
    """A version that the client refused, and its words."""

    version: str
    message: str


class Flight(msgspec.Struct, frozen=True, kw_only=True):
    """A response that was sent and not yet acked or nacked."""

    nonce: str
    resources: tuple[EnvoyResource, ...] = ()
    removed: tuple[str, ...] = ()


class _Lack(msgspec.Struct, frozen=True, kw_only=True):
    """What a client lacks of one type, worked out once for as long as nothing happens to the subscription."""

    updates: Sequence[EnvoyResource]
    removals: Sequence[str]
    absences: Sequence[str]
    outstanding: frozenset[str]
    speaks: bool
    """Whether there are updates or absences."""


_NOTHING = _Lack(updates=(), removals=(), absences=(), outstanding=frozenset(), speaks=False)


class Subscription:
    """One type on one stream. `whole` says that each response must be the whole set."""

    def __init__(self, type_url: str, offered: Mapping[str, EnvoyResource], *, delta: bool) -> None:
        """`offered` is what the client should hold of the type, until `renew` says otherwise."""
        self.type_url = type_url
        self.offered = offered
        self.delta = delta
        self.whole = not delta and type_url in WHOLE_TYPES
        self.wildcard = False
        self.flight: Flight | None = None
        self.nonce = ""
        self.refused: dict[str, Refusal] = {}
        self._names: set[str] = set()
        self._has: dict[str, str] = {}
        self._ran: set[str] = set()
        self._good: dict[str, EnvoyResource] = {}
        self._asked: set[str] = set()
        self._absent: set[str] = set()
        self._suspects: list[str] = []
        self._named = False
        self._due = False
        self._known: _Lack | None = None

    @property
    def size(self) -> int:
        """How many names the client gave."""
        return len(self._names) + len(self._has)

    # What the client says it wants

    def begin(self, names: Iterable[str], versions: Mapping[str, str]) -> None:
        """The first request of this type in the delta protocol; `versions` is what the client still has."""
        self._known = None
        self._has.update(versions)
        self._ran.update(versions)
        wanted = tuple(names)
        self.wildcard = "*" in wanted or (not wanted and self.type_url in WHOLE_TYPES)
        self._names = set(wanted) - {"*"}
        self._due = self.wildcard and not versions

    def add(self, names: Iterable[str]) -> None:
        """Subscribe to more; a name that the client had already is answered again, as the protocol asks."""
        for name in names:
            self._known = None
            if name != "*":
                if name in self._names or name in self._has:
                    self._asked.add(name)
                self._names.add(name)
                self._absent.discard(name)
            elif not self.wildcard:
                self.wildcard = self._due = True

    def drop(self, names: Iterable[str]) -> None:
        """Unsubscribe. Under a wildcard the client is told again what becomes of the resource."""
        for name in names:
            self._known = None
            if name == "*":
                self.wildcard = self._due = False
                for other in set(self._has) - self._names:
                    self._forget(other)
            elif name in self._names:
                self._names.discard(name)
                self._absent.discard(name)
                if self.wildcard:
                    self._asked.add(name)
                else:
                    self._forget(name)

    def replace(self, names: Iterable[str]) -> None:
        """The names of a state-of-the-world request: the whole subscription, anew.

        No name at all is a wildcard only as long as none was ever given on the stream.
        """
        self._known = None
        given = set(names)
        self._named = self._named or bool(given)
        self.wildcard = "*" in given or (not self._named and self.type_url in WHOLE_TYPES)
        self._names = given - {"*"}
        if not self.wildcard:
            for name in set(self._has) - self._names:
                self._forget(name)

    def resume(self) -> None:
        """The client named the version of exactly what is offered: it has all of it."""
        self._known = None
        for resource in self._existing():
            self._accept(resource)
        self._due = False

    def expect_answer(self) -> None:
        """The next response is due even when it is empty."""
        self._due = True

    def ask(self, names: Iterable[str]) -> None:
        """Send these again with the next response, whatever version the client has."""
        self._known = None
        self._asked.update(name for name in names if self.wants(name))

    def retry(self) -> None:
        """Send what was refused again, each alone; it stays refused until it is taken."""
        if self.refused:
            self._known = None
            self._asked.update(self.refused)
            self._suspects += [name for name in self.refused if name not in self._suspects]

    def wants(self, name: str) -> bool:
        """Whether the client would be told about `name`."""
        return self.wildcard or name in self._names

    # What it lacks

    @property
    def updates(self) -> Sequence[EnvoyResource]:
        """What the client should be sent: asked for, or not the version that it has; never what it refused."""
        return self._lack.updates

    @property
    def absences(self) -> Sequence[str]:
        """Names that were asked for, do not exist, and that the client does not know about (delta only)."""
        return self._lack.absences

    @property
    def removals(self) -> Sequence[str]:
        """What the client has and should not; empty where the protocol has no way to say so."""
        return self._lack.removals

    @property
    def outstanding(self) -> frozenset[str]:
        """The names of which the client does not have, by its own word, exactly what is offered."""
        return self._lack.outstanding

    @property
    def speaks(self) -> bool:
        """Whether there is anything to say of the type, now or once what must go first is taken."""
        return self._due or self._lack.speaks

    def unsent(self) -> bool:
        """Whether something beyond the response on its way is still to be sent."""
        flying = {one.name: one.version for one in self.flight.resources} if self.flight else {}
        return any(flying.get(one.name) != one.version for one in self.updates)

    def answer_due(self) -> bool:
        """Whether a response is due even when there is nothing to put in it."""
        return self._due

    def suspect(self, needed: Iterable[EnvoyResource]) -> EnvoyResource | None:
        """The next resource of a refused response to be sent alone, so that the guilty one shows itself."""
        by_name = {one.name: one for one in needed}
        self._suspects = [name for name in self._suspects if name in by_name]
        return by_name[self._suspects[0]] if self._suspects else None

    def kept(self, name: str) -> EnvoyResource | None:
        """The last body of `name` that the client acked (state of the world, whole sets only)."""
        return self._good.get(name)

    def changed(self, resources: Iterable[EnvoyResource]) -> list[EnvoyResource]:
        """Those of `resources` that the client does not have in just this version."""
        return [one for one in resources if self._has.get(one.name) != one.version]

    def runs(self, name: str) -> bool:
        """Whether the client took some version of `name` and was not told to drop it."""
        return name in self._ran

    def versions_after(self, sent: Iterable[EnvoyResource]) -> dict[str, str]:
        """What the client has, by name, once it takes `sent`; only `sent` where a response is the whole set."""
        known = {} if self.whole else {name: version for name, version in self._has.items() if version != _UNSURE}
        return {**known, **{one.name: one.version for one in sent}}

    def is_refused(self, resource: EnvoyResource) -> bool:
        """Whether the client refused this very version."""
        refusal = self.refused.get(resource.name)
        return refusal is not None and refusal.version == resource.version

    # What happens to it

    def renew(self, offered: Mapping[str, EnvoyResource]) -> None:
        """A new snapshot: a refusal lasts only as long as the version that was refused."""
        if offered is self.offered:
            return
        self._known = None
        self.offered = offered
        for name in [name for name in self.refused if name not in offered or not self.is_refused(offered[name])]:
            del self.refused[name]
        self._forget_unsayable()

    def sent(self, flight: Flight) -> None:
        """A response is on its way: nothing in it is asked for any more."""
        if self._asked or flight.removed or self._absent:
            self._known = None
        self.flight = flight
        self.nonce = flight.nonce
        self._due = False
        names = {one.name for one in flight.resources}
        self._asked -= names.union(flight.removed)
        self._absent -= names
        self._absent.update(self._names.intersection(flight.removed))

    def ack(self) -> Flight:
        """The client took the response that is on its way.

        Raises:
            ValueError: there is none.
        """
        before = self._known
        flight = self._land()
        for one in flight.resources:
            self._accept(one)
        for name in flight.removed:
            self._forget(name)
        self._forget_unsayable()
        if before is not None and self._settles(before, flight):
            self._known = _NOTHING
        return flight

    def nack(self, message: str) -> tuple[EnvoyResource, ...]:
        """The client refused the response; answers with what is to blame, nothing while that is not known.

        To blame is what the message names, or the only resource that was new. Else every new resource is sent once
        more, alone (Envoy may have dropped good ones with the bad). Of clusters and listeners Envoy applies each
        by itself and names those that failed, so the others of such a response are accepted.

        Raises:
            ValueError: no response is on its way.
        """
        flight = self._land()
        new = self.changed(flight.resources) or list(flight.resources)
        named = [one for one in new if _mentions(message, one.name)]
        blamed = named or (new if self.whole or len(new) == 1 else [])
        for one in new:
            if one in blamed:
                self._refuse(one, message)
            elif named and self.type_url in WHOLE_TYPES:
                self._accept(one)
            elif self.wants(one.name):
                self._has[one.name] = _UNSURE
                self._suspects.append(one.name)
        for name in flight.removed:
            self._forget(name)
        self._forget_unsayable()
        return tuple(blamed)

    @property
    def _lack(self) -> _Lack:
        if self._known is None:
            self._known = self._compared()
        return self._known

    def _settles(self, before: _Lack, flight: Flight) -> bool:
        """Whether all that was lacking `before` an ack came in `flight`: known without comparing all once more.

        Not where it brought something else than what is offered by now.
        """
        if before.removals or before.absences or self._asked or flight.removed:
            return False
        has, offered = self._has, self.offered
        return all(offered.get(one.name) is one for one in flight.resources) and all(
            has.get(name) == offered[name].version for name in before.outstanding
        )

    def _compared(self) -> _Lack:
        """What is offered beside what the client has."""
        offered, has = self.offered, self._has
        behind = {name for name, one in offered.items() if has.get(name) != one.version}
        removals: list[str] = []
        if self.delta or self.whole:
            removals = sorted(name for name in has if name not in offered and self.wants(name))
        absences: list[str] = []
        if self.delta and (self._asked or not self._names <= has.keys()):
            absences = sorted((self._names - self._absent - has.keys() | self._asked) - offered.keys())
        updates = [
            one
            for one in (self._existing() if behind or self._asked else ())
            if one.name in self._asked or (one.name in behind and not self.is_refused(one))
        ]
        return _Lack(
            updates=updates,
            removals=removals,
            absences=absences,
            outstanding=frozenset(behind.union(removals, self._overtaken())),
            speaks=bool(updates or absences),
        )

    def _overtaken(self) -> Iterator[str]:
        """What is on its way and is not what is offered any more: taken, it is to be taken back, and may be by now.

        What the client had before says nothing of it, even where that is offered again.
        """
        if self.flight is not None:
            for one in self.flight.resources:
                now = self.offered.get(one.name)
                if self.wants(one.name) and (now is None or now.version != one.version):
                    yield one.name
            yield from (name for name in self.flight.removed if name in self.offered and self.wants(name))

    def _existing(self) -> Iterator[EnvoyResource]:
        if self.wildcard:
            yield from self.offered.values()
        else:
            yield from (self.offered[name] for name in sorted(self._names) if name in self.offered)

    def _land(self) -> Flight:
        if self.flight is None:
            raise ValueError(f"no response of {self.type_url} is on its way")
        flight, self.flight, self._known = self.flight, None, None
        return flight

    def _accept(self, resource: EnvoyResource) -> None:
        name = resource.name
        if self.is_refused(resource):
            # Not where a whole set brought the last good version along: the refused one is refused still.
            del self.refused[name]
        if name in self._suspects:
            self._suspects.remove(name)
        if self.wants(name):
            self._has[name] = resource.version
            self._ran.add(name)
            if self.whole:
                self._good[name] = resource

    def _refuse(self, resource: EnvoyResource, message: str) -> None:
        name = resource.name
        if name in self._suspects:
            self._suspects.remove(name)
        if self.wants(name):
            self._has[name] = _UNSURE
            if name in self.offered and self.offered[name].version == resource.version:
                self.refused[name] = Refusal(resource.version, message)

    def _forget(self, name: str) -> None:
        self._has.pop(name, None)
        self._ran.discard(name)
        self._good.pop(name, None)
        self.refused.pop(name, None)
        self._asked.discard(name)

    def _forget_unsayable(self) -> None:
        """In state of the world the end of a route or endpoint set goes unsaid: its referrer's change says it."""
        if not (self.delta or self.whole):
            for name in self._has.keys() - self.offered.keys():
                self._forget(name)


def _mentions(message: str, name: str) -> bool:
    """Whether `message` names `name`, and not only something longer that begins or ends alike."""
    return re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w/-]|\.\w)", message) is not None
