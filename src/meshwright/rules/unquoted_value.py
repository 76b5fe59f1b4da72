"""A variable's value is taken apart by bash.

## What it finds

Values under `env` with a space and without quotes (an error), and with a character that bash takes for itself (a
warning).

## Why it matters

Variables are assigned by bash: of `NAME=one two` only `one` is left. The same is true of what is encrypted, which is
why `meshwright travis encrypt` quotes.

## Example

```yaml
env:
  - NAME=one two
```

## Use instead

```yaml
env:
  - NAME='one two'
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW857", name="unquoted-value", severity=Severity.ERROR, page=__doc__.strip())
