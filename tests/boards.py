"""A control loop whose snapshots are set by hand: what it pushes to whom is for tests to see.

The one rule: a node is built from what it was last offered, and every build is written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from handmade import NODE, plain, snapshot
from meshwright.control import Control, Lane, Proxy
from meshwright.model.identity import Key, Kind
from meshwright.model.specs import VirtualNodeSpec
from meshwright.model.state import Resource, State
from meshwright.snapshot.resources import CLUSTER, ROUTE, EnvoyResource, Redirect, Snapshot, Traits
from meshwright.store.contract import Head

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.snapshot.resources import Placement

OTHER = Key("shop", Kind.VIRTUAL_NODE, "other")


class Board:
    """A control loop whose snapshots are set by hand, one set of resources a node."""

    def __init__(self, away_seconds: float = 0) -> None:
        self.offered: dict[Key, tuple[EnvoyResource, ...]] = {}
        self.builds: list[Key] = []
        self.broken: set[Key] = set()
        self.resources: dict[Key, Resource] = {}
        self.time = 0
        self.ending: dict[Key, int] = {}
        """When time alone changes a node's snapshot."""
        self.control = Control(self._build, self._now, away_seconds=away_seconds)

    def publish(self, **offered: tuple[EnvoyResource, ...]) -> int:
        """Offer these by node name, and no other node; the revision."""
        head = self.head(**offered)
        self.control.publish(head)
        return head.revision

    def head(self, **offered: tuple[EnvoyResource, ...]) -> Head:
        """What is to be published to offer these. An unchanged node is the same object."""
        before = self.offered
        self.offered = {Key("shop", Kind.VIRTUAL_NODE, name): some for name, some in offered.items()}
        number = self.control.revision + 1
        for node, some in self.offered.items():
            if before.get(node) != some or node in self.broken:
                self.resources[node] = Resource(key=node, spec=VirtualNodeSpec(), stack=str(number))
        state = State(one for node, one in self.resources.items() if node in self.offered)
        return Head(number, state)

    def connect(
        self, node: Key = NODE, instance: str = "1", *, runtime: bool = False
    ) -> tuple[Lane, list[Snapshot | None]]:
        """A proxy of `node`, and what is pushed to it from now on."""
        pushed: list[Snapshot | None] = []
        traits = Traits(runtime=runtime)
        proxy = Proxy(id=f"{node.path}@{instance}", node=node, placement=Redirect(), traits=traits)
        return self.control.connect(proxy, pushed.append), pushed

    def _build(self, _graph: Graph, node: Key, _placement: Placement, traits: Traits, now: int) -> Snapshot:
        self.builds.append(node)
        if node in self.broken:
            raise ZeroDivisionError("a bug")
        end = self.ending.get(node, 0)
        offered = [one for one in self.offered[node] if one.name != "z" or traits.runtime]
        ended = [one for one in offered if not 0 < one.expires_at <= now]
        return msgspec.structs.replace(snapshot(*ended, node=node), changes_at=end if end > now else None)

    def _now(self) -> int:
        self.time += 1
        return self.time


def took(lane: Lane, *missing: tuple[str, str], **refused: str) -> None:
    """The proxy has everything but `missing`; it refused the routes in `refused` with these words."""
    outstanding: dict[str, frozenset[str]] = {}
    for url, name in [*missing, *((ROUTE, name) for name in refused)]:
        outstanding[url] = outstanding.get(url, frozenset()) | {name}
    lane.report(outstanding, {ROUTE: refused} if refused else {})


def a(version: str = "1") -> EnvoyResource:
    """A cluster."""
    return plain(CLUSTER, "a", version)


def r(version: str = "1") -> EnvoyResource:
    """A route configuration."""
    return plain(ROUTE, "r", version)
