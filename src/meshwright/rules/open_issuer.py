"""A role can be taken by anybody's job.

## What it finds

Entries of `assume` that take an issuer's tokens without a condition on whose job it is. The claims of a stranger's
job are tried: `sub`, `repository`, `project_path` and their like.

## Why it matters

Everybody can have a token of a public CI. An issuer vouches for whose job it is, not that it is yours.

## Example

```yaml
    assume: [{issuer: github, conditions: {StringEquals: {ref: refs/heads/main}}}]
```

## Use instead

```yaml
    assume: [{issuer: github, conditions: {StringEquals: {repository: acme/cart, ref: refs/heads/main}}}]
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW607", name="open-issuer", severity=Severity.ERROR, page=__doc__.strip())
