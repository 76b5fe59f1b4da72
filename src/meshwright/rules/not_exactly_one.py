"""Several alternatives are set where one is meant, or none where one is needed.

## What it finds

A route with two protocols, a provider that is both a node and a router, a certificate from two places, a match with
both a prefix and a path; and each of them with nothing at all.

## Why it matters

App Mesh refuses the request: it cannot know which one is meant.

## Example

```yaml
match: {prefix: /, path: {exact: /checkout}}
```

## Use instead

```yaml
match: {path: {exact: /checkout}}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW003", name="not-exactly-one", severity=Severity.ERROR, page=__doc__.strip())
