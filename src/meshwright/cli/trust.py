"""`meshwright trust`: who may do what, checked and explained; sessions; a local control plane's access keys.

The one rule: a secret goes to standard output once, when its key is made, and nowhere else.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - click calls it

import click

from meshwright.cli.options import DATA_DIR, FORMAT
from meshwright.cli.trust_aws import aws
from meshwright.cli.trust_check import check
from meshwright.cli.trust_explain import explain
from meshwright.cli.trust_session import session_group
from meshwright.cli.trusting import TRUST, trust_file


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
@TRUST
@FORMAT
def create(name: str, data_dir: Path, trust: Path | None, form: str) -> None:
    """Create an access key for the principal NAME and print it.

    The text is a profile of an AWS shared credentials file; append it to one, or set AWS_SHARED_CREDENTIALS_FILE
    and AWS_PROFILE. The secret is not shown again. A running control plane knows the key at once, and lets it do what
    its trust file grants to the user NAME.
    """
    from meshwright.cli.stores import opened
    from meshwright.store.keys import ADMINISTRATOR, create_key, profile_of

    file = trust_file(trust, data_dir)
    with opened(data_dir) as store:
        key = create_key(store, name, time.time_ns() // 1_000_000)
    if form == "json":
        shown = {"principal": key.principal, "access_key_id": key.id, "secret_access_key": key.secret}
        click.echo(json.dumps(shown, indent=2))
    else:
        click.echo(profile_of(key, name), nl=False)
    if name != ADMINISTRATOR and not _declares(file, name):
        click.echo(
            f"The key may do nothing until the server's trust.yaml declares the user {name!r} under users"
            f"{f'; {file} does not' if file else ''}.",
            err=True,
        )


def _declares(file: Path | None, name: str) -> bool:
    """Whether the file is there, can be used, and declares the user."""
    from meshwright.documents.trust_file import load
    from meshwright.errors import MeshwrightError

    try:
        return file is not None and name in load(file).users
    except MeshwrightError:
        return False


@key_group.command("list")
@DATA_DIR
@FORMAT
def list_keys(data_dir: Path, form: str) -> None:
    """List the access keys, oldest first, without their secrets."""
    from meshwright.cli.stores import opened

    with opened(data_dir) as store:
        keys = store.keys()
    shown = [
        {
            "access_key_id": key.id,
            "principal": key.principal,
            "created_at": datetime.fromtimestamp(key.created_at / 1000, tz=UTC).isoformat(timespec="seconds"),
        }
        for key in keys
    ]
    if form == "json":
        click.echo(json.dumps(shown, indent=2))
        return
    for one in shown:
        click.echo(f"{one['access_key_id']}  {one['created_at']}  {one['principal']}")
