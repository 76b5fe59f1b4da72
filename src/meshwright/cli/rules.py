"""`meshwright rules`: list what `validate` looks for, or explain one code."""

from __future__ import annotations

import sys

import click

from meshwright.errors import UsageError, did_you_mean


@click.command("rules")
@click.argument("code", required=False, metavar="[CODE|NAME]")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="What to print.")  # fmt: skip
def command(code: str | None, form: str) -> int:
    """List the rules that validate applies, or explain one.

    `meshwright rules MW203` prints the rule's page.
    """
    from meshwright.rules import RULES, find, rendered
    from meshwright.views.escaping import indented_json

    wanted = RULES
    if code is not None:
        rule = find(code)
        if rule is None:
            known = [name for one in RULES for name in (one.code, one.name)]
            hint = did_you_mean(code, known, "'meshwright rules' lists them.", sentence=True)
            raise UsageError(f"there is no rule {code!r}. {hint}")
        wanted = (rule,)
    if form == "json":
        listed = [
            {
                "code": one.code,
                "name": one.name,
                "severity": one.severity,
                "summary": one.summary,
                "page": one.page.strip(),
            }
            for one in wanted
        ]
        sys.stdout.write(indented_json({"version": 1, "rules": listed}))
    elif code is not None:
        sys.stdout.write(rendered(wanted[0]))
    else:
        width = max(len(one.name) for one in wanted)
        for one in wanted:
            sys.stdout.write(f"{one.code}  {one.name:{width}}  {one.severity:7}  {one.summary}\n")
    return 0
