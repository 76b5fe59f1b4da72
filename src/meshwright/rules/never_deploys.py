"""A deployment that no build reaches.

## What it finds

Deployments whose branches, the conditions of their job, stage and build, and the branches that are built at all
exclude each other. Pull requests never deploy.

## Why it matters

The build passes, and nothing is deployed.

## Example

```yaml
- stage: release
  if: branch = main
  deploy: {provider: script, script: ./deploy.sh}
```

## Use instead

```yaml
- stage: release
  if: branch = main
  deploy: {provider: script, script: ./deploy.sh, on: {branch: main}}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW859", name="never-deploys", severity=Severity.ERROR, page=__doc__.strip())
