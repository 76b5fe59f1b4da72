"""A guardrail can never object to anything.

## What it finds

Guardrails that hold in no environment; that switch off what no pack has; that are about stacks which no user and no
role has; that ask for changed fields of creations and deletions, which change none; and those that are never told,
since a stricter one minds the same wherever they do.

## Why it matters

Whoever wrote it relies on it.

## Example

```yaml
environments:
  staging: {mesh: shop, pack: staging}
guardrails:
  trafic: {severity: ignore}
```

## Use instead

Correct it, or remove it.

```yaml
guardrails:
  callers: {severity: ignore}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW614", name="idle-guardrail", severity=Severity.WARNING, page=__doc__.strip())
