"""One xDS stream as a state machine: requests and snapshots go in, responses and events come out. No I/O.

The one rule: make before break. What is referred to is accepted before what refers to it is sent, removals go last,
and at most one response of a type is on its way. Both protocols, incremental (delta) and state of the world.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from meshwright.ads.subscription import Flight, Subscription
from meshwright.snapshot.resources import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    PUSH_ORDER,
    ROUTE,
    RUNTIME,
    SECRET,
    EnvoyResource,
    Snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.ads.subscription import Refusal

REMOVAL_ORDER = (LISTENER, ROUTE, CLUSTER, ENDPOINT, SECRET, RUNTIME)
"""What refers goes before what is referred to."""

RETRY_SECONDS = 10.0
"""After a refusal, until what was refused is offered once more: the reason may have passed, such as a port in use or
a file that was not there yet. Each further time it takes twice as long, up to `LONGEST_RETRY_SECONDS`."""
LONGEST_RETRY_SECONDS = 600.0

_PROMPT = frozenset({ENDPOINT, SECRET, RUNTIME})
"""These never wait: Envoy holds back its ack of clusters until they are warm, for which it needs endpoints and
secrets; it starts with its runtime, to which nothing refers by name."""


class DeltaRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded `DeltaDiscoveryRequest`; `error` is None in an ack."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    versions: Mapping[str, str] = {}
    """`initial_resource_versions`: what the client still has from an earlier stream."""
    nonce: str = ""
    error: str | None = None


class StateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded `DiscoveryRequest` of the state-of-the-world protocol."""

    type_url: str
    names: tuple[str, ...] = ()
    version: str = ""
    nonce: str = ""
    error: str | None = None


Request: TypeAlias = DeltaRequest | StateRequest


