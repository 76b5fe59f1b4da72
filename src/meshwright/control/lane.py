"""One stream by which a proxy is reached: of all types (ADS), or of one alone, beside which it may have others.

The one rule: a stream speaks for what it asks for. What a stream of one type did not ask for is not its to answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from meshwright.control.ledger import Sendings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from meshwright.control.delivery import Delivery
    from meshwright.control.ledger import Sending
    from meshwright.control.standing import Proxy
    from meshwright.snapshot.resources import EnvoyResource, Snapshot

    Push: TypeAlias = Callable[[Snapshot | None], None]

Name: TypeAlias = tuple[str, str]
"""The type URL and the name of a resource."""


class Lane:
    """Made by `Control.connect` for each stream; `delivery` is the proxy's, with all its streams."""

    def __init__(self, delivery: Delivery, push: Push, only: str) -> None:
        """`only` is the one type that the stream is of; "" for all of them."""
        self.delivery = delivery
        self.only = only
        self.push = push
        self.wants: Callable[[str], bool] = bool
        """Whether a stream of one type asked for a name; for every one until it is told what it asks."""
        self.behind = {name for name in delivery.offered() if only in {"", name[0]}}
        """What the stream has not acked, by its last word and what was offered since."""
        self.refused: dict[Name, str] = {}
        """What it refused of that, and the proxy's words."""
        self._sendings = Sendings()

    @property
    def proxy(self) -> Proxy:
        """Whose stream it is."""
        return self.delivery.proxy

    @property
    def snapshot(self) -> Snapshot:
        """What the proxy should hold now."""
        return self.delivery.snapshot

    def asks(self, wants: Callable[[str], bool]) -> None:
        """The stream of one type asked for what it `wants`, which may change; the rest is no matter of its."""
        self.wants = wants
        self.behind = {name for name in self.behind if wants(name[1])}
        self.delivery.stand()

    def takes(self, name: Name) -> bool:
        """Whether the stream is to bring that resource."""
        return not self.only or (self.only == name[0] and self.wants(name[1]))

    def report(self, outstanding: Mapping[str, frozenset[str]], refused: Mapping[str, Mapping[str, str]]) -> None:
        """The stream's standing: by type the names that it has not acked, and the words on those it refused."""
        self.behind = {(url, name) for url, some in outstanding.items() for name in some}
        self.refused = {(url, name): words for url, some in refused.items() for name, words in some.items()}
        self.delivery.stand()

    def offer(self, names: frozenset[Name]) -> None:
        """The snapshot changed in `names`."""
        self._sendings.forget_removed()
        self.behind |= {name for name in names if self.takes(name)} if self.only else names
        if self.refused:
            self.refused = {name: words for name, words in self.refused.items() if name not in names}

    def sent(self, type_url: str, resources: Iterable[EnvoyResource], removed: Iterable[str] | None) -> None:
        """A response of a type goes out to the proxy; `removed` is None where what is not in it is removed."""
        versions = {one.name: one.version for one in resources}
        revision, now = self.delivery.clock()
        self._sendings.sent(type_url, versions, removed, revision=revision, at=now)

    def settled(self, type_url: str, *, accepted: bool) -> None:
        """The proxy took or refused the response of that type that is on its way."""
        self._sendings.settled(type_url, self.delivery.clock()[1], accepted=accepted)

    def sending(self, type_url: str, name: str) -> Sending | None:
        """The response that brought a resource last."""
        return self._sendings.of(type_url, name)

    def end(self) -> None:
        """Another stream took this one's place."""
        self.push(None)

    def close(self) -> None:
        """The stream is over; may be called twice."""
        self.delivery.leave(self)
