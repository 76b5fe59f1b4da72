"""A job of a pull request would deploy.

## What it finds

Commands in the phases of a job that change what runs (`meshwright apply`, `promote`, `rollback` and others of ours,
an error; `kubectl apply`, `docker push`, scripts that are called deploy and their like, a warning), where the
conditions of build, stage and job let pull requests through. Travis keeps deployments under `deploy:` from pull
requests itself.

## Why it matters

A pull request of the same repository has all of the secrets, and those of forks may have them. A change that nobody
has reviewed would then be deployed. Meshwright refuses its own commands there, and the build fails.

## Example

```yaml
- stage: release
  script: meshwright apply --wait 300
```

## Use instead

```yaml
- stage: release
  if: type != pull_request AND branch = main
  script: meshwright apply --wait 300
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW855", name="open-deploy", severity=Severity.ERROR, page=__doc__.strip())
