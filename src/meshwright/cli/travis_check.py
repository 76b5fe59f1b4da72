"""`meshwright travis check`: what in a `.travis.yml` would bite."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

TRAVIS_FILE = Path(".travis.yml")


@click.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE]")
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif", "junit"]), default="text",
              show_default=True, help="What to print.")  # fmt: skip
@click.option("--fail-on", type=click.Choice(["error", "warning"]), default="error", show_default=True,
              help="The mildest finding that makes the exit code 1.")  # fmt: skip
@click.pass_obj
def check(options: dict[str, Any], *, file: Path | None, form: str, fail_on: str) -> int:
    """Find what in a Travis CI configuration would bite.

    FILE is .travis.yml here, unless given. Found are unknown keys anywhere and values that Travis drops, conditions
    that do not parse, never or always hold, deployments that pull requests reach or that no build does, failures that
    nobody heeds, secrets in plain text, values that bash takes apart, long silence, clones that are too shallow, and
    stages that do not match. Nothing but the file is looked at. `meshwright rules CODE` explains a finding.

    Exit codes: 0 nothing as grave as --fail-on, 1 findings, 2 the file cannot be read.
    """
    from meshwright.ci.travis.review import review
    from meshwright.cli.judging import rendered
    from meshwright.diagnostics import Severity, worst
    from meshwright.documents.files import read_text
    from meshwright.documents.findings import Findings
    from meshwright.views.diagnostics import report

    path = file or TRAVIS_FILE
    text, fault = read_text(path)
    if fault is None:
        found = review(text, str(path))
    else:
        collected = Findings()
        collected.add_faults(str(path), fault)
        found = collected.ordered()
    told = report((str(path),), found)
    sys.stdout.write(rendered(told, form, Severity(fail_on), quiet=bool((options or {}).get("quiet"))))
    gravest = worst(told.diagnostics)
    return int(gravest is not None and gravest.rank <= Severity(fail_on).rank)
