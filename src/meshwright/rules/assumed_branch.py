"""A deployment does not say from which branch.

## What it finds

Deployments whose `on` has neither `branch` nor `all_branches` nor `tags`.

## Why it matters

Travis then deploys from the branch `master`, by that very name, and says nothing when the repository has none.

## Example

```yaml
deploy:
  provider: script
  script: ./deploy.sh
```

## Use instead

```yaml
deploy:
  provider: script
  script: ./deploy.sh
  on:
    branch: main
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW858", name="assumed-branch", severity=Severity.WARNING, page=__doc__.strip())
