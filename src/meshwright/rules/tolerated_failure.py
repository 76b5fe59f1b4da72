"""A deployment may fail, and the build passes all the same.

## What it finds

`allow_failure` of a deployment, of its job, and entries of `jobs.allow_failures` that such a job matches. It is an
error where the job runs commands of ours.

## Why it matters

The build is passed, although nothing was deployed, or half of it. A search for the last good build finds it.

## Example

```yaml
deploy:
  provider: script
  script: ./deploy.sh
  allow_failure: true
```

## Use instead

```yaml
deploy:
  provider: script
  script: ./deploy.sh
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW860", name="tolerated-failure", severity=Severity.WARNING, page=__doc__.strip())
