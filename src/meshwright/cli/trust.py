"""`meshwright trust`: who may do what, checked and explained; sessions; a local control plane's access keys.

The one rule: a secret goes to standard output once, when its key is made, and nowhere else.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - click calls it

import click

from meshwright.cli.options import DATA_DIR
from meshwright.cli.trust_aws import aws
from meshwright.cli.trust_check import check
from meshwright.cli.trust_explain import explain
from meshwright.cli.trust_session import session_group


@click.group("trust")
def command() -> None:
    """Who may do what: check and explain a trust file, access keys, sessions."""


for one in (check, explain, aws, session_group):
    command.add_command(one)


@command.group("key")
def key_group() -> None:
    """Create and list access keys."""


@key_group.command("create")
@click.argument("name")
@DATA_DIR
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def create(name: str, data_dir: Path, form: str) -> None:
    """Create an access key for the principal NAME and print it.

    The text is a profile of an AWS shared credentials file; append it to one, or set AWS_SHARED_CREDENTIALS_FILE
    and AWS_PROFILE. The secret is not shown again. A running control plane knows the key at once.
    """
    from meshwright.cli.stores import opened
    from meshwright.store.keys import create_key, profile_of

    with opened(data_dir) as store:
        key = create_key(store, name, time.time_ns() // 1_000_000)
    if form == "json":
        shown = {"principal": key.principal, "accessKeyId": key.id, "secretAccessKey": key.secret}
        click.echo(json.dumps(shown, indent=2))
    else:
        click.echo(profile_of(key, name), nl=False)


@key_group.command("list")
@DATA_DIR
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def list_keys(data_dir: Path, form: str) -> None:
    """List the access keys, oldest first, without their secrets."""
    from meshwright.cli.stores import opened

    with opened(data_dir) as store:
        keys = store.keys()
    shown = [
        {
            "accessKeyId": key.id,
            "principal": key.principal,
            "createdAt": datetime.fromtimestamp(key.created_at / 1000, tz=UTC).isoformat(timespec="seconds"),
        }
        for key in keys
    ]
    if form == "json":
        click.echo(json.dumps(shown, indent=2))
        return
    for one in shown:
        click.echo(f"{one['accessKeyId']}  {one['createdAt']}  {one['principal']}")
