"""A route can never be used, because an earlier one takes every request that it would match.

## What it finds

Routes of a virtual router, and gateway routes of a virtual gateway, that stand behind a single earlier one whose
match covers theirs: its path covers the path, and each of its other conditions (method, scheme, headers, metadata,
query parameters, hostname, port) follows from theirs. Only what is certain is reported: a route that several cover
together, or an expression whose language is not obvious, is left alone.

## Why it matters

The first route that matches wins: the one with the smallest `priority`, and among equals an exact path, then the
longest prefix, then a regular expression. A shadowed route looks as if it did something. A canary behind it gets no
traffic, a new version is never tried, and removing the earlier route changes more than anybody expects.

## Example

```yaml
- routeName: all
  spec: {priority: 1, httpRoute: {match: {prefix: /}, action: …}}
- routeName: beta
  spec: {priority: 2, httpRoute: {match: {prefix: /beta}, action: …}}   # never reached
```

## Use instead

Give the narrower route the smaller priority, or leave priorities out:

```yaml
- routeName: beta
  spec: {priority: 1, httpRoute: {match: {prefix: /beta}, action: …}}
- routeName: all
  spec: {priority: 2, httpRoute: {match: {prefix: /}, action: …}}
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Kind
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import VirtualGatewaySpec, VirtualRouterSpec
from meshwright.routing import ordered_gateway_routes, ordered_routes
from meshwright.rules.coverage import Condition, condition
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.constraints import World
    from meshwright.graph import Graph
    from meshwright.model.state import Resource


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding a route."""
    del world
    for place in (*graph.state.of(Kind.VIRTUAL_ROUTER), *graph.state.of(Kind.VIRTUAL_GATEWAY)):
        if not isinstance(place.spec, VirtualRouterSpec | VirtualGatewaySpec):
            continue
        listeners = {one.port_mapping.port: one.port_mapping.protocol for one in place.spec.listeners or ()}
        reached: set[str] = set()
        shadows: dict[str, tuple[Resource, Resource]] = {}
        for port, protocol in listeners.items():
            served = [one for one in _tried(graph, place, port) if one[1].tcp == (protocol == "tcp")]
            for index, (route, match) in enumerate(served):
                earlier = next((one for one, wider in served[:index] if wider.covers(match)), None)
                if earlier is None:
                    reached.add(route.key.name)
                else:
                    shadows.setdefault(route.key.name, (route, earlier))
        for name in sorted(set(shadows) - reached):
            yield _finding(*shadows[name])


def _tried(graph: Graph, place: Resource, port: int) -> list[tuple[Resource, Condition]]:
    """The routes for `port` in match order, with what they match."""
    ordered = ordered_routes if place.key.kind is Kind.VIRTUAL_ROUTER else ordered_gateway_routes
    return [
        (one, condition(one.spec))
        for one in ordered(graph, place.key, port)
        if isinstance(one.spec, RouteSpec | GatewayRouteSpec)
    ]


def _finding(route: Resource, earlier: Resource) -> Diagnostic:
    what = "Gateway route" if route.key.kind is Kind.GATEWAY_ROUTE else "Route"
    first = _priority(earlier)
    why = f"has priority {first}" if first is not None else "comes first"
    cure = f"Give {route.key.name} a priority less than {first}" if first else f"Narrow {earlier.key.name}"
    return Diagnostic(
        rule=RULE.code,
        severity=RULE.severity,
        summary=f"{what} {route.key.name} is never reached: {earlier.key.name} takes all of its requests",
        detail=f"{earlier.key.name} {why} and matches whatever {route.key.name} does. {cure}, or remove one of them.",
        subject=route.key.path,
        path="spec.priority" if _priority(route) is not None else "spec",
    )


def _priority(route: Resource) -> int | None:
    return route.spec.priority if isinstance(route.spec, RouteSpec | GatewayRouteSpec) else None


RULE = Rule(code="MW203", name="shadowed-route", severity=Severity.WARNING, page=__doc__.strip(), search=search)
