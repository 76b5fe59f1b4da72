"""A value outside what App Mesh takes: too long, too large, not one of the choices, or of another form.

## What it finds

Numbers, lengths and lists outside the limits of the service model; words that are none of an enumeration's, with the
nearest one that is; paths and prefixes that do not begin with a slash; names that an ARN cannot carry.

## Why it matters

App Mesh refuses the request.

## Example

```yaml
healthCheck: {protocol: HTTP, intervalMillis: 1000, timeoutMillis: 2000, healthyThreshold: 2, unhealthyThreshold: 2}
```

## Use instead

```yaml
healthCheck: {protocol: http, intervalMillis: 5000, timeoutMillis: 2000, healthyThreshold: 2, unhealthyThreshold: 2}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW002", name="value-outside-limits", severity=Severity.ERROR, page=__doc__.strip())
