"""`meshwright graph`: files → state → graph → a picture."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

from meshwright.cli.options import definition_arguments

if TYPE_CHECKING:
    from pathlib import Path


@click.command("graph")
@definition_arguments
@click.option("--format", "form", type=click.Choice(["text", "json", "mermaid", "dot", "svg"]), default="text",
              show_default=True, help="What to print.")  # fmt: skip
@click.pass_obj
def command(
    options: dict[str, Any],
    *,
    paths: tuple[Path, ...],
    parameters: tuple[str, ...],
    mesh: str | None,
    form: str,
) -> int:
    """Print the dependency graph of definitions.

    It shows who calls whom, by which route, in what shares. PATH is what `meshwright validate` takes.

    Exit codes: 0 the graph is whole, 1 some definitions have errors and are left out, 2 a path cannot be read.
    """
    from meshwright.cli.definitions import loaded, project
    from meshwright.diagnostics import Severity
    from meshwright.graph import resolve
    from meshwright.views.diagnostics import as_json
    from meshwright.views.graph_picture import picture

    read = loaded(project(options, paths), paths, parameters, mesh)
    drawn = picture(resolve(read.state))
    if form == "json":
        sys.stdout.write(as_json(drawn))
    else:
        sys.stdout.write(importlib.import_module(f"meshwright.views.graph_{form}").render(drawn))
    errors = sum(one.severity is Severity.ERROR for one in read.diagnostics)
    if errors:
        click.echo(f"{errors} errors in these files; 'meshwright validate' shows them.", err=True)
    return int(errors > 0)
