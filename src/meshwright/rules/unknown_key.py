"""A key of `.travis.yml` that Travis does not know.

## What it finds

Keys anywhere in the file, also inside of `jobs.include`, `deploy`, `on`, addons and notifications, that Travis CI
does not know there. One that is near a known key is an error; another is a warning. Keys that only hold what anchors
name (`_name`, `.name`, `x-name`) are left in peace.

## Why it matters

Travis passes an unknown key over, without a word in the build's log. What it asks for does not happen.

## Example

```yaml
jobs:
  fast_finnish: true
```

## Use instead

```yaml
jobs:
  fast_finish: true
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW850", name="unknown-key", severity=Severity.ERROR, page=__doc__.strip())
