"""One object is defined twice.

## What it finds

Two definitions, in one file or in several, with the same mesh, kind and name.

## Why it matters

One of them would hold and the other be lost, by the order in which files are read.

## Example

```
mesh/cart.yaml:3       virtualNode cart
mesh/cart-old.yaml:3   virtualNode cart
```

## Use instead

Remove one of them, or give only the folder that holds the current one.
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW013", name="duplicate-definition", severity=Severity.ERROR, page=__doc__.strip())
