"""The dependency graph as a picture's content: boxes and arrows, and the references that they come from.

The one rule: text, Mermaid, DOT and SVG are rendered from this value, whose JSON is documented and stable.

Gateways, virtual services and virtual nodes are boxes. Routes, gateway routes and the routers between a service and
its nodes are the arrows' labels: they are how a call goes, not who is called. Of extensions, mirrors are arrows too,
as they send traffic; the others are among the references.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import Relation, route_action
from meshwright.model.extensions import MirrorSpec
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import RouteSpec
from meshwright.routing import gateway_route_match, grpc_path, ordered_gateway_routes, ordered_routes, route_match

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.graph import Graph
    from meshwright.model.routes import WeightedTarget
    from meshwright.model.state import Resource


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway, a virtual service or a virtual node."""

    object: str
    """Its path: `mesh/shop/virtualNode/cart`."""
    kind: str
    name: str
    found: bool
    """False for a name that leads nowhere."""


class Arrow(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic from one box to another."""

    source: str
    target: str
    label: str
    """The way: which route, and its share where there are several; "" for a backend."""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """One name in one field."""

    source: str
    target: str
    relation: str
    path: str
    found: bool


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A whole graph; everything in order."""

    version: int = 1
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    references: tuple[Reference, ...]


def picture(graph: Graph) -> Picture:
    """The picture of every mesh in `graph`."""
    arrows = tuple(dict.fromkeys(_arrows(graph)))
    boxed = {Kind.VIRTUAL_GATEWAY, Kind.VIRTUAL_SERVICE, Kind.VIRTUAL_NODE}
    keys = {one.key for one in graph.state if one.key.kind in boxed}
    keys.update(key for source, target, _ in arrows for key in (source, target))
    return Picture(
        boxes=tuple(
            Box(object=key.path, kind=str(key.kind), name=key.name, found=key in graph.state) for key in sorted(keys)
        ),
        arrows=tuple(Arrow(source=source.path, target=target.path, label=label) for source, target, label in arrows),
        references=tuple(
            Reference(
                source=edge.source.path,
                target=edge.target.path,
                relation=str(edge.relation),
                path=edge.path,
                found=edge.found,
            )
            for edge in graph.edges
            if edge.relation is not Relation.OWNER
        ),
    )


def _arrows(graph: Graph) -> Iterator[tuple[Key, Key, str]]:
    for gateway in graph.state.of(Kind.VIRTUAL_GATEWAY):
        for route in ordered_gateway_routes(graph, gateway.key):
            for edge in graph.outgoing(route.key, Relation.TARGET):
                way = _gateway_way(route.spec) if isinstance(route.spec, GatewayRouteSpec) else ""
                yield gateway.key, edge.target, way
    for service in graph.state.of(Kind.VIRTUAL_SERVICE):
        for edge in graph.outgoing(service.key, Relation.PROVIDER):
            if edge.target.kind is Kind.VIRTUAL_NODE:
                yield service.key, edge.target, ""
            else:
                yield from _through_router(graph, service.key, edge.target)
    for edge in graph.edges:
        if edge.relation is Relation.BACKEND:
            yield edge.source, edge.target, ""
    for mirror in graph.state.of(Kind.MIRROR):
        yield from _copies(graph, mirror)


def _copies(graph: Graph, mirror: Resource) -> Iterator[tuple[Key, Key, str]]:
    """From the services whose requests are copied to the node that gets the copies."""
    spec = mirror.spec
    if not isinstance(spec, MirrorSpec):
        return
    for edge in graph.outgoing(mirror.key, Relation.EXTENDS):
        services = [edge.target]
        if edge.target.owner is not None and edge.target.kind is Kind.ROUTE:
            services = [one.source for one in graph.incoming(edge.target.owner, Relation.PROVIDER)]
        for copied in graph.outgoing(mirror.key, Relation.COPIES):
            for service in services:
                yield service, copied.target, f"copies of {spec.percentage:g}%"


def _through_router(graph: Graph, service: Key, router: Key) -> Iterator[tuple[Key, Key, str]]:
    routes = ordered_routes(graph, router)
    if router not in graph.state:
        yield service, router, ""
    for route in routes:
        if not isinstance(route.spec, RouteSpec):
            continue
        targets = route_action(route.spec)[1].weighted_targets
        way = _way(route.spec)
        for target in targets:
            node = Key(router.mesh, Kind.VIRTUAL_NODE, target.virtual_node)
            label = f"{way} {_share(target, targets)}" if len(targets) > 1 else way
            yield service, node, label.strip()


def _share(target: WeightedTarget, targets: tuple[WeightedTarget, ...]) -> str:
    total = sum(one.weight for one in targets)
    return f"{100 * target.weight / total:.3g}%" if total else "0%"


def _way(spec: RouteSpec) -> str:
    """A route's match in short: method, path with `*` after a prefix, headers; "" when it takes everything."""
    match = route_match(spec)
    if match is None or spec.tcp_route is not None:
        return ""
    return _short(match)


def _gateway_way(spec: GatewayRouteSpec) -> str:
    match = gateway_route_match(spec)
    host = match.hostname
    name = "" if host is None else host.exact or f"*{host.suffix}"
    return f"{name}{_short(match) or ('' if name else '/*')}"


def _short(match: object) -> str:
    path = getattr(match, "path", None)
    if hasattr(match, "service_name"):
        kind, text = grpc_path(match)  # type: ignore[arg-type]
        text += "" if kind == "exact" else "*"
    elif path is not None:
        text = path.exact or f"~{path.regex}"
    else:
        text = f"{getattr(match, 'prefix', None) or '/'}*"
    members = (getattr(match, name, None) or () for name in ("headers", "metadata", "query_parameters"))
    asked = ", ".join(one.name for member in members for one in member)
    text = " ".join(filter(None, (getattr(match, "method", None), text, f"[{asked}]" if asked else "")))
    return "" if text == "/*" else text
