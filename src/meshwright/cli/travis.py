"""`meshwright travis`: what Travis CI needs to govern a mesh."""

from __future__ import annotations

import click

from meshwright.cli.travis_check import check
from meshwright.cli.travis_encrypt import encrypt
from meshwright.cli.travis_init import init
from meshwright.cli.travis_login import login, secret


@click.group("travis")
def command() -> None:
    """Let Travis CI govern a mesh: its configuration file, secrets for it, identities for its jobs."""


for one in (init, check, encrypt, login, secret):
    command.add_command(one)
