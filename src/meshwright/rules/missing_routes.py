"""A virtual router that answers for a virtual service has no routes.

## What it finds

A virtual router that is the provider of a virtual service, and in which no route lies. Where the mesh itself is not
among the files, its routes may be elsewhere: the finding is a warning then.

## Why it matters

A router sends a request where its routes say. Without any, Envoy has a virtual host with no routes in it and answers
every request with 404. App Mesh accepts this without a word, so the first to notice are the callers.

## Example

```yaml
- virtualRouterName: cart            # no route lies in it
  spec: {listeners: [{portMapping: {port: 80, protocol: http}}]}
- virtualServiceName: cart.local
  spec: {provider: {virtualRouter: {virtualRouterName: cart}}}
```

## Use instead

Add a route that matches everything, and make it more precise later:

```yaml
- virtualRouterName: cart
  routeName: all
  spec:
    httpRoute:
      match: {prefix: /}
      action: {weightedTargets: [{virtualNode: cart-v1, weight: 100}]}
```

A virtual service with one virtual node behind it needs no router: make the node its provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.graph import Relation
from meshwright.model.identity import Kind
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.constraints import World
    from meshwright.graph import Graph


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding a router."""
    for router in graph.state.of(Kind.VIRTUAL_ROUTER):
        services = [edge.source.name for edge in graph.incoming(router.key, Relation.PROVIDER)]
        unread = any(key.owner == router.key for key in world.unread)
        if graph.children(router.key) or not services or unread:
            continue
        known = world.has_all(graph, router.key.mesh)
        yield Diagnostic(
            rule=RULE.code,
            severity=Severity.ERROR if known else Severity.WARNING,
            summary=f"Virtual router {router.key.name} has no routes{'' if known else ' in these files'}",
            detail=f"Every request to {', '.join(services)} gets 404. Add a route, such as one for prefix /.",
            subject=router.key.path,
        )


RULE = Rule(code="MW201", name="missing-routes", severity=Severity.ERROR, page=__doc__.strip(), search=search)
