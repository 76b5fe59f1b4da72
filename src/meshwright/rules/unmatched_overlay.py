"""An overlay names an object or an item that the definitions do not have.

## What it finds

Overlays of the chosen environment whose object no definition makes, whose item of a list (`listeners[3]`,
`weightedTargets[virtualNode=pay-v2]`) is not there or is not the only one, and documents that are no overlay. Objects
are only missed where all definitions of the project are read.

## Why it matters

What should be otherwise in this environment would be as everywhere.

## Example

```yaml
virtualNodeName: crat          # an overlay for the virtual node cart
spec: {serviceDiscovery: {dns: {hostname: cart.live}}}
```

## Use instead

```yaml
virtualNodeName: cart
spec: {serviceDiscovery: {dns: {hostname: cart.live}}}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW017", name="unmatched-overlay", severity=Severity.ERROR, page=__doc__.strip())
