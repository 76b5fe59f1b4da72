"""A secret stands in `.travis.yml` as plain text.

## What it finds

Values of a form that is known (tokens of GitHub, GitLab, Slack, npm and others, private keys), variables that are
secrets by their name, values of keys that Travis takes encrypted ones for, and, as information, ids of AWS access
keys that do not expire. No message repeats a value.

## Why it matters

Whoever can read the repository, its history or a log has it. Travis masks encrypted values only.

## Example

```yaml
env:
  global:
    - API_TOKEN=4f9a0c3e77d1b2
```

## Use instead

```yaml
env:
  global:
    - secure: "…"   # meshwright travis encrypt API_TOKEN
```
"""

from meshwright.diagnostics import Severity
from meshwright.rules.rule import Rule

RULE = Rule(code="MW856", name="plain-secret", severity=Severity.ERROR, page=__doc__.strip())
