"""A field that App Mesh does not know, a value of the wrong type, or a required field that is not there.

## What it finds

Names that are not in the 2019-01-25 service model, with the nearest one that is; texts where numbers belong, lists
where objects do; required members that are absent. Every such fault of a document is reported, not the first.

## Why it matters

App Mesh refuses the request. A field with a misspelt name would otherwise be ignored, and the default would hold
where somebody believes that a timeout is set.

## Example

```yaml
listeners:
  - portMapping: {prot: 8080, protocol: http}   # port
```

## Use instead

```yaml
listeners:
  - portMapping: {port: 8080, protocol: http}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW001", name="unknown-field", severity=Severity.ERROR, page=__doc__.strip())
