"""Somebody works with an access key that does not expire, or that is old.

## What it finds

Users of a trust file; with `trust check --data-dir`, also a server's access keys that are older than 90 days or
belong to a user whom the file does not declare.

## Why it matters

A key that never expires is good for ever once it has leaked, and nobody notices.

## Example

```yaml
users:
  ci: {stack: cart, owns: ["virtualNode/cart-*"], permissions: [deploy]}
```

## Use instead

A role that the job takes for an hour, with the token of its CI or from a user who may do nothing else:

```yaml
roles:
  cart-deployer:
    stack: cart
    owns: ["virtualNode/cart-*"]
    permissions: [deploy]
    assume: [{issuer: github, conditions: {StringEquals: {repository: acme/cart, ref: refs/heads/main}}}]
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW604", name="long-lived-key", severity=Severity.WARNING, page=__doc__.strip())
