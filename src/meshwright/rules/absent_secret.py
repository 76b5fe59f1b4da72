"""A job of a pull request needs a secret that forks do not have.

## What it finds

Commands that decrypt a file of the repository with a key of the settings, in phases that run for pull requests, and
that do not look whether the key is there.

## Why it matters

Pull requests of forks fail there, with a message that does not name the reason.

## Example

```yaml
before_install: openssl aes-256-cbc -K $encrypted_0a1b_key -iv $encrypted_0a1b_iv -in key.enc -out key -d
```

## Use instead

```yaml
before_install: if [ -n "$encrypted_0a1b_key" ]; then openssl aes-256-cbc …; fi
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW864", name="absent-secret", severity=Severity.WARNING, page=__doc__.strip())
