"""A key that today's tools pass over.

## What it finds

Keys that Travis still takes and that no longer do anything, such as `skip_cleanup`.

## Why it matters

What it asked for may happen without it, or may no longer happen at all.

## Example

```yaml
deploy: {provider: script, script: ./deploy.sh, skip_cleanup: true}
```

## Use instead

```yaml
deploy: {provider: script, script: ./deploy.sh}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW865", name="outdated-key", severity=Severity.INFO, page=__doc__.strip())
