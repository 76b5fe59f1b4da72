"""`meshwright graph`: files → state → graph → a picture; with `--observed`, what proxies report → a picture.

The one rule: both are drawn by the same code.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

from meshwright.cli.options import definition_arguments
from meshwright.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.views.graph_picture import Picture


@click.command("graph")
@definition_arguments
@click.option("--observed", is_flag=True,
              help="Draw what the control plane's proxies report, beside what is declared.")  # fmt: skip
@click.option("--minutes", type=click.IntRange(1, 60), default=5, show_default=True,
              help="With --observed: count over so many minutes.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["text", "json", "mermaid", "dot", "svg"]), default="text",
              show_default=True, help="What to print.")  # fmt: skip
@click.pass_obj
def command(
    options: dict[str, Any],
    /,
    *,
    paths: tuple[Path, ...],
    parameters: tuple[str, ...],
    mesh: str | None,
    observed: bool,
    minutes: int,
    form: str,
) -> int:
    """Print the dependency graph of definitions, or of what really happens.

    It shows who calls whom, by which route, in what shares. PATH is what `meshwright validate` takes. With --observed
    it asks the control plane instead: rates, errors and latencies, calls that nobody declared, backends never called.

    Exit codes: 0 the graph is whole, 1 some definitions have errors and are left out, or a call is not declared, 2 a
    path cannot be read or the control plane not be asked.
    """
    from meshwright.cli.definitions import loaded, project
    from meshwright.diagnostics import Severity
    from meshwright.graph import resolve
    from meshwright.views.diagnostics import as_json
    from meshwright.views.graph_picture import picture

    if observed:
        if paths or parameters:
            raise UsageError("--observed asks the control plane; it takes no files and no parameters.")
        return _observed(options, mesh, minutes, form)
    read = loaded(project(options, paths), paths, parameters, mesh)
    drawn = picture(resolve(read.state))
    sys.stdout.write(as_json(drawn) if form == "json" else _rendered(drawn, form))
    errors = sum(one.severity is Severity.ERROR for one in read.diagnostics)
    if errors:
        click.echo(f"{errors} errors in these files; 'meshwright validate' shows them.", err=True)
    return int(errors > 0)


def _observed(options: dict[str, Any], mesh: str | None, minutes: int, form: str) -> int:
    from meshwright.cli.target import resolve
    from meshwright.cli.terminal import shows_colour
    from meshwright.views.diagnostics import as_json, report
    from meshwright.views.observed import picture
    from meshwright.views.text import render

    target = resolve(options, mesh=mesh)
    found = target.client().calls(target.meshed(), minutes)
    sys.stdout.write(as_json(found) if form == "json" else _rendered(picture(found), form))
    if form == "text" and found.findings:
        objects = {one.caller for one in found.calls}
        sys.stdout.write("\n" + render(report(objects, found.findings), colour=shows_colour(sys.stdout)))
    return int(any(not one.declared for one in found.calls))


def _rendered(drawn: Picture, form: str) -> str:
    text: str = importlib.import_module(f"meshwright.views.graph_{form}").render(drawn)
    return text
