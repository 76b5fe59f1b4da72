"""A command that deploys stands where its failure changes nothing.

## What it finds

Commands of ours that change something (an error), and others that deploy or publish (a warning), in `after_success`,
`after_failure`, `after_script` and `after_deploy`.

## Why it matters

Travis does not look at what these phases end with: the build passes.

## Example

```yaml
after_success: meshwright apply
```

## Use instead

```yaml
script: meshwright apply
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW861", name="unheeded-command", severity=Severity.ERROR, page=__doc__.strip())
