"""A file is not well-formed YAML or JSON.

## What it finds

Syntax errors with their line; duplicate keys; values nested too deeply; anchors that would unfold into more than
anybody wrote.

## Why it matters

Nothing in such a document is certain, so nothing of it is used. With a duplicate key, one of two values would hold
and nobody could say which.

## Example

```yaml
spec:
  listeners: []
  listeners: [{portMapping: {port: 80, protocol: http}}]
```

## Use instead

```yaml
spec:
  listeners: [{portMapping: {port: 80, protocol: http}}]
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW010", name="unreadable-document", severity=Severity.ERROR, page=__doc__.strip())
