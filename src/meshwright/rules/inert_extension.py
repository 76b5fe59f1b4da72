"""An extension that can never act.

## What it finds

- Faults, mirrors, header edits, CORS and retry policies about a service, route or node that speaks TCP only: these
  do something with HTTP, on TCP they do nothing.
- Mirrors to a node that takes no HTTP, retry policies without the policy of the protocol that is spoken
  (`grpcRetryPolicy` for gRPC, else `httpRetryPolicy`), faults `from` callers of which none calls what they are about.
- What is about a node's own ingress where the node has no listener; registrations of a node that nobody can call.
- What is about a service or node where narrower ones of its kind, for each route or port, hold instead of it.
- Zone policies of which every node is found by DNS, where instances have no zone.

Reported is only what no definition in other files can change. Where all of a mesh is known, as to `plan` and `apply`,
that is more than where a few files are. An extension that acts at one port and not at another, which speaks TCP, is
not reported: `meshwright status` tells of it (`unserved`), of proxies that are connected.

## Why it matters

It is accepted, released, and without effect. A limit, a mirror or a fault that a team relies on is not there, and a
test that is meant to run under a fault passes for the wrong reason. `meshwright status` says so too, but only of
proxies that are connected.

## Example

```yaml
kind: meshwright/Fault
name: no-cache
spec:
  target: {virtualNodeName: redis}         # its listener speaks tcp
  abort: {httpStatus: 503, percentage: 1}
  expiresAt: "2030-01-01T00:00:00Z"
```

## Use instead

Let it be about what speaks HTTP, or remove it:

```yaml
  target: {virtualServiceName: cart.shop.local}
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.model.identity import EXTENSION_KINDS
from meshwright.routing import inert
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.constraints import World
    from meshwright.graph import Graph


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding an extension."""
    for kind in EXTENSION_KINDS:
        for resource in graph.state.of(kind):
            key = resource.key
            whole = world.has_all(graph, key.mesh) and not world.unread
            found = inert(graph, resource, whole=whole)
            if found is not None:
                yield Diagnostic(
                    rule=RULE.code,
                    severity=Severity.WARNING,
                    summary=f"{kind.type_name} {key.name} can never act: {found.reason}",
                    detail=found.cure,
                    subject=key.path,
                    path=found.path,
                )


RULE = Rule(code="MW703", name="inert-extension", severity=Severity.WARNING, page=__doc__.strip(), search=search)
