"""Secrets are not masked in logs.

## What it finds

`filter_secrets: false`.

## Why it matters

Every secret that any command prints stands in the log, which is public for a public repository, and stays there.

## Example

```yaml
filter_secrets: false
```

## Use instead

```yaml
filter_secrets: true
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW867", name="unfiltered-log", severity=Severity.ERROR, page=__doc__.strip())
