"""A backend names a virtual service that does not exist.

## What it finds

A backend of a virtual node whose virtual service is not defined. Where the mesh itself is not among the files, the
virtual service is probably defined by another repository: the finding is a mere remark then.

## Why it matters

App Mesh accepts such a backend and connects it as soon as the virtual service appears, which lets services be
deployed in any order. Until then the node's Envoy knows no such host: HTTP requests to it get 404, TCP connections
are closed. A name that is misspelt stays so for ever.

## Example

```yaml
backends:
  - virtualService: {virtualServiceName: crat.local}   # the service is cart.local
```

## Use instead

```yaml
backends:
  - virtualService: {virtualServiceName: cart.local}
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.constraints import near_name
from meshwright.diagnostics import Diagnostic, Severity
from meshwright.graph import Relation
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.constraints import World
    from meshwright.graph import Graph


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding a backend."""
    for edge in graph.edges:
        if edge.relation is not Relation.BACKEND or edge.found or edge.target in world.unread:
            continue
        known = world.has_all(graph, edge.target.mesh)
        hint = near_name(graph, edge.target) if known else ""
        yield Diagnostic(
            rule=RULE.code,
            severity=Severity.WARNING if known else Severity.INFO,
            summary=f"Virtual service {edge.target.name} {'does not exist' if known else 'is not in these files'}",
            detail=" ".join(filter(None, (hint, "App Mesh takes the backend; calls fail until the service exists."))),
            subject=edge.source.path,
            path=edge.path,
        )


RULE = Rule(code="MW103", name="unknown-backend", severity=Severity.WARNING, page=__doc__.strip(), search=search)
