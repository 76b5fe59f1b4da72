"""`meshwright test`: definitions → trials → a rig of real Envoys → a report and an exit code.

The one rule: progress goes to standard error, the report to standard output, and nothing is left running.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from meshwright.cli.options import FORMAT, definition_arguments


@click.command("test")
@definition_arguments
@click.option("--tests", multiple=True, metavar="PATH", type=click.Path(path_type=Path),
              help="A file or folder of tests, instead of meshwright.yaml's; may be repeated.")  # fmt: skip
@click.option("--only", "patterns", multiple=True, metavar="PATTERN",
              help="Only the test whose name is PATTERN, or those whose names hold it, or match it with * and ?; "
                   "may be repeated.")  # fmt: skip
@click.option("--fail-under", type=click.FloatRange(0, 100), metavar="N",
              help="Exit 1 where less than N percent of the routes and their parts is covered.")  # fmt: skip
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the results as JUnit XML, too.")  # fmt: skip
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the results as one page for browsers, too.")  # fmt: skip
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the results as JSON, too.")  # fmt: skip
@click.option("--isolation", type=click.Choice(["auto", "loopback", "netns"]), default="auto", show_default=True,
              help="What keeps machines apart: loopback addresses, or network namespaces with the redirection of "
                   "production, which need Linux and root; auto: namespaces where they can be made.")  # fmt: skip
@click.option("--simulate", is_flag=True,
              help="Judge, without any Envoy, written tests that ask only where calls go; skip others.")  # fmt: skip
@click.option("--spans/--no-spans", default=True, show_default=True,
              help="Check that each hop of each call leaves the OpenTelemetry span that it should.")  # fmt: skip
@click.option(
    "--list",
    "listing",
    is_flag=True,
    help="Name the tests, with --format json where each is written, too, and run none of them.",
)
@click.option("--baseline", "before", type=click.Path(path_type=Path), multiple=True, metavar="PATH",
              help="Derive the tests from these definitions, and run them on the others: what a change does to "
              "callers. May be repeated.")  # fmt: skip
@click.option("--patience", type=click.FloatRange(1, 600), default=15.2, show_default=True, metavar="SECONDS",
              help="Limits of time that are longer are not waited for by tests that nobody wrote; those that "
                   "people wrote wait for 60 seconds, or for so many where that is longer.")  # fmt: skip
@click.option("--schema", is_flag=True, help="Print the JSON Schema of files of tests, for editors.")
@FORMAT
@click.pass_obj
def command(options: dict[str, Any], /, *, schema: bool, **given: Any) -> int:
    """Run a mesh on real Envoys and test that it does what its definitions say.

    Tests that people wrote are files of YAML, which meshwright.yaml names beside the definitions (tests:). More are
    derived from the definitions, and nobody needs to write one: a call for every route, gateway route and weighted
    target, calls just outside of each match, answers that come too late or with an error, every node calling every
    service, its backends and others, and hosts outside of the mesh.

    Exit codes: 0 all passed, 1 a test failed or could not be run, or coverage is under --fail-under, 2 the
    mesh could not be run.
    """
    if schema:
        from meshwright.documents import trial_schema
        from meshwright.views.escaping import indented_json

        sys.stdout.write(indented_json(trial_schema.schema()))
        return 0
    from meshwright.cli.testing import Asked, Testing
    from meshwright.lab import interrupts

    asked = Asked(**given)
    testing = Testing.of(options, asked)
    if asked.listing:
        return testing.listed()
    if asked.simulate:
        return testing.simulate()
    return interrupts.run(testing.run())
