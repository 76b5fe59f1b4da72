"""A policy allows writes on names that its role or user does not own.

## What it finds

Users and roles of a trust file whose policies allow to create, update or delete objects that nothing in their `owns`
or `may_change` matches. Names are tried: those that others own, and one that nobody does.

## Why it matters

Ownership refuses such a write, and is then the only thing that does. One line too wide in `owns`, and the policy
keeps nobody out any more.

## Example

```yaml
roles:
  cart-deployer:
    owns: ["virtualNode/cart-*"]
    permissions: [{Version: "2012-10-17", Statement: {Effect: Allow, Action: "appmesh:*", Resource: "*"}}]
```

## Use instead

```yaml
    permissions:
      - Version: "2012-10-17"
        Statement:
          Effect: Allow
          Action: "appmesh:*"
          Resource: "arn:aws:appmesh:*:*:mesh/${environment.mesh}/virtualNode/cart-*"
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW603", name="wider-grant", severity=Severity.WARNING, page=__doc__.strip())
