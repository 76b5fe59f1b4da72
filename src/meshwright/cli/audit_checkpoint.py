"""`meshwright audit checkpoint` and `audit key`: what to keep elsewhere, and what verifies it.

The one rule: the key that signs never leaves its file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshwright.cli.options import FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping

OFFLINE = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Read this folder of a control plane instead of asking one.",
)
"""The option of commands that do without a server."""


@click.command("checkpoint")
@OFFLINE
@FORMAT
@click.pass_obj
def checkpoint(options: dict[str, Any], data_dir: Path | None, form: str) -> int:
    """Print the newest checkpoint of the log: its size and root, signed.

    Keep it where whoever can write the database cannot; 'audit verify --checkpoint' takes it. The format is C2SP's
    tlog-checkpoint.

    Exit codes: 0 told, 1 not allowed, 2 could not be done.
    """
    found = _checkpoint(options, data_dir)
    click.echo(
        json.dumps(found, indent=2, ensure_ascii=False) if form == "json" else found["checkpoint"].rstrip("\n")
    )
    return 0


@click.command("key")
@OFFLINE
@click.option(
    "--format",
    "form",
    type=click.Choice(["note", "pem"]),
    default="note",
    show_default=True,
    help="note: NAME+ID+KEY, for checkpoints; pem: for verifiers of provenance.",
)
@click.pass_obj
def key(options: dict[str, Any], data_dir: Path | None, form: str) -> int:
    """Print the public key that verifies checkpoints, proofs and provenance.

    Keep it with the checkpoints: 'audit verify --key' takes it, or a file with it.

    Exit codes: 0 told, 1 not allowed, 2 could not be done.
    """
    from meshwright.audit import VerifierKey

    found = VerifierKey.read(_checkpoint(options, data_dir)["key"])
    click.echo(found.text if form == "note" else found.pem.rstrip())
    return 0


def _checkpoint(options: Mapping[str, Any], data_dir: Path | None) -> Mapping[str, Any]:
    if data_dir is None:
        from meshwright.cli.target import resolve

        return resolve(options).client().checkpoint()
    import msgspec

    from meshwright.cli.stores import opened
    from meshwright.store.keys import read_signing_key
    from meshwright.views.answers import checkpoint_answer

    with opened(data_dir) as store:
        found = store.checkpoint()
    return msgspec.structs.asdict(checkpoint_answer(found, read_signing_key(data_dir)))
