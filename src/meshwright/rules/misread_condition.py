"""A condition that says something else than it seems to.

## What it finds

`branch!=main` (read as a word, for want of a space), `Branch = main`, types of builds that do not exist,
`env(TRAVIS_…)`, which has no value when conditions are judged, and regular expressions without their second slash.

## Why it matters

Travis reads it without complaint, and decides by something else.

## Example

```yaml
if: env(TRAVIS_BRANCH) = main
```

## Use instead

```yaml
if: branch = main
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW854", name="misread-condition", severity=Severity.WARNING, page=__doc__.strip())
