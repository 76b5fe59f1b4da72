"""The connection pools that calls pass on their way, and how many calls a test may make at once through them.

Pure. The one rule: where it is not sure that a call stays away from a pool, it passes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from meshwright.model.identity import Key, Kind
from meshwright.model.listeners import VirtualGatewayConnectionPool, VirtualNodeConnectionPool
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec
from meshwright.simulate import route

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from meshwright.graph import Graph
    from meshwright.model.listeners import HealthCheckPolicy, Listener, VirtualGatewayListener
    from meshwright.simulate import Call
    from meshwright.trials.trial import Trial

AnyPool: TypeAlias = VirtualNodeConnectionPool | VirtualGatewayConnectionPool

_MANY = 1_000_000
"""What has no limit takes more calls than any test makes."""


class ListenerPool(msgspec.Struct, frozen=True, kw_only=True):
    """The connection pool of a listener, which the proxy of each instance holds for itself."""

    proxy: Key
    """The virtual node or gateway whose it is."""
    port: int
    protocol: str
    path: str
    """Where it is written."""
    limits: AnyPool
    checked: bool
    """Whether health checks take a place in it, too."""

    @property
    def at_once(self) -> int:
        """How many calls it takes that are under way together."""
        if self.limits.http is not None:
            return self.limits.http.max_connections
        if streams := self.limits.http2 or self.limits.grpc:
            return streams.max_requests
        if isinstance(self.limits, VirtualNodeConnectionPool) and self.limits.tcp is not None:
            return self.limits.tcp.max_connections
        raise TypeError(f"the pool of {self.proxy} has no limit")

    @property
    def waiting(self) -> int | None:
        """How many more wait for their turn: none over HTTP/2 and TCP; None where all do."""
        return 0 if self.limits.http is None else self.limits.http.max_pending_requests

    @property
    def safe(self) -> int:
        """How many calls may begin together, one at least, so that none is turned away.

        Envoy has a request over HTTP/1.1 wait that needs a new connection, until there is one.
        """
        beginning = (self.waiting or _MANY) if self.limits.http is not None else _MANY
        return max(min(self.at_once, beginning) - int(self.checked), 1)


def pools(graph: Graph) -> Iterator[ListenerPool]:
    """Every connection pool of a mesh."""
    for kind in (Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY):
        for one in graph.state.of(kind):
            listed: Sequence[Listener | VirtualGatewayListener] = ()
            if isinstance(one.spec, VirtualNodeSpec | VirtualGatewaySpec):
                listed = one.spec.listeners or ()
            for index, listener in enumerate(listed):
                if listener.connection_pool is not None:
                    # Nobody checks a gateway.
                    check = getattr(listener, "health_check", None) if kind is Kind.VIRTUAL_NODE else None
                    yield ListenerPool(
                        proxy=one.key,
                        port=listener.port_mapping.port,
                        protocol=listener.port_mapping.protocol,
                        path=f"spec.listeners[{index}].connectionPool",
                        limits=listener.connection_pool,
                        checked=_asks(check),
                    )


def _asks(check: HealthCheckPolicy | None) -> bool:
    """Whether a health check comes to the application: one over TCP ends at its proxy."""
    return check is not None and check.protocol != "tcp"


def passed(
    graph: Graph, caller: Key, call: Call, onward: Iterable[str] = ()
) -> Mapping[tuple[Key, int], ListenerPool]:
    """The pools that a call passes, by proxy and port; workloads on its way call the services `onward` in turn."""
    known = {(one.proxy, one.port): one for one in pools(graph)}
    if not known:
        return {}
    verdict = route(graph, caller, call)
    ends = {(one.node, one.port) for one in verdict.targets if one.fraction}
    found = {(caller, call.port)} if caller.kind is Kind.VIRTUAL_GATEWAY else set[tuple[Key, int]]()
    copies = {one.copied_to for hop in verdict.hops for one in hop.effects if one.copied_to is not None}
    services = frozenset(onward)
    further = _behind(graph, {node for node, _ in ends} | copies, services) if services else frozenset[Key]()
    return {place: one for place, one in known.items() if place in found | ends or place[0] in copies | further}


def overfilled(graph: Graph, trial: Trial) -> tuple[ListenerPool, ...]:
    """The pools that may turn calls of a trial away, because it asks for so many at once."""
    if trial.at_once is None:
        return ()
    found = passed(graph, trial.caller, trial.call, trial.onward)
    return tuple(one for one in found.values() if one.safe < trial.at_once)


def _behind(graph: Graph, nodes: Iterable[Key], services: frozenset[str]) -> frozenset[Key]:
    """The nodes that provide `services`, where nodes on the way call them."""
    found, left = set[Key](), list(nodes)
    while left:
        for service in graph.entry_services(left.pop()):
            new = set(graph.service_nodes(service)) - found if service.name in services else set[Key]()
            found |= new
            left += new
    return frozenset(found)
