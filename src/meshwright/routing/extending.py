"""Which extension holds where: the places that requests pass, and the one object of a kind that is about each.

The one rule: at one place one object of a kind holds, whole: the most specific of those that are about it. Two are
never merged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import Relation, scope_of
from meshwright.model.extensions import FaultSpec
from meshwright.model.identity import Key, Kind
from meshwright.model.scalars import PortProtocol
from meshwright.routing.ports import ServicePort

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.model.state import Resource


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where requests pass a proxy: at a rule of a service that it calls, at a gateway's route, or at its ingress."""

    targets: tuple[Key, ...]
    """What an extension may be about to hold here, most specific first."""
    protocol: PortProtocol
    caller: Key | None = None
    """The node or gateway whose proxy it is; None where all are alike."""
    port: int | None = None
    """Of the listener that they came in by; None at a rule."""
    called: ServicePort | None = None
    """What is called; None at an ingress."""


def at_rule(called: ServicePort, origin: Key, protocol: PortProtocol, caller: Key | None = None) -> Place:
    """Where requests to a service follow `origin`: a route, or a node that provides the service itself."""
    # What is about a node is about its ingress, whoever calls it by whichever service.
    targets = (origin, called.service) if origin.kind is Kind.ROUTE else (called.service,)
    return Place(targets=targets, protocol=protocol, caller=caller, called=called)


def at_gateway_route(route: Key, gateway: Key, protocol: PortProtocol, port: int) -> Place:
    """At a route of a gateway, where requests come in by the listener on `port`."""
    return Place(targets=(route, gateway), protocol=protocol, caller=gateway, port=port)


def at_ingress(node: Key, protocol: PortProtocol, port: int) -> Place:
    """In front of a node's application, at its listener on `port`."""
    return Place(targets=(node,), protocol=protocol, caller=node, port=port)


def holding(graph: Graph, kind: Kind, place: Place, now: int) -> Resource | None:
    """The extension of `kind` that holds at `place`; None without one.

    A route counts before its service or gateway, one port before all ports, named callers before everybody's. Faults
    that have ended `now`, in milliseconds since the epoch, UTC, do not count.
    """
    for target in place.targets:
        found = [one for one in graph.extensions(kind, target) if _concerns(graph, one, place, now)]
        if found:
            return min(found, key=_generality)
    return None


def _concerns(graph: Graph, extension: Resource, place: Place, now: int) -> bool:
    _, port, whose = scope_of(extension)
    if port not in {None, place.port}:
        return False
    if whose and (place.called is None or place.caller not in _named(graph, extension)):
        return False
    return not isinstance(extension.spec, FaultSpec) or extension.spec.expiry > now


def _named(graph: Graph, extension: Resource) -> set[Key]:
    return {edge.target for edge in graph.outgoing(extension.key, Relation.CALLER) if edge.found}


def _generality(extension: Resource) -> tuple[bool, bool]:
    _, port, whose = scope_of(extension)
    return port is None, not whose
