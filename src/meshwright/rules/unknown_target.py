"""A route, a gateway route or an extension leads to an object that does not exist.

## What it finds

Weighted targets of routes, targets of gateway routes, and `target`, `from` and `to` of extensions that name nothing.
When the mesh itself is among the files, they are the whole of it and this is an error. Otherwise the target may be
defined elsewhere: a warning, until `plan` or `apply` asks the server.

## Why it matters

App Mesh refuses the route with `NotFoundException`.

## Example

```yaml
action: {weightedTargets: [{virtualNode: cart-v3, weight: 10}]}   # there are cart-v1 and cart-v2
```

## Use instead

Define the virtual node first, or correct the name:

```yaml
action: {weightedTargets: [{virtualNode: cart-v2, weight: 10}]}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW101", name="unknown-target", severity=Severity.ERROR, page=__doc__.strip())
