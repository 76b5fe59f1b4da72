"""A command needs commits or tags that the clone does not have.

## What it finds

`git describe`, `git merge-base` and counts of commits in jobs that clone what Travis clones by default, the last
fifty commits, and that fetch no more.

## Why it matters

The answer is another one than on a laptop, or none, and which one changes with every push.

## Example

```yaml
script: git describe --tags
```

## Use instead

```yaml
git:
  depth: false
script: git describe --tags
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW863", name="shallow-clone", severity=Severity.WARNING, page=__doc__.strip())
