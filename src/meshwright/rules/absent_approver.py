"""Releases wait for an approval that nobody but the administrator can give.

## What it finds

Guardrails with `severity: approve`, of the file or of an environment's pack, for stacks whose releases no user and no
role may approve: nobody has `meshwright:ApproveRelease` on the stack, or only roles that nobody can take.

## Why it matters

What waits for the one administrator waits until he is back, or is waved through by the grant that was meant for
emergencies.

## Example

```yaml
environments:
  production: {mesh: shop, pack: production}
roles:
  reviewer: {permissions: [approving], assume: []}
```

## Use instead

Name who may, and let somebody take that role; it must be somebody else than the release's author.

```yaml
policies:
  approving:
    Version: "2012-10-17"
    Statement:
      Effect: Allow
      Action: ["meshwright:ApproveRelease", "meshwright:GetPending"]
      Resource: "arn:aws:meshwright:*:*:mesh/${environment.mesh}/stack/*"
roles:
  reviewer: {permissions: [approving], assume: [{principals: [user/operator]}]}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW613", name="absent-approver", severity=Severity.WARNING, page=__doc__.strip())
