"""Fields of one object contradict each other, and App Mesh refuses the object.

## What it finds

Service discovery without a listener and the reverse; a gRPC health check on a listener that does not speak HTTP/2; a
health check on another port than the listener's; a connection pool or timeout under another protocol than the
listener's; two listeners on one port; a backend listed twice; a duration without its unit; an empty range; a gRPC
method without its service; reserved paths at a gateway; a rewritten prefix where no prefix is matched.

## Why it matters

App Mesh refuses the request. The message is the service's own where a public source quotes it.

## Example

```yaml
listeners:
  - portMapping: {port: 8080, protocol: http}
    timeout: {grpc: {perRequest: {unit: s, value: 5}}}
```

## Use instead

```yaml
listeners:
  - portMapping: {port: 8080, protocol: http}
    timeout: {http: {perRequest: {unit: s, value: 5}}}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW005", name="refused-combination", severity=Severity.ERROR, page=__doc__.strip())
