"""Something was left out, and what it most likely means was taken.

## What it finds

Places where a deployment would decide and there is one obvious answer.

## Why it matters

The definitions can be judged and released all the same. Should the deployment decide otherwise, they are not what
was looked at.

## Example

```yaml
metadata: {name: cart}        # a Kubernetes object without a namespace: `default`
```

## Use instead

Write the value down.
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW016", name="assumed-value", severity=Severity.WARNING, page=__doc__.strip())
