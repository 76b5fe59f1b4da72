"""A role can be taken by nobody, or an issuer or a policy is used by none.

## What it finds

Roles of a trust file without an entry in `assume`; issuers that no entry names; policies that nobody has.

## Why it matters

What is not used is not looked at, until somebody adds the one line that was missing.

## Example

```yaml
roles:
  old-deployer: {stack: cart, owns: ["virtualNode/cart-*"], permissions: [deploy]}
```

## Use instead

Say who may take it, or remove it.

```yaml
    assume: [{principals: [user/operator]}]
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW609", name="unused-role", severity=Severity.WARNING, page=__doc__.strip())
