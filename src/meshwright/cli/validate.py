"""`meshwright validate`: files → state → constraints and rules → a report and an exit code.

The one rule: every problem of every file is reported in one run, whatever else is broken.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from meshwright import constraints, rules
from meshwright.cli.definitions import definition_arguments, loaded, project
from meshwright.cli.terminal import shows_colour
from meshwright.diagnostics import Diagnostic, Severity, worst
from meshwright.graph import resolve
from meshwright.views.diagnostics import Report, as_json, report

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.documents.load import Loaded


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
    one, the definitions of meshwright.yaml are checked. `meshwright rules CODE` explains a finding.

    Exit codes: 0 nothing as grave as --fail-on, 1 findings, 2 a path or meshwright.yaml cannot be read.
    """
    read = loaded(project(options), paths, parameters, mesh)
    found = judged(read, whole)
    if envoy:
        found = (*found, *_by_envoy(read, found))
    told = report((one.key.path for one in read.state), found)
    sys.stdout.write(_rendered(told, form, Severity(fail_on), quiet=bool(options.get("quiet"))))
    gravest = worst(told.diagnostics)
    return int(gravest is not None and gravest.rank <= Severity(fail_on).rank)


def judged(read: Loaded, whole: bool | None = None) -> tuple[Diagnostic, ...]:
    """Everything that loading, App Mesh's constraints and our rules find in `read`, with file and line."""
    graph = resolve(read.state)
    unread = frozenset(read.broken)
    found = (*constraints.check(graph, whole=whole, unread=unread), *rules.audit(graph, whole=whole, unread=unread))
    return (*read.diagnostics, *read.sources.attach(found))


def _by_envoy(read: Loaded, found: tuple[Diagnostic, ...]) -> tuple[Diagnostic, ...]:
    if worst(found) is Severity.ERROR:
        click.echo("Envoy was not asked: correct the errors first.", err=True)
        return ()
    from meshwright.proxy import check  # noqa: PLC0415 - protobuf would triple the start-up time

    return read.sources.attach(check.check(resolve(read.state)))


def _rendered(told: Report, form: str, fail_on: Severity, *, quiet: bool) -> str:
    if form == "json":
        return as_json(told)
    if form == "sarif":
        import importlib.metadata  # noqa: PLC0415 - a tenth of the start-up time otherwise

        from meshwright.views import sarif  # noqa: PLC0415 - only what is asked for is loaded

        return sarif.render(told, tool_version=importlib.metadata.version("meshwright"))
    if form == "junit":
        from meshwright.views import junit  # noqa: PLC0415 - only what is asked for is loaded

        return junit.render(told, fail_on=fail_on)
    from meshwright.views import text  # noqa: PLC0415 - only what is asked for is loaded

    return "" if quiet and not told.diagnostics else text.render(told, colour=shows_colour(sys.stdout))
