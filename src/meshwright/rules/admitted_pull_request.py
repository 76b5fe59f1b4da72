"""A role can be taken by the job of a pull request.

## What it finds

Entries of `assume` whose conditions a pull request at GitHub, or a merge request at GitLab, fulfils as well. It is an
error in a protected environment and a warning elsewhere.

## Why it matters

Whoever may open one chooses what its job runs, and nobody has looked at it yet.

## Example

```yaml
    assume: [{issuer: github, conditions: {StringLike: {sub: "repo:acme/cart:*"}}}]
```

## Use instead

```yaml
    assume: [{issuer: github, conditions: {StringLike: {sub: "repo:acme/cart:ref:refs/heads/*"}}}]
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW608", name="admitted-pull-request", severity=Severity.ERROR, page=__doc__.strip())
