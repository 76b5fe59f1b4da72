"""A definition does not say which object, mesh, router or gateway it is about.

## What it finds

Definitions without a name, a mesh, or the virtual router or gateway that a route lies in, where the dialect has no
rule by which to find it.

## Why it matters

An object without an identity cannot be compared, owned or released.

## Example

```yaml
virtualNodeName: cart
spec: {}                 # in which mesh?
```

## Use instead

Write the mesh into the file, or name it for all files with `--mesh` or in `meshwright.yaml`:

```yaml
meshName: shop
virtualNodeName: cart
spec: {}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW012", name="incomplete-definition", severity=Severity.ERROR, page=__doc__.strip())
