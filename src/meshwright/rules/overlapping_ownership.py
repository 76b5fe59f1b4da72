"""Two stacks may claim the same names.

## What it finds

Patterns in `owns` of users and roles of different stacks that have a name in common.

## Why it matters

Whoever creates the object first has it. The other team's release is refused from then on, for a name that is its own.

## Example

```yaml
roles:
  cart: {stack: cart, owns: ["virtualNode/cart-*"]}
  cart-search: {stack: search, owns: ["virtualNode/*-search"]}      # cart-search is both's
```

## Use instead

```yaml
  cart-search: {stack: search, owns: ["virtualNode/search-*"]}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW610", name="overlapping-ownership", severity=Severity.ERROR, page=__doc__.strip())
