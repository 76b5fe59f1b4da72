"""A kind, version or function that this version of Meshwright does not read.

## What it finds

Other versions of the Kubernetes resources than `appmesh.k8s.aws/v1beta2`, and kinds and functions that belong to App
Mesh's dialects and are not understood.

## Why it matters

What is not read is not part of the mesh that is validated and released.

## Example

```yaml
apiVersion: appmesh.k8s.aws/v1beta1
kind: VirtualNode
```

## Use instead

```yaml
apiVersion: appmesh.k8s.aws/v1beta2
kind: VirtualNode
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW014", name="unsupported-definition", severity=Severity.ERROR, page=__doc__.strip())
