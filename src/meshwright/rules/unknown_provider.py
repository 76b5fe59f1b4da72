"""The virtual router or virtual node that should answer for a virtual service does not exist.

## What it finds

Providers of virtual services that name nothing. When the mesh itself is among the files, they are the whole of it and
this is an error. Otherwise the provider may be defined elsewhere: a warning, until `plan` or `apply` asks the server.

## Why it matters

App Mesh refuses the virtual service with `NotFoundException`.

## Example

```yaml
provider: {virtualRouter: {virtualRouterName: crat}}
```

## Use instead

```yaml
provider: {virtualRouter: {virtualRouterName: cart}}
```

A virtual service without any provider is legal, and answers nothing.
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW102", name="unknown-provider", severity=Severity.ERROR, page=__doc__.strip())
