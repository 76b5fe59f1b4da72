"""A condition that never or always holds.

## What it finds

Conditions of which every outcome has been tried: such that hold in no build (an error), such that hold in every
build (a warning), and those of a job, its stage and the build that exclude each other. `true` and `false` alone are
taken as meant.

## Why it matters

What a condition guards that never holds does not run, and leaves no trace in the build. One that always holds guards
nothing.

## Example

```yaml
if: branch != main OR branch != next
```

## Use instead

```yaml
if: branch != main AND branch != next
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW853", name="constant-condition", severity=Severity.ERROR, page=__doc__.strip())
