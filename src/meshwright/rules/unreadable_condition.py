"""A condition that Travis cannot read.

## What it finds

Values of `if:` that are not of Travis's condition language, which is no shell: it has no variables with a dollar,
and `IS` takes `present`, `blank`, `true` and `false` alone.

## Why it matters

Travis rejects the whole build. No build appears: only the page of requests shows why.

## Example

```yaml
if: type IS push AND $TRAVIS_BRANCH = main
```

## Use instead

```yaml
if: type = push AND branch = main
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW852", name="unreadable-condition", severity=Severity.ERROR, page=__doc__.strip())
