"""How Envoy behaves on an ADS stream, as far as an order of messages can tell: a model for property tests.

It subscribes by what it has, holds back its ack of clusters until they are warm, applies clusters and listeners one
by one, and refuses any other response whole. A version that ends in "!" is one that it refuses.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from meshwright.ads.stream import DeltaRequest, Request, Response, StateRequest, Stream
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, EnvoyResource

if TYPE_CHECKING:
    from collections.abc import Iterable

REFERRED = {CLUSTER: ENDPOINT, LISTENER: ROUTE}


def referrer(type_url: str, name: str, version: str, *names: str) -> EnvoyResource:
    """A resource whose body names what it refers to."""
    body = " ".join((f"{name}={version}", *names)).encode()
    return EnvoyResource(type_url=type_url, name=name, version=version, body=body, origins=())


def mentioned(resource: EnvoyResource) -> list[str]:
    """What a resource of `referrer` refers to."""
    return resource.body.decode().split()[1:]


class ModelEnvoy:
    """One client of a `Stream`; `deliver` and `hear` move one message at a time."""

    def __init__(self, stream: Stream, *, delta: bool) -> None:
        self.stream = stream
        self.delta = delta
        self.config: dict[str, dict[str, EnvoyResource]] = {CLUSTER: {}, ENDPOINT: {}, LISTENER: {}, ROUTE: {}}
        self.inbox: deque[Response] = deque()
        self.outbox: deque[Request] = deque()
        self.warming: set[str] = set()
        self.heard: list[Response] = []
        self._wanted: dict[str, set[str]] = {}
        self._nonces: dict[str, str] = {}
        self._versions: dict[str, str] = {}
        self._held: Request | None = None
        self._reconnected = False
        self._refused_once: set[tuple[str, str]] = set()

    def connect(self, stream: Stream | None = None) -> None:
        """Open the stream, or another one with what was had before."""
        self._reconnected = stream is not None
        self.stream = stream or self.stream
        self.inbox.clear()
        self.outbox.clear()
        self._nonces, self._held = {}, None
        self._refused_once.clear()
        for url in (CLUSTER, LISTENER, *self._wanted):
            self._ask_first(url)

    def deliver(self) -> bool:
        """Hand the stream the oldest request; whether there was one."""
        if not self.outbox:
            return False
        self.stream.receive(self.outbox.popleft())
        self.inbox.extend(self.stream.send())
        self._at_most_one_of_a_type()
        return True

    def hear(self) -> bool:
        """Take in the oldest response; whether there was one."""
        if not self.inbox:
            return False
        response = self.inbox.popleft()
        self.heard.append(response)
        self._nothing_unasked(response)
        self._nonces[response.type_url] = response.nonce
        whole = response.type_url in REFERRED
        bad = [one for one in response.resources if one.version.endswith("!")]
        good = [one for one in response.resources if one not in bad]
        self._refused_once.update((one.type_url, one.name) for one in response.resources if bad)
        if response.type_url == ENDPOINT:
            # Envoy stops waiting for endpoints also when it cannot use them.
            self.warming -= {one.name for one in response.resources}.union(response.removed)
        if whole or not bad:
            self._apply(response, good, bad)
        words = f"cannot add: {', '.join(one.name for one in bad)}: no good" if whole else "no good"
        self._answer(response, words if bad else None)
        return True

    def drain(self) -> None:
        """Exchange messages until nobody has anything to say."""
        for _ in range(2_000):
            if not (self.deliver() or self.hear() or self._give_up()):
                return
        raise AssertionError("the two never stop talking")

    def _give_up(self) -> bool:
        """The time for the first endpoints is over (15 s in Envoy), where nobody could know that it waits for them.

        State of the world cannot say that there are none; and on a new stream Envoy says that it has the endpoints
        without saying that a cluster of its still waits for them.
        """
        if not self.warming or (self.delta and not self._reconnected):
            return False
        self.warming.clear()
        if self._held is not None:
            self.outbox.append(self._held)
            self._held = None
        return True

    def reconnect_versions(self, url: str) -> dict[str, str]:
        """What it says it has of a type on a new stream."""
        return {name: one.version for name, one in self.config[url].items()}

    def _ask_first(self, url: str) -> None:
        names = tuple(sorted(self._wanted.get(url, ())))
        if self.delta:
            self.outbox.append(DeltaRequest(type_url=url, subscribe=names, versions=self.reconnect_versions(url)))
        else:
            self.outbox.append(StateRequest(type_url=url, names=names, version=self._versions.get(url, "")))

    def _apply(self, response: Response, good: Iterable[EnvoyResource], bad: list[EnvoyResource]) -> None:
        url = response.type_url
        config = self.config[url]
        gone = set(response.removed)
        if not self.delta and url in REFERRED:
            gone = set(config) - {one.name for one in response.resources}
        for one in good:
            if url not in REFERRED and one.name not in self._wanted.get(url, ()):
                continue  # nobody in Envoy watches it any more: it was asked for before the client changed its mind
            before = config.get(one.name)
            if url == CLUSTER and (before is None or before.version != one.version):
                self.warming.add(one.name)
            config[one.name] = one
        for name in gone - {one.name for one in bad}:
            config.pop(name, None)
            self.warming.discard(name)
        if url in REFERRED:
            self._subscribe(REFERRED[url])

    def _subscribe(self, url: str) -> None:
        if url == ENDPOINT:
            wanted = set(self.config[CLUSTER])
        else:
            wanted = {name for one in self.config[LISTENER].values() for name in mentioned(one)}
        before = self._wanted.get(url)
        if before == wanted or (before is None and not wanted):
            return
        self._wanted[url] = wanted
        for name in set(self.config[url]) - wanted:
            del self.config[url][name]
        more, less = tuple(sorted(wanted - (before or set()))), tuple(sorted((before or set()) - wanted))
        if self.delta:
            self.outbox.append(DeltaRequest(type_url=url, subscribe=more, unsubscribe=less))
        else:
            self.outbox.append(self._state_request(url, None))

    def _answer(self, response: Response, error: str | None) -> None:
        url = response.type_url
        request: Request
        if self.delta:
            request = DeltaRequest(type_url=url, nonce=response.nonce, error=error)
        else:
            if error is None:
                self._versions[url] = response.version
            request = self._state_request(url, error)
        if url == CLUSTER:
            assert self._held is None, "a second response of clusters before the first was acked"
            self._held = request
        else:
            self.outbox.append(request)
        if self._held is not None and not self.warming:
            self.outbox.append(self._held)
            self._held = None

    def _state_request(self, url: str, error: str | None) -> StateRequest:
        names = tuple(sorted(self._wanted.get(url, ())))
        version, nonce = self._versions.get(url, ""), self._nonces.get(url, "")
        return StateRequest(type_url=url, names=names, version=version, nonce=nonce, error=error)

    def _at_most_one_of_a_type(self) -> None:
        types = [response.type_url for response in self.inbox]
        assert len(types) == len(set(types)), "two responses of a type on their way"

    def _nothing_unasked(self, response: Response) -> None:
        url = response.type_url
        if url not in REFERRED:
            # Names may have been dropped while the response was on its way; they were asked for once.
            assert self._wanted.get(url) is not None, f"{url} was never asked for"
        if url in REFERRED and not self.delta:
            return  # always the whole set
        for one in response.resources:
            known = self.config[url].get(one.name)
            again = known is not None and known.version == one.version
            mended = (url, one.name) in self._refused_once  # what a refusal left it with is not certain
            assert not again or url == ENDPOINT or mended, f"{one.name} was sent although it was there"
