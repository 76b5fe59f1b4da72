"""A file or folder that was named holds no App Mesh definitions.

## What it finds

Paths on the command line or in `meshwright.yaml` in which nothing was recognised.

## Why it matters

The path is probably wrong, and a check of nothing always succeeds.

## Example

```
meshwright validate src/
```

## Use instead

```
meshwright validate mesh/
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW015", name="no-definitions", severity=Severity.WARNING, page=__doc__.strip())
