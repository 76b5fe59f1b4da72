"""A file or folder that was named holds no App Mesh definitions.

## What it finds

Paths on the command line or in `meshwright.yaml` in which nothing was recognised: an error when none of the paths
holds a definition, a warning when others do.

## Why it matters

The path is probably wrong. A check of nothing would always succeed, and a release of nothing would delete the whole
stack: `meshwright apply --allow-empty` does that on purpose.

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

RULE = Rule(code="MW015", name="no-definitions", severity=Severity.ERROR, page=__doc__.strip())
