"""A fault that concerns everybody's requests.

## What it finds

Faults with neither a header to match nor callers (`from`). One that delays or aborts every request is a warning, one
that does so to a share of them a remark. One that is over (MW701) or can never act (MW703) concerns nobody.

## Why it matters

Users meet it like everybody else. An abort of 100 percent takes the service down until the fault expires or is
removed.

## Example

```yaml
kind: meshwright/Fault
name: no-payment
spec:
  target: {virtualServiceName: payment.shop.local}
  abort: {httpStatus: 503, percentage: 100}
  expiresAt: "2030-01-01T00:00:00Z"
```

## Use instead

Let it concern requests that ask for it, or those of one caller:

```yaml
  match: {headers: [{name: x-chaos, match: {exact: payment-down}}]}
  from: [checkout]
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.model.extensions import FaultSpec
from meshwright.model.identity import Kind
from meshwright.routing import inert
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.constraints import World
    from meshwright.graph import Graph


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding a delay or abort."""
    for resource in graph.state.of(Kind.FAULT):
        spec = resource.spec
        if not isinstance(spec, FaultSpec) or spec.callers or (spec.match is not None and spec.match.headers):
            continue
        over = world.now is not None and spec.expiry <= world.now
        if over or inert(graph, resource, whole=world.has_all(graph, resource.key.mesh)):
            continue
        for member, harm in (("delay", spec.delay), ("abort", spec.abort)):
            if harm is not None and harm.percentage > 0:
                every = harm.percentage == 100
                share = "every request" if every else f"{harm.percentage:g} % of all requests"
                yield Diagnostic(
                    rule=RULE.code,
                    severity=Severity.WARNING if every else Severity.INFO,
                    summary=f"The {member} concerns {share}, whoever makes it",
                    detail="Match a header (match), or name the callers (from), so that it concerns the test alone.",
                    subject=resource.key.path,
                    path=f"spec.{member}.percentage",
                )


RULE = Rule(code="MW702", name="broad-fault", severity=Severity.WARNING, page=__doc__.strip(), search=search)