def asks(request: Request) -> bool:
    """Whether a request may add to what its stream is about; an ack in the delta protocol does not."""
    return not isinstance(request, DeltaRequest) or not request.nonce or bool(request.subscribe or request.versions)


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What to send: in delta the changed `resources` and the `removed` names, else a set of resources."""

    type_url: str
    nonce: str
    version: str
    """State of the world: a digest of the names and versions that the client has once it takes this."""
    resources: tuple[EnvoyResource, ...] = ()
    removed: tuple[str, ...] = ()


class Subscribed(msgspec.Struct, frozen=True):
    """The client asked for a type for the first time on this stream."""

    type_url: str


class Acked(msgspec.Struct, frozen=True):
    """The client took a response: exactly these `versions`, by name, and no more of what is `removed`."""

    type_url: str
    versions: Mapping[str, str]
    removed: tuple[str, ...]
    nonce: str = ""


class Nacked(msgspec.Struct, frozen=True):
    """The client refused a response; `resources` are to blame, empty while that is being found out."""

    type_url: str
    resources: tuple[str, ...]
    message: str
    versions: Mapping[str, str] = {}
    """All that was in the response, by name."""
    nonce: str = ""


Event: TypeAlias = Subscribed | Acked | Nacked


class Stream:
    """One client's stream. `receive` and `publish` tell it what happened, `send` says what to write now."""

    def __init__(self, snapshot: Snapshot, *, delta: bool, only: str = "") -> None:
        """`only` is the one type that the stream is of; "" for all of them."""
        self._snapshot = snapshot
        self._only = only
        self._delta = delta
        self._subscriptions: dict[str, Subscription] = {}
        self._orders: dict[tuple[str, ...], list[Subscription]] = {}
        self._sent = 0
        self._silent = False
        """Whether there was nothing to say, and nothing has happened since."""

    def receive(self, request: Request) -> tuple[Event, ...]:
        """Take a request in: a subscription, an ack or a nack, or all at once."""
        self._silent = False
        subscription = self._subscriptions.get(request.type_url)
        events: list[Event] = []
        first = subscription is None
        if subscription is None:
            subscription = Subscription(request.type_url, self._snapshot.of(request.type_url), delta=self._delta)
            self._subscriptions[request.type_url] = subscription
            self._orders.clear()
            events.append(Subscribed(request.type_url))
        if isinstance(request, StateRequest):
            if not first and request.nonce != subscription.nonce:
                return ()  # it speaks of an older response; the client asks again when it has seen the newer one
            events += self._settle(subscription, request)
            self._replace(subscription, request, first=first)
        else:
            events += self._settle(subscription, request)
            if first:
                subscription.begin(request.subscribe, request.versions)
            else:
                subscription.add(request.subscribe)
            subscription.drop(request.unsubscribe)
        return tuple(events)

    def publish(self, snapshot: Snapshot) -> None:
        """From now on the client should hold `snapshot`. A type whose mapping is the same object costs nothing."""
        self._silent = False
        self._snapshot = snapshot
        for subscription in self._subscriptions.values():
            subscription.renew(snapshot.of(subscription.type_url))

    def send(self) -> tuple[Response, ...]:
        """The responses to write now, in order; each counts as on its way."""
        if self._silent:
            return ()
        # One by one: what is sent of one type may ask for more of the next.
        ready = [response for one in self._ordered(PUSH_ORDER) if one.speaks for response in self._next_updates(one)]
        found = tuple(ready) or self._next_removals()
        self._silent = not found
        return found

    def retry(self) -> None:
        """Offer once more what the client refused, each resource alone."""
        self._silent = False
        for subscription in self._subscriptions.values():
            subscription.retry()

    @property
    def refuses(self) -> bool:
        """Whether the client refused something that it should still hold."""
        return any(one.refused for one in self._subscriptions.values())

    @property
    def size(self) -> tuple[int, int]:
        """How many types the client asked for, and how many names it subscribed to or claims to have."""
        return len(self._subscriptions), sum(one.size for one in self._subscriptions.values())

    def outstanding(self) -> Mapping[str, frozenset[str]]:
        """By type, the names of which the client has not acked what it should hold; types in order are absent.

        A stream of one type speaks for what it asks for, and for nothing else.
        """
        if self._only:
            own = self._subscriptions.get(self._only)
            late = frozenset(filter(self.wants, own.outstanding)) if own is not None else frozenset()
            return {self._only: late} if late else {}
        found = {url: names for url, one in self._subscriptions.items() if (names := one.outstanding)}
        for url, offered in self._snapshot.resources.items():
            if offered and url not in self._subscriptions:
                found[url] = frozenset(offered)
        return found

    def wants(self, name: str) -> bool:
        """Whether the client of a stream of one type asks for `name`."""
        own = self._subscriptions.get(self._only)
        return own is not None and own.wants(name)

    def refusals(self) -> Mapping[str, Mapping[str, Refusal]]:
        """By type and name, what the client refused and should still hold."""
        return {url: dict(one.refused) for url, one in self._subscriptions.items() if one.refused}

    def _settle(self, subscription: Subscription, request: Request) -> list[Event]:
        """Match an ack or nack with the response on its way; any other nonce is stale and means nothing."""
        flight = subscription.flight
        if flight is None or request.nonce != flight.nonce:
            return []
        versions = {one.name: one.version for one in flight.resources}
        if request.error is None:
            subscription.ack()
            return [Acked(subscription.type_url, versions, flight.removed, flight.nonce)]
        blamed = tuple(one.name for one in subscription.nack(request.error))
        if not flight.resources:
            blamed = flight.removed
        return [Nacked(subscription.type_url, blamed, request.error, versions, flight.nonce)]

    def _replace(self, subscription: Subscription, request: StateRequest, *, first: bool) -> None:
        subscription.replace(request.names)
        everything = {one.name: one.version for one in self._wanted(subscription)} if first else {}
        if first and request.version and request.version == _version(everything):
            subscription.resume()
        elif first and subscription.whole:
            subscription.expect_answer()

    def _ordered(self, order: tuple[str, ...]) -> list[Subscription]:
        found = self._orders.get(order)
        if found is None:
            found = [self._subscriptions[url] for url in order if url in self._subscriptions]
            found += [one for url, one in self._subscriptions.items() if url not in order]
            self._orders[order] = found
        return found

    @staticmethod
    def _wanted(subscription: Subscription) -> list[EnvoyResource]:
        return [one for name, one in subscription.offered.items() if subscription.wants(name)]

    def _next_updates(self, subscription: Subscription) -> list[Response]:
        updates, absent = subscription.updates, subscription.absences
        if subscription.flight is not None or self._must_wait(subscription):
            return []
        needed = [one for one in updates if not self._would_break(subscription, one)]
        if not (needed or absent or subscription.answer_due()):
            return []
        if subscription.whole:
            fresh = {one.name for one in needed}
            return [self._fly(subscription, self._whole(subscription, fresh, keep=True), (), ())]
        alone = subscription.suspect(needed)
        if alone is not None:
            needed, absent = [alone], ()
        return [self._fly(subscription, needed, tuple(absent), ())]

    def _warm(self, clusters: tuple[EnvoyResource, ...], subscription: Subscription) -> None:
        """A changed cluster takes traffic only when its endpoints were sent after it, changed or not.

        Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-warming
        """
        endpoints = self._subscriptions.get(ENDPOINT)
        if endpoints is not None:
            changed = subscription.changed(clusters)
            endpoints.ask(one.name for one in changed if one.name in endpoints.offered)

    def _must_wait(self, subscription: Subscription) -> bool:
        """Whether a type that this one may refer to has to be taken first."""
        if subscription.type_url in _PROMPT:
            return False
        return any(
            one.flight is not None and (one.flight.resources or one.unsent())
            for one in self._earlier(subscription.type_url)
        )

    def _earlier(self, type_url: str) -> list[Subscription]:
        types = PUSH_ORDER[: PUSH_ORDER.index(type_url)] if type_url in PUSH_ORDER else PUSH_ORDER
        return [self._subscriptions[one] for one in types if one in self._subscriptions]

    def _would_break(self, subscription: Subscription, resource: EnvoyResource) -> bool:
        """Whether `resource` would replace a working version and leans on something that the client never took.

        A name stands in the body of every message that refers to it, so looking for its bytes finds each
        reference; a longer name found by mistake only holds an update back until the refusal is mended.
        """
        if subscription.type_url in _PROMPT or not subscription.runs(resource.name):
            return False
        missing = (name for one in self._earlier(resource.type_url) for name in one.refused if not one.runs(name))
        return any(name.encode() in resource.body for name in missing)

    def _next_removals(self) -> tuple[Response, ...]:
        """The next removals, once everything else is taken: what refers before what is referred to."""
        subscriptions = self._subscriptions.values()
        if not any(one.removals for one in subscriptions) or any(self._unfinished(one) for one in subscriptions):
            return ()
        for subscription in self._ordered(REMOVAL_ORDER):
            names = tuple(subscription.removals)
            if subscription.flight is not None or (names and self._unheard(subscription.type_url)):
                return ()
            if names and subscription.whole:
                return (self._fly(subscription, self._whole(subscription, set(), keep=False), (), names),)
            if names:
                return (self._fly(subscription, (), names, names),)
        return ()

    def _unheard(self, type_url: str) -> bool:
        """Whether a type that may refer to this one is still to be asked for: one that connects again has it, too."""
        if self._only or type_url not in REMOVAL_ORDER:
            return False
        referring = REMOVAL_ORDER[: REMOVAL_ORDER.index(type_url)]
        return any(self._snapshot.of(one) and one not in self._subscriptions for one in referring)

    def _unfinished(self, subscription: Subscription) -> bool:
        flying = subscription.flight is not None and bool(subscription.flight.resources)
        return flying or bool(subscription.refused or subscription.updates)

    def _whole(self, subscription: Subscription, fresh: set[str], *, keep: bool) -> list[EnvoyResource]:
        """The whole set: new versions of `fresh`, else what the client has; gone ones only when they are kept."""
        chosen = [one if one.name in fresh else subscription.kept(one.name) for one in self._wanted(subscription)]
        gone = [subscription.kept(name) for name in subscription.removals] if keep else []
        return [one for one in (*chosen, *gone) if one is not None]

    def _fly(
        self,
        subscription: Subscription,
        resources: Iterable[EnvoyResource],
        said: tuple[str, ...],
        gone: tuple[str, ...],
    ) -> Response:
        """Send `resources`, saying that `said` do not exist; `gone` leaves the client with the ack."""
        self._sent += 1
        nonce = str(self._sent)
        sent = tuple(resources)
        if subscription.type_url == CLUSTER:
            self._warm(sent, subscription)
        subscription.sent(Flight(nonce=nonce, resources=sent, removed=said or gone))
        return Response(
            type_url=subscription.type_url,
            nonce=nonce,
            version="" if self._delta else _version(subscription.versions_after(sent)),
            resources=sent,
            removed=said if self._delta else (),
        )


def _version(versions: Mapping[str, str]) -> str:
    """A digest of a set of names and versions, the same after a restart."""
    text = "\n".join(sorted(f"{name} {version}" for name, version in versions.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
