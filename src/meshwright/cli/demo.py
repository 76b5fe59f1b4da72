"""`meshwright demo`: the whole story on this machine.

The rule: the story goes to standard output, exit code 0 only when every check of every step held.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from meshwright.errors import UsageError


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave everything running afterwards and print the addresses.")
@click.pass_obj
def command(options: dict[str, Any], *, keep: bool) -> int:
    """The whole story on this machine: control plane, real Envoys, a build, a bad build, a rollback.

    Seven steps, each with checks of its own. Needs pip install 'meshwright[demo]'; everything that it starts is gone
    when it ends.
    """
    try:
        from meshwright.lab import interrupts  # `demo --help` needs none of it
        from meshwright.lab.stage import Teller
        from meshwright.lab.story.telling import tell
    except ModuleNotFoundError as error:
        raise UsageError(
            f"The demo needs {error.name}, which is not installed: pip install 'meshwright[demo]'"
        ) from error

    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    teller = Teller(_line, colour=colour, quiet=bool(options["quiet"]))
    code = interrupts.run(tell(teller, keep=keep))
    if code > 128:
        click.echo("Interrupted; everything was stopped.", err=True)
    return code


def _line(text: str) -> None:
    """One line at once: the story is its own progress."""
    click.echo(text)
    sys.stdout.flush()
