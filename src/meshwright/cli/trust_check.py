"""`meshwright trust check`: what a trust file allows that it should not."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshwright.cli.trusting import found_file

if TYPE_CHECKING:
    from meshwright.trust.review import KnownKey


@click.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE]")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A local control plane whose access keys are checked as well: whose they are, and how old.",
)
@click.option("--environment", metavar="NAME", help="Check this environment alone [default: all of the file].")
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif", "junit"]), default="text",
              show_default=True, help="What to print.")  # fmt: skip
@click.option("--fail-on", type=click.Choice(["error", "warning"]), default="error", show_default=True,
              help="The mildest finding that makes the exit code 1.")  # fmt: skip
@click.pass_obj
def check(
    options: dict[str, Any],
    *,
    file: Path | None,
    data_dir: Path | None,
    environment: str | None,
    form: str,
    fail_on: str,
) -> int:
    """Find what a trust file allows that it should not.

    FILE is trust.yaml here, or in .meshwright, unless given. Found are grants wider than what is owned, environments
    that can reach each other, roles that strangers, pull requests or everybody can take, names that two stacks may
    claim, long-lived keys, roles that nobody can take, grants that can never take effect, and guardrails that have
    releases wait for nobody or can never object.
    `meshwright rules CODE` explains a finding.

    Exit codes: 0 nothing as grave as --fail-on, 1 findings, 2 the file cannot be read or means nothing.
    """
    from meshwright.cli.judging import rendered
    from meshwright.diagnostics import Severity, worst
    from meshwright.documents.trust_file import load
    from meshwright.trust.review import review, subjects
    from meshwright.views.diagnostics import report

    trust = load(found_file(file, data_dir))
    keys = _keys(data_dir) if data_dir is not None else ()
    now = time.time_ns() // 1_000_000
    found = review(trust, keys=keys, now=now, environments=(environment,) if environment else None)
    told = report(subjects(trust), found)
    sys.stdout.write(rendered(told, form, Severity(fail_on), quiet=bool((options or {}).get("quiet"))))
    gravest = worst(told.diagnostics)
    return int(gravest is not None and gravest.rank <= Severity(fail_on).rank)


def _keys(data_dir: Path) -> tuple[KnownKey, ...]:
    from meshwright.cli.stores import opened
    from meshwright.trust.review import KnownKey

    with opened(data_dir) as store:
        keys = store.keys()
    return tuple(KnownKey(key_id=one.id, user=one.principal, created_at=one.created_at) for one in keys)
