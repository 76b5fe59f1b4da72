"""A parameter, variable or function has no value before deployment.

## What it finds

CloudFormation parameters without a default, `${…}` in other files without a value or with a secret one, and functions
whose answer only a deployment would know.

## Why it matters

The object that holds the value cannot be judged or released.

## Example

```yaml
Parameters: {MeshName: {Type: String}}
```

## Use instead

Give the value on the command line or in `meshwright.yaml`:

```
meshwright validate mesh.yaml --parameter MeshName=shop
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW011", name="unresolved-value", severity=Severity.ERROR, page=__doc__.strip())
