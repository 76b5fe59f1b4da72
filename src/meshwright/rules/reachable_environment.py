"""One environment can be reached from another.

## What it finds

Environments of a trust file with the same account, region and mesh; users and roles of one environment whose patterns
or policies reach into another's mesh; entries of `assume` through which every job that gets a role in an unprotected
environment gets one in a protected environment too.

## Why it matters

An environment is protected only when nothing that is good for another is good for it.

## Example

```yaml
    assume:
      - {issuer: github, conditions: {StringEquals: {repository: acme/cart}}}     # in staging and in production
```

## Use instead

```yaml
    assume:
      - {issuer: github, environments: [staging], conditions: {StringEquals: {repository: acme/cart}}}
      - issuer: github
        environments: [production]
        conditions: {StringEquals: {repository: acme/cart, environment: production}}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW606", name="reachable-environment", severity=Severity.ERROR, page=__doc__.strip())
