"""All targets of a route have the weight zero.

## What it finds

A route none of whose weighted targets has a weight above zero.

## Why it matters

Weights are relative to their sum, and a weight of zero means no traffic. Where all are zero, nobody is left: every
request that the route takes gets 503, and TCP connections are closed. Routes behind it do not get what it takes. App
Mesh accepts weights of any sum, so the first to notice are the callers. `meshwright test` fails on such a route.

## Example

```yaml
httpRoute:
  match: {prefix: /}
  action:
    weightedTargets:
      - {virtualNode: cart-v1, weight: 0}
      - {virtualNode: cart-v2, weight: 0}   # nobody answers
```

## Use instead

Give at least one target a weight; where nobody is to answer, remove the route, which callers see as 404:

```yaml
httpRoute:
  match: {prefix: /}
  action:
    weightedTargets:
      - {virtualNode: cart-v1, weight: 100}
      - {virtualNode: cart-v2, weight: 0}
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.graph import route_action
from meshwright.model.identity import Kind
from meshwright.model.routes import RouteSpec
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.constraints import World
    from meshwright.graph import Graph


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding a route."""
    del world
    for route in graph.state.of(Kind.ROUTE):
        if not isinstance(route.spec, RouteSpec):
            continue
        member, action = route_action(route.spec)
        if any(one.weight for one in action.weighted_targets):
            continue
        named = ", ".join(dict.fromkeys(one.virtual_node for one in action.weighted_targets))
        comes = (
            "Every connection that it takes is closed"
            if member == "tcpRoute"
            else "Every request that it takes gets 503"
        )
        yield Diagnostic(
            rule=RULE.code,
            severity=RULE.severity,
            summary=f"Route {route.key.name} leads nowhere: no target of it has a weight above 0",
            detail=f"{comes}. Give {named} a weight, or remove the route.",
            subject=route.key.path,
            path=f"spec.{member}.action.weightedTargets",
        )


RULE = Rule(code="MW206", name="weightless-route", severity=Severity.WARNING, page=__doc__.strip(), search=search)
