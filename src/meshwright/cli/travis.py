"""`meshwright travis`: what Travis CI needs to govern a mesh."""

from __future__ import annotations

import click

from meshwright.cli.travis_check import check
from meshwright.cli.travis_encrypt import encrypt
from meshwright.cli.travis_init import init


@click.group("travis")
def command() -> None:
    """Let Travis CI govern a mesh: write its configuration file, check it, encrypt for it."""


for one in (init, check, encrypt):
    command.add_command(one)
