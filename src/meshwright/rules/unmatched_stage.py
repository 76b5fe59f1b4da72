"""The stages that are listed, and those of the jobs, do not match.

## What it finds

Stages that `stages` lists and no job belongs to, and stages of jobs that are not listed and look like one that is.

## Why it matters

Conditions and order of a stage hold for the jobs of that name alone. The others run after it, without its condition.

## Example

```yaml
stages: [{name: release, if: branch = main}]
jobs:
  include:
    - stage: relaese
```

## Use instead

```yaml
stages: [{name: release, if: branch = main}]
jobs:
  include:
    - stage: release
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW866", name="unmatched-stage", severity=Severity.WARNING, page=__doc__.strip())
