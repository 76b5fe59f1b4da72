"""Risks to where requests go: other destinations, routes and services that are called and go away.

The one rule: a route whose place another one takes has not gone, and who no longer calls is no caller.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from meshwright.graph import Relation, gateway_route_target, service_key
from meshwright.impact.values import Risk
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Key, Kind
from meshwright.model.specs import VirtualServiceSpec
from meshwright.routing import rules, service_ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.graph import Graph
    from meshwright.impact.scene import Scene
    from meshwright.model.state import Resource

_NAMED = 5
"""Callers that a sentence names."""


def destinations(scene: Scene) -> Iterator[Risk]:
    """Services with another provider, and gateway routes with another service, that lead to other nodes by it."""
    for key, _, _ in scene.updates(Kind.VIRTUAL_SERVICE):
        old, new = scene.before.provider(key), scene.after.provider(key)
        was, now = _reached(scene.before, key), _reached(scene.after, key)
        if old is not None and new is not None and old != new and was != now:
            path = f"spec.provider.{new.kind}.{new.kind.name_field}"
            yield _elsewhere(key, path, (old, was), (new, now))
    for key, before, after in scene.updates(Kind.GATEWAY_ROUTE):
        if not (isinstance(before.spec, GatewayRouteSpec) and isinstance(after.spec, GatewayRouteSpec)):
            continue
        member, _ = gateway_route_target(after.spec)
        sides = [
            service_key(key.mesh, gateway_route_target(spec)[1].virtual_service.virtual_service_name)
            for spec in (before.spec, after.spec)
        ]
        was, now = _reached(scene.before, sides[0]), _reached(scene.after, sides[1])
        if sides[0] != sides[1] and was != now:
            path = f"spec.{member}.action.target.virtualService.virtualServiceName"
            yield _elsewhere(key, path, (sides[0], was), (sides[1], now))


def _reached(graph: Graph, service: Key) -> tuple[Key, ...]:
    """The nodes that requests to a service get to: one of weight 0 is none of them."""
    several = (rule for port in service_ports(graph, service) for rule in rules(graph, port))
    return tuple(sorted({one.node for rule in several for one in rule.targets if one.weight}))


def _elsewhere(key: Key, path: str, old: tuple[Key, tuple[Key, ...]], new: tuple[Key, tuple[Key, ...]]) -> Risk:
    was, now = (", ".join(one.name for one in nodes[:_NAMED]) or "nobody" for _, nodes in (old, new))
    return Risk(
        code="destination-changed",
        summary=f"what came to {was} goes to {now} at once, by {new[0].name} instead of {old[0].name}",
        key=key,
        path=path,
        old=old[0].name,
        new=new[0].name,
    )


def called_services(scene: Scene) -> Iterator[Risk]:
    """Virtual services that nothing answers for any more, and that somebody calls."""
    gone: list[tuple[Key, str, str | None, str]] = [
        (one.key, "", None, "is deleted") for one in scene.deleted(Kind.VIRTUAL_SERVICE)
    ]
    for key, old, new in scene.updates(Kind.VIRTUAL_SERVICE):
        if not (isinstance(old.spec, VirtualServiceSpec) and isinstance(new.spec, VirtualServiceSpec)):
            continue
        provider = scene.before.provider(key)
        if provider is not None and new.spec.provider is None:
            gone.append((key, "spec.provider", provider.path, "has no provider any more"))
    for key, path, provider_path, what in gone:
        whose = callers(scene, [key])
        if whose:
            yield Risk(
                code="called-service-removed",
                summary=f"{key.name} {what} and is still called by {whose}",
                key=key,
                path=path,
                old=provider_path,
            )


def called_routes(scene: Scene) -> Iterator[Risk]:
    """Routes without a successor whose services are called, and gateway routes that were seen to be."""
    for one in scene.deleted(Kind.ROUTE):
        router = one.key.owner
        if router is None or router not in scene.new or _succeeded(scene, one.key):
            continue
        provided = [edge.source for edge in scene.after.incoming(router, Relation.PROVIDER)]
        whose = callers(scene, provided)
        if whose:
            names = ", ".join(sorted(service.name for service in provided))
            summary = f"the route goes away, and {names} is still called by {whose}"
            yield Risk(code="called-route-removed", summary=summary, key=one.key)
    for one in scene.deleted(Kind.GATEWAY_ROUTE):
        gateway = one.key.owner
        if gateway is None or not isinstance(one.spec, GatewayRouteSpec) or _succeeded(scene, one.key):
            continue
        target = gateway_route_target(one.spec)[1].virtual_service.virtual_service_name
        service = service_key(one.key.mesh, target)
        number = sum(seen.requests for seen in scene.seen if seen.caller == gateway and service.name in seen.services)
        if number:
            came = f"{number} requests came to {service.name} by {gateway} so far"
            yield Risk(code="called-route-removed", summary=f"the gateway route goes away, and {came}", key=one.key)


def emptied_routers(scene: Scene) -> Iterator[Risk]:
    """Routers that stay without a route: every call of their services is answered 404."""
    lost: defaultdict[Key, list[Key]] = defaultdict(list)
    for one in scene.deleted(Kind.ROUTE):
        if one.key.owner is not None and one.key.owner in scene.new:
            lost[one.key.owner].append(one.key)
    for router, routes in lost.items():
        if not scene.after.children(router):
            names = ", ".join(sorted(key.name for key in routes))
            yield Risk(
                code="router-emptied",
                summary=f"{router} keeps no route (it had {names}): every call of its services is answered 404",
                key=router,
                old=sorted(key.name for key in routes),
            )


def _succeeded(scene: Scene, key: Key) -> bool:
    """Whether a route of the same parent takes the very requests that the deleted one took."""
    return any(takes_place(scene, one, key) for one in scene.new.of(key.kind, key.mesh, key.parent))


def takes_place(scene: Scene, one: Resource, gone: Key) -> bool:
    """Whether a route takes the requests that a deleted one took."""
    return one.key.kind is gone.kind and _taken(one.spec) == _taken(scene.old[gone].spec)


def _taken(spec: object) -> tuple[str, object]:
    """By which protocol and match a route takes requests."""
    for member in ("grpc_route", "http2_route", "http_route", "tcp_route"):
        found = getattr(spec, member, None)
        if found is not None:
            return member, found.match
    return "", None


def callers(scene: Scene, services: Iterable[Key]) -> str:
    """Who is to call any of `services` after the plan, or was seen to lately; "" for nobody."""
    declared: dict[Key, None] = {}
    seen: defaultdict[Key, int] = defaultdict(int)
    for service in services:
        for edge in scene.after.incoming(service, Relation.BACKEND, Relation.TARGET):
            source = edge.source
            if source.kind is Kind.GATEWAY_ROUTE and source.owner is not None:
                source = source.owner
            declared[source] = None
        for one in scene.seen:
            if service.name in one.services and one.requests:
                seen[one.caller] += one.requests
    told = [f"{key} ({seen[key]} requests so far)" for key in sorted(seen)]
    told += [f"{key} (declared)" for key in sorted(declared) if key not in seen]
    more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return f"{', '.join(told[:_NAMED])}{more}"
