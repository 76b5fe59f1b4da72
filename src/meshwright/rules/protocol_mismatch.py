"""Two ends of one way through the mesh speak different protocols.

## What it finds

Every step from a gateway or router to a virtual node is looked at: the route's protocol against the listener of its
virtual router, against the listeners of its targets, a gateway route's against its virtual gateway, and against the
provider of the virtual service that it leads to. `http` and `http2`, or `http2` and `grpc`, beside each other are a
warning: Envoy translates between them. Any other pair is an error.

## Why it matters

App Mesh asks that all of them agree and accepts what does not. Then Envoy chooses its filters by the listener, so
that a TCP route in an HTTP router is never used, a gRPC call over HTTP/1.1 loses its trailers, and raw bytes are
taken for HTTP. The error shows in another place than the cause.

## Example

```yaml
- virtualRouterName: cart
  spec: {listeners: [{portMapping: {port: 80, protocol: http}}]}
- virtualRouterName: cart
  routeName: all
  spec:
    grpcRoute:                       # the router speaks http
      match: {}
      action: {weightedTargets: [{virtualNode: cart-v1, weight: 1}]}
```

## Use instead

Give the virtual router's listener, the route and the virtual node's listener the same protocol:

```yaml
- virtualRouterName: cart
  spec: {listeners: [{portMapping: {port: 80, protocol: grpc}}]}
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.graph import Relation, gateway_route_target, route_action
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec, VirtualRouterSpec
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.constraints import World
    from meshwright.graph import Graph

_TRANSLATED = (frozenset({"http", "http2"}), frozenset({"http2", "grpc"}))
_WORDS = {
    Kind.VIRTUAL_NODE: "virtual node",
    Kind.VIRTUAL_ROUTER: "virtual router",
    Kind.VIRTUAL_GATEWAY: "virtual gateway",
}


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding for each pair of a route and a listener that disagree."""
    del world
    for resource in graph.state:
        for spoken, place, port, path in _steps(graph, resource.key, resource.spec):
            listens = protocol(graph, place, port)
            if listens is not None and listens != spoken:
                yield _finding(resource.key, spoken, place, listens, path)


def protocol(graph: Graph, place: Key, port: int | None) -> str | None:
    """What `place` speaks on `port`, or on its only one; None where that is not known."""
    resource = graph.state.get(place)
    spec = resource.spec if resource is not None else None
    if not isinstance(spec, VirtualNodeSpec | VirtualRouterSpec | VirtualGatewaySpec):
        return None
    spoken = {one.port_mapping.port: str(one.port_mapping.protocol) for one in spec.listeners or ()}
    if port is None:
        return next(iter(spoken.values())) if len(spoken) == 1 else None
    return spoken.get(port)


def _steps(graph: Graph, key: Key, spec: object) -> Iterator[tuple[str, Key, int | None, str]]:
    """Protocol spoken, the place that must speak it too, its port, and the field that leads there."""
    owner = key.owner
    if isinstance(spec, RouteSpec) and owner is not None:
        member, action = route_action(spec)
        route = spec.http_route or spec.http2_route or spec.grpc_route or spec.tcp_route
        port = route.match.port if route is not None and route.match is not None else None
        yield member.removesuffix("Route"), owner, port, f"spec.{member}"
        for index, weighted in enumerate(action.weighted_targets):
            node = Key(key.mesh, Kind.VIRTUAL_NODE, weighted.virtual_node)
            path = f"spec.{member}.action.weightedTargets[{index}]"
            yield member.removesuffix("Route"), node, weighted.port, f"{path}.virtualNode"
    if isinstance(spec, GatewayRouteSpec) and owner is not None:
        member, target = gateway_route_target(spec)
        gateway_route = spec.http_route or spec.http2_route or spec.grpc_route
        port = gateway_route.match.port if gateway_route is not None else None
        yield member.removesuffix("Route"), owner, port, f"spec.{member}"
        for edge in graph.outgoing(key, Relation.TARGET):
            provider = graph.provider(edge.target)
            if provider is not None:
                yield member.removesuffix("Route"), provider, target.port, edge.path


def _finding(key: Key, spoken: str, place: Key, listens: str, path: str) -> Diagnostic:
    translated = frozenset({spoken, listens}) in _TRANSLATED
    what = "Gateway route" if key.kind is Kind.GATEWAY_ROUTE else "Route"
    name = f"{_WORDS[place.kind]} {place.name}"
    cure = f"Use {listens}Route, or let {name} listen with {spoken}."
    if listens == "tcp" and key.kind is Kind.GATEWAY_ROUTE:
        cure = f"A virtual gateway takes no plain TCP; let {name} listen with {spoken}."
    return Diagnostic(
        rule=RULE.code,
        severity=Severity.WARNING if translated else Severity.ERROR,
        summary=f"{what} {key.name} speaks {spoken}, {name} {listens}",
        detail=(
            f"Envoy translates, and App Mesh asks for one protocol all the way: use {listens} for both."
            if translated
            else f"Requests cannot get through. {cure}"
        ),
        subject=key.path,
        path=path,
    )


RULE = Rule(code="MW209", name="protocol-mismatch", severity=Severity.ERROR, page=__doc__.strip(), search=search)
