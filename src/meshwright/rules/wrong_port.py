"""A port that must be named is not, or one is named that nobody listens on.

## What it finds

Routes without a match port in a virtual router with several listeners, and gateway routes in such a gateway; targets
without a port where the virtual node, or the provider of the virtual service, has several listeners; and ports that
no listener has.

## Why it matters

With several listeners nothing says which one is meant, so App Mesh refuses the object. A port that no listener has
matches no request, or sends it to nobody.

## Example

```yaml
- virtualRouterName: cart
  spec: {listeners: [{portMapping: {port: 80, protocol: http}}, {portMapping: {port: 81, protocol: http}}]}
- virtualRouterName: cart
  routeName: all
  spec: {httpRoute: {match: {prefix: /}, action: …}}
```

## Use instead

```yaml
  spec: {httpRoute: {match: {prefix: /, port: 80}, action: …}}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW105", name="wrong-port", severity=Severity.ERROR, page=__doc__.strip())
