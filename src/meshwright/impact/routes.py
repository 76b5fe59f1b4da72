"""The routes whose calls a release changed: those that it wrote, and those to, through or for whom it wrote.

The one rule: what a call would do tells whether it is concerned, and not in which object that is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Key, Kind
from meshwright.routing import Rule, ServicePort, gateway_target, rules, service_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.graph import Graph


class ChangedRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of a virtual service, on one of its ports."""

    port: ServicePort
    rule: Rule

    @property
    def subject(self) -> Key:
        """The route; the virtual service where a node provides it itself."""
        return self.rule.origin if self.rule.origin.kind is Kind.ROUTE else self.port.service

    @property
    def nodes(self) -> tuple[Key, ...]:
        """Whom it sends calls to."""
        return tuple(one.node for one in self.rule.targets if one.weight)


class ChangedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A route of a gateway."""

    subject: Key
    gateway: Key
    nodes: tuple[Key, ...]
    """Whom it may send calls to."""


def changed_rules(graph: Graph, keys: frozenset[Key], mesh: str) -> Iterator[ChangedRule]:
    """The rules of the services of a mesh that a change of `keys` concerns."""
    for service in graph.state.of(Kind.VIRTUAL_SERVICE, mesh):
        for port in service_ports(graph, service.key):
            for rule in rules(graph, port):
                nodes = {one.node for one in rule.targets if one.weight}
                if nodes and not keys.isdisjoint({service.key, port.provider, rule.origin, *nodes}):
                    yield ChangedRule(port=port, rule=rule)


def changed_entries(graph: Graph, keys: frozenset[Key], mesh: str) -> Iterator[ChangedEntry]:
    """The routes of the gateways of a mesh that a change of `keys` concerns."""
    for one in graph.state.of(Kind.GATEWAY_ROUTE, mesh):
        gateway = one.key.owner
        if gateway is None or not isinstance(one.spec, GatewayRouteSpec) or keys.isdisjoint({one.key, gateway}):
            continue
        port = gateway_target(graph, one.key, one.spec).port
        found = (target for rule in rules(graph, port) for target in rule.targets) if port is not None else ()
        nodes = tuple(dict.fromkeys(target.node for target in found if target.weight))
        if nodes:
            yield ChangedEntry(subject=one.key, gateway=gateway, nodes=nodes)
