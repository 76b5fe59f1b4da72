"""A grant can never take effect.

## What it finds

Users and roles whose policies allow writes and who own nothing; names that are owned and that no policy allows to
write.

## Why it matters

To write takes both. Half of it is a mistake, or leftovers.

## Example

```yaml
roles:
  cart-deployer:
    permissions: [{Version: "2012-10-17", Statement: {Effect: Allow, Action: "appmesh:*", Resource: "*"}}]
```

## Use instead

```yaml
  cart-deployer:
    stack: cart
    owns: ["virtualNode/cart-*"]
    may_extend: [mesh]
    permissions: [deploy]
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW611", name="powerless-grant", severity=Severity.WARNING, page=__doc__.strip())
