"""An object that only Meshwright understands.

## What it finds

Every extension: objects whose kind begins with `meshwright/`, such as faults, mirrors and rate limits.

## Why it matters

Definitions of App Mesh's own kinds can be taken to whatever else reads them. Extensions cannot: the `aws` command,
CloudFormation and the Kubernetes controller know none of these kinds. App Mesh's objects never mention an extension,
so leaving all of them out gives a complete and portable mesh.

## Example

```yaml
kind: meshwright/Mirror
name: shadow-payment
spec:
  target: {virtualServiceName: payment.shop.local}
  to: {virtualNodeName: payment-next}
  percentage: 5
```

## Use instead

Nothing: this is a remark. Keep extensions in files of their own, so that the rest can go elsewhere as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.model.identity import EXTENSION_KINDS, NAMESPACE
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.constraints import World
    from meshwright.graph import Graph


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding an extension."""
    del world
    for kind in EXTENSION_KINDS:
        for resource in graph.state.of(kind):
            yield Diagnostic(
                rule=RULE.code,
                severity=Severity.INFO,
                summary=f"{NAMESPACE}/{kind.type_name} is an extension, and not portable to App Mesh's own tools",
                detail="Everything of App Mesh's own kinds stays portable without it.",
                subject=resource.key.path,
            )


RULE = Rule(code="MW004", name="not-portable", severity=Severity.INFO, page=__doc__.strip(), search=search)
