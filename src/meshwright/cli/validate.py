"""`meshwright validate`: files → state → constraints and rules → a report and an exit code.

The one rule: every problem of every file is reported in one run, whatever else is broken.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from meshwright.cli.options import definition_arguments

if TYPE_CHECKING:
    from pathlib import Path


@click.command("validate")
@definition_arguments
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif", "junit"]), default="text",
              show_default=True, help="What to print.")  # fmt: skip
@click.option("--fail-on", type=click.Choice(["error", "warning"]), default="error", show_default=True,
              help="The mildest finding that makes the exit code 1.")  # fmt: skip
@click.option("--whole/--part", default=None,
              help="Whether the files hold the whole mesh, or one service's part of it, so that names may be defined "
                   "elsewhere [default: the whole when the mesh itself is among them].")  # fmt: skip
@click.option("--envoy", is_flag=True, help="Let the real Envoy judge what each proxy would be sent.")
@click.pass_obj
def command(
    options: dict[str, Any],
    *,
    paths: tuple[Path, ...],
    parameters: tuple[str, ...],
    mesh: str | None,
    form: str,
    fail_on: str,
    whole: bool | None,
    envoy: bool,
) -> int:
    """Check definitions: fields, limits, references, rules. Exit 1 when something is found.

    PATH is a file or a folder of App Mesh API JSON or YAML, CloudFormation templates or Kubernetes manifests; without
    one, the definitions of meshwright.yaml are checked, and with its folder too. Where there is no meshwright.yaml
    here, the nearest one holds: in the folder that PATH names or lies in, or between that folder and this one.
    Definitions that hold nothing at all are a finding. `meshwright rules CODE` explains a finding.

    With --envoy, what every proxy would be sent is built and the installed Envoy judges it, so that what passes is
    not rejected later; without an Envoy ('meshwright[envoy]') that is an error, never a silent pass.

    Exit codes: 0 nothing as grave as --fail-on, 1 findings, 2 a path or meshwright.yaml cannot be read.
    """
    from meshwright.cli.definitions import loaded, project
    from meshwright.cli.judging import by_envoy, judged, rendered
    from meshwright.diagnostics import Severity, worst
    from meshwright.views.diagnostics import report

    read = loaded(project(options, paths), paths, parameters, mesh, lenient=True)
    found = judged(read, whole)
    if envoy:
        found = (*found, *by_envoy(read, found))
    told = report((one.key.path for one in read.state), found)
    sys.stdout.write(rendered(told, form, Severity(fail_on), quiet=bool(options.get("quiet"))))
    gravest = worst(told.diagnostics)
    return int(gravest is not None and gravest.rank <= Severity(fail_on).rank)
