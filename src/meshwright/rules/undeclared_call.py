"""A node calls what its definition does not name.

## What it finds

With `graph --observed`: calls that proxies report and that no backend of the caller leads to now. They went to a node
that a backend led to when they were made, or out of the mesh where the egress filter lets them through.

## Why it matters

What is not declared is in no plan and in no picture: nobody who changes the callee knows of this caller. When the
egress filter becomes `DROP_ALL`, or the last route that leads there goes, the call fails.

## Example

```yaml
- virtualNodeName: cart
  spec: {backends: []}      # and its proxy calls a database through an egress filter of ALLOW_ALL
```

## Use instead

Declare it: a virtual service with a virtual node for what is called, and a backend of the caller; or, outside of the
mesh, a `meshwright/EgressPolicy` that names the host. A call from before a backend was taken out ages out in a day.
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW302", name="undeclared-call", severity=Severity.WARNING, page=__doc__.strip())
