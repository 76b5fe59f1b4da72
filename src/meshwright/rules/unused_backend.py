"""A backend is declared and never called.

## What it finds

With `graph --observed`: a node that the backends of a caller lead to, and that no proxy of this caller has called
since it began to report, at least an hour ago. Targets with a weight of zero are left out.

## Why it matters

Every backend costs each proxy of the caller clusters, routes and health checks, and opens a way that nobody needs. It
also misleads: whoever changes the callee waits for a caller that does not exist.

## Example

```yaml
- virtualNodeName: cart
  spec: {backends: [{virtualService: {virtualServiceName: legacy.local}}]}      # no call in a week
```

## Use instead

Take the backend out. Where calls are rare, such as a monthly report, leave it: nobody here knows the next month.
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW303", name="unused-backend", severity=Severity.INFO, page=__doc__.strip())
