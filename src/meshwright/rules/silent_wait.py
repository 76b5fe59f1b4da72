"""A command prints nothing for longer than Travis waits.

## What it finds

Sleeps of ten minutes and more, and waits of the AWS command line, without `travis_wait`. Commands of ours, unless
they are `--quiet`, tell meanwhile that they still wait.

## Why it matters

Travis ends a job that has printed nothing for ten minutes, in the middle of whatever it does.

## Example

```yaml
script: sleep 900
```

## Use instead

```yaml
script: travis_wait 20 sleep 900
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW862", name="silent-wait", severity=Severity.WARNING, page=__doc__.strip())
