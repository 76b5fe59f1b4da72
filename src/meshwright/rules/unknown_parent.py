"""A route without its virtual router, a gateway route without its virtual gateway, or an object without its mesh.

## What it finds

Objects whose parent does not exist. When the mesh itself is among the files, they are the whole of it and this is an
error. Otherwise the parent may be defined elsewhere: a warning, until `plan` or `apply` asks the server. A mesh that
is not among the files is no finding at all.

## Why it matters

App Mesh refuses the object with `NotFoundException`.

## Example

```yaml
virtualRouterName: crat
routeName: all
```

## Use instead

```yaml
virtualRouterName: cart
routeName: all
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW104", name="unknown-parent", severity=Severity.ERROR, page=__doc__.strip())
