r"""Envoy rejects the configuration that the definitions come to.

## What it finds

With `validate --envoy`, what each virtual node's and virtual gateway's proxy would be sent is built and given to the
real Envoy, which judges it without running. A throwaway certificate stands in for those of the definitions, because
their files are on the proxy's disk; access logs are not opened. One process judges a hundred proxies at once.

## Why it matters

A proxy that rejects a part keeps its old configuration: the definition has been accepted, is shown as active, and is
not what requests meet. Envoy checks more than App Mesh does, such as the expressions in access logs.

## Example

```yaml
logging:
  accessLog:
    file: {path: /dev/stdout, format: {text: "%CEL(request.path +)%\n"}}   # unfinished
```

## Use instead

```yaml
logging:
  accessLog:
    file: {path: /dev/stdout, format: {text: "%CEL(request.path)%\n"}}
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW901", name="rejected-by-envoy", severity=Severity.ERROR, page=__doc__.strip())
