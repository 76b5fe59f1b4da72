"""What keeps an extension from doing anything: at one place, or wherever it could hold.

The one rule: it is decided here, by definitions alone. A rule tells it before a release, proxies tell it afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import Relation, scope_of
from meshwright.model.extensions import FaultSpec, MirrorSpec, RetryPolicySpec, ZonePolicySpec
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import VirtualNodeSpec
from meshwright.routing.extending import Place, at_ingress, at_rule, holding
from meshwright.routing.policies import found_by_dns
from meshwright.routing.ports import ServicePort, service_ports
from meshwright.routing.services import LostTarget, copied, rules, spoken

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.graph import Graph
    from meshwright.model.state import Resource

_TRAFFIC = frozenset({Kind.CORS, Kind.FAULT, Kind.HEADER_EDIT, Kind.MIRROR, Kind.RATE_LIMIT, Kind.RETRY_POLICY})
"""Kinds that do something with requests where they pass."""
_OF_CONNECTIONS = frozenset({Kind.RATE_LIMIT})
"""Those of them that are about TCP, too; all others are about HTTP alone."""


class Hindrance(msgspec.Struct, frozen=True, kw_only=True):
    """Why an extension does nothing."""

    path: str
    """The field of the extension, in wire names, that leads where it cannot act."""
    reason: str
    cure: str


def hindrance(graph: Graph, extension: Resource, place: Place) -> Hindrance | None:
    """What keeps `extension` from doing anything at `place`, where it holds; None where it acts."""
    if place.protocol == "tcp" and extension.key.kind not in _OF_CONNECTIONS:
        return Hindrance(
            path="spec.target",
            reason=f"{_where(place)} speaks TCP: it has an effect on HTTP only",
            cure="Let it be about what speaks HTTP. Of TCP connections, a RateLimit can be set.",
        )
    match extension.spec:
        case MirrorSpec() if place.called is not None:
            target = copied(graph, extension.spec.to, place.called)
            if isinstance(target, LostTarget):
                return Hindrance(path=target.path, reason=target.reason, cure="Copy to a listener that takes HTTP.")
        case RetryPolicySpec():
            return _without_policy(extension.spec, place)
    return None


def zoneless(graph: Graph, node: Key) -> Hindrance | None:
    """What keeps a zone policy from doing anything where `node` is called; None where instances may have zones."""
    if not found_by_dns(graph, node):
        return None
    return Hindrance(
        path="spec.target",
        reason=f"virtual node {node.name!r} is found by DNS, where instances have no zone",
        cure="Let its proxies register (kind: meshwright/Registration), or find it in AWS Cloud Map.",
    )


def inert(graph: Graph, extension: Resource, *, whole: bool) -> Hindrance | None:
    """What keeps `extension` from ever doing anything; None where it may act, or where its target is missing.

    Where not the `whole` mesh is known, only what no other definition can change counts.
    """
    about, _, _ = scope_of(extension)
    kind, lost = extension.key.kind, not graph.outgoing(extension.key, Relation.EXTENDS)[0].found
    if lost and about.kind is not Kind.MESH:
        return None
    if kind is Kind.REGISTRATION:
        return _undiscovered(graph, about)
    if kind is Kind.ZONE_POLICY:
        return _zoneless_everywhere(graph, extension) if whole else None
    if kind not in _TRAFFIC:
        return None
    if about.kind is Kind.VIRTUAL_NODE and (silent := _silent(graph, about)):
        return silent
    if isinstance(extension.spec, MirrorSpec) and not _names_listener(graph, extension.key, extension.spec):
        return None
    places = tuple(_places(graph, extension))
    found = [hindrance(graph, extension, place) for place in places]
    if found and all(found):
        return found[0]
    if whole and (overruled := _overruled(graph, extension, places)):
        return overruled
    return _uncalled(graph, extension, whole=whole)


def _where(place: Place) -> str:
    name = place.targets[0].name
    if place.called is None:
        return f"port {place.port} of {name!r}"
    service = place.called.service.name
    return f"{service!r}" if service == name else f"{service!r} of {name!r}"


def _without_policy(spec: RetryPolicySpec, place: Place) -> Hindrance | None:
    member = "grpcRetryPolicy" if place.protocol == "grpc" else "httpRetryPolicy"
    given = spec.grpc_retry_policy if place.protocol == "grpc" else spec.http_retry_policy
    if given is not None or spec.across_versions:
        return None
    name = place.targets[0].name
    reason = f"it has no {member}, which {name!r} would need: it has no effect there"
    return Hindrance(path="spec", reason=reason, cure=f"Add {member}, or acrossVersions: true.")


def _places(graph: Graph, extension: Resource) -> Iterator[Place]:
    """Where `extension` could hold, as far as the definitions say; nothing where they do not yet."""
    about, only, _ = scope_of(extension)
    if about.kind is Kind.VIRTUAL_SERVICE:
        yield from _of_service(graph, about)
    elif about.kind is Kind.ROUTE and about.owner is not None:
        yield from _of_route(graph, about, about.owner)
    elif about.kind is Kind.VIRTUAL_NODE:
        spec = _node(graph, about)
        for listener in (spec.listeners or ()) if spec is not None else ():
            mapping = listener.port_mapping
            if only in {None, mapping.port}:
                yield at_ingress(about, mapping.protocol, mapping.port)


def _of_service(graph: Graph, service: Key) -> Iterator[Place]:
    """Where requests to a service follow a rule. A port without one is a place too: its routes may be to come."""
    for port in service_ports(graph, service):
        found = rules(graph, port)
        yield from (at_rule(port, rule.origin, rule.protocol) for rule in found)
        if not found:
            yield at_rule(port, port.provider, port.protocol)


def _of_route(graph: Graph, route: Key, router: Key) -> Iterator[Place]:
    """Where requests follow `route`; without a service that leads there, where they would."""
    services = _answered_by(graph, router)
    found = [one for service in services for one in _of_service(graph, service) if route in one.targets]
    spec = graph.state[route].spec
    if not found and isinstance(spec, RouteSpec):
        protocol = spoken(spec)
        found = [at_rule(ServicePort(service=router, provider=router, port=0, protocol=protocol), route, protocol)]
    yield from found


def _answered_by(graph: Graph, router: Key) -> list[Key]:
    return [edge.source for edge in graph.incoming(router, Relation.PROVIDER)]


def _overruled(graph: Graph, extension: Resource, places: Iterable[Place]) -> Hindrance | None:
    """That narrower extensions of its kind hold wherever `extension` could; faults may end, and count as none."""
    kind = extension.key.kind
    held = [None if kind is Kind.FAULT else holding(graph, kind, place, 0) for place in places]
    others = {one.key.name for one in held if one is not None and one.key != extension.key}
    if not held or not all(one is not None and one.key.name in others for one in held):
        return None
    return Hindrance(
        path="spec.target",
        reason=f"wherever it could hold, a narrower {kind.type_name} does: {', '.join(map(repr, sorted(others)))}",
        cure="Remove it, or let the narrower ones go: of two, nothing is merged.",
    )


def _names_listener(graph: Graph, key: Key, spec: MirrorSpec) -> bool:
    """Whether a mirror names a listener, or a node that has none; if not, that is a fault of its own."""
    node = _node(graph, Key(key.mesh, Kind.VIRTUAL_NODE, spec.to.virtual_node_name))
    ports = [one.port_mapping.port for one in (node.listeners or ())] if node is not None else []
    if not ports:
        return node is not None
    return spec.to.port in ports if spec.to.port is not None else len(ports) == 1


def _silent(graph: Graph, node: Key) -> Hindrance | None:
    spec = _node(graph, node)
    if spec is None or spec.listeners:
        return None
    return Hindrance(
        path="spec.target",
        reason=f"virtual node {node.name!r} has no listener: nothing comes in there",
        cure="Give the node a listener, or let this be about what is called.",
    )


def _undiscovered(graph: Graph, node: Key) -> Hindrance | None:
    spec = _node(graph, node)
    if spec is None or spec.service_discovery is not None:
        return _silent(graph, node)
    return Hindrance(
        path="spec.target",
        reason=f"virtual node {node.name!r} has no service discovery: nobody calls it",
        cure="Give the node a serviceDiscovery; its instances are then found as they registered.",
    )


def _zoneless_everywhere(graph: Graph, extension: Resource) -> Hindrance | None:
    spec, (about, _, _) = extension.spec, scope_of(extension)
    if not isinstance(spec, ZonePolicySpec) or not spec.prefer_same_zone:
        return None  # an exception, which is kept by doing nothing
    nodes: tuple[Key, ...] = (about,)
    if about.kind is Kind.MESH:
        nodes = tuple(one.key for one in graph.state.of(Kind.VIRTUAL_NODE, about.mesh))
    elif about.kind is Kind.VIRTUAL_SERVICE:
        nodes = graph.service_nodes(about)
    found = [zoneless(graph, node) for node in nodes]
    return found[0] if found and all(found) else None


def _uncalled(graph: Graph, extension: Resource, *, whole: bool) -> Hindrance | None:
    """That none of the callers that a fault names calls its target."""
    if not isinstance(extension.spec, FaultSpec) or not extension.spec.callers:
        return None
    about, _, _ = scope_of(extension)
    edges = graph.outgoing(extension.key, Relation.CALLER)
    known = whole or (about.kind is Kind.VIRTUAL_SERVICE and all(e.target.kind is Kind.VIRTUAL_NODE for e in edges))
    if not known or not all(edge.found for edge in edges):
        return None
    services = {about} if about.kind is Kind.VIRTUAL_SERVICE else set(_answered_by(graph, about.owner or about))
    if any(not services.isdisjoint(graph.entry_services(edge.target)) for edge in edges):
        return None
    names = " and ".join(repr(edge.target.name) for edge in edges)
    what = f"{about.kind.type_name} {about.name!r}"
    return Hindrance(
        path="spec.from",
        reason=f"{what} is called by neither a backend nor a gateway route of {names}",
        cure="Name callers that call it, or add it to their backends.",
    )


def _node(graph: Graph, node: Key) -> VirtualNodeSpec | None:
    resource = graph.state.get(node)
    return resource.spec if resource is not None and isinstance(resource.spec, VirtualNodeSpec) else None
