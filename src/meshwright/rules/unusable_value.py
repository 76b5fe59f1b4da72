"""A value of `.travis.yml` that Travis cannot use.

## What it finds

Values of another kind than Travis takes (a mapping where a command stands, a list where a variable stands), values
that are not of its list (`language`, `dist`, `provider`), mappings without what they need, and keys given under two
names. Shorthands that Travis takes (`cache: pip`, a text for a list) are no findings.

## Why it matters

Travis drops the value and goes on without it, or rejects the build. A command that became a mapping is the most
frequent of them: a colon with a space after it ends a key, wherever it stands.

## Example

```yaml
script:
  - echo "result: good"
```

## Use instead

```yaml
script:
  - 'echo "result: good"'
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW851", name="unusable-value", severity=Severity.ERROR, page=__doc__.strip())
