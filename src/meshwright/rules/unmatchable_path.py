"""A route asks for a path that no request has when proxies compare it.

## What it finds

A `prefix`, or an exact `path`, of a route or gateway route that no request can have:

- one that proxies read differently, since they resolve `.` and `..`, make one slash of several, and undo escapes of
  characters that need none: `//a`, `/a/../b`, `/%41`;
- one with blanks or other characters that are sent percent-encoded;
- one with a query, which is no part of what is compared.

Regular expressions are left alone.

## Why it matters

App Mesh takes the definition, Envoy does as well, and the route never gets a request: `//a` was sent, `/a` is
compared. What was meant for it goes to the next route that matches, or gets 404. Proxies read paths like that so that
nobody gets past a route, or past somebody's rules for access, by another spelling of the same path.

## Example

```yaml
httpRoute:
  match: {prefix: /shop//cart}   # requests for it are compared as /shop/cart
```

## Use instead

The path as proxies read it; escapes as they are sent; parameters apart:

```yaml
httpRoute:
  match:
    prefix: /shop/cart
    queryParameters: [{name: colour, match: {exact: red}}]
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.graph import gateway_route_target, route_action
from meshwright.model.gateway_routes import GatewayRouteSpec, HttpGatewayRouteMatch
from meshwright.model.identity import Kind
from meshwright.model.routes import HttpRouteMatch, RouteSpec
from meshwright.routing import gateway_route_match, http_path, route_match, unmatchable
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.constraints import World
    from meshwright.graph import Graph
    from meshwright.model.state import Resource


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding a route."""
    del world
    for one in (*graph.state.of(Kind.ROUTE), *graph.state.of(Kind.GATEWAY_ROUTE)):
        if isinstance(one.spec, RouteSpec):
            yield from _judged(one, route_match(one.spec), route_action(one.spec)[0])
        elif isinstance(one.spec, GatewayRouteSpec):
            yield from _judged(one, gateway_route_match(one.spec), gateway_route_target(one.spec)[0])


def _judged(route: Resource, match: object, member: str) -> Iterator[Diagnostic]:
    if not isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        return
    kind, text = http_path(match)
    wrong = unmatchable(kind, text)
    if wrong is None:
        return
    why, instead = wrong
    what = "Gateway route" if route.key.kind is Kind.GATEWAY_ROUTE else "Route"
    asked = f"a path that begins with {text!r}" if kind == "prefix" else f"the path {text!r}"
    yield Diagnostic(
        rule=RULE.code,
        severity=RULE.severity,
        summary=f"{what} {route.key.name} is never reached: no request has {asked} when it is compared",
        detail=f"{why[:1].upper()}{why[1:]}. {instead}",
        subject=route.key.path,
        path=f"spec.{member}.match.{'prefix' if kind == 'prefix' else 'path.exact'}",
    )


RULE = Rule(code="MW214", name="unmatchable-path", severity=Severity.WARNING, page=__doc__.strip(), search=search)
