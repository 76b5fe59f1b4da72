"""`meshwright travis`: what Travis CI needs to govern a mesh."""

from __future__ import annotations

import click

from meshwright.cli.travis_check import check


@click.group("travis")
def command() -> None:
    """Let Travis CI govern a mesh: check its configuration file."""


command.add_command(check)
