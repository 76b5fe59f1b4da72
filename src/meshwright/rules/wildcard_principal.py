"""A role can be taken by every user and every role.

## What it finds

Entries of `assume` with `*` among `principals`; with conditions it is a warning.

## Why it matters

Everybody who can do anything can then do what this role may.

## Example

```yaml
    assume: [{principals: ["*"]}]
```

## Use instead

```yaml
    assume: [{principals: [user/operator, role/ci]}]
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW612", name="wildcard-principal", severity=Severity.ERROR, page=__doc__.strip())
