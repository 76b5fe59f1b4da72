"""A fault whose time is over.

## What it finds

Faults whose `expiresAt` has passed.

## Why it matters

It has no effect any more: proxies forgot it at that time. A test that is meant to run under it runs without it, and
passes for the wrong reason.

## Example

```yaml
kind: meshwright/Fault
name: slow-payment
spec:
  target: {virtualServiceName: payment.shop.local}
  delay: {duration: {value: 2, unit: s}, percentage: 10}
  expiresAt: "2020-01-01T00:00:00Z"
```

## Use instead

Remove the fault, or give it a time to come. A build can make one when it starts, and hand it in as a parameter:

```yaml
  expiresAt: ${FAULT_EXPIRES_AT}
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.model.extensions import FaultSpec
from meshwright.model.identity import Kind
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.constraints import World
    from meshwright.graph import Graph


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding a fault; none where the time is not known."""
    for resource in graph.state.of(Kind.FAULT):
        spec = resource.spec
        if isinstance(spec, FaultSpec) and world.now is not None and spec.expiry <= world.now:
            yield Diagnostic(
                rule=RULE.code,
                severity=Severity.WARNING,
                summary=f"The fault expired at {spec.expires_at} and has no effect",
                detail="Remove it, or give it a time to come.",
                subject=resource.key.path,
                path="spec.expiresAt",
            )


RULE = Rule(code="MW701", name="expired-fault", severity=Severity.WARNING, page=__doc__.strip(), search=search)
