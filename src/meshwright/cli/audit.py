"""`meshwright audit`: whether the log still says what happened, and the log itself.

The one rule: everything that is off is named, not the first thing only.
"""

from __future__ import annotations

import json
import re
from pathlib import Path  # noqa: TC003 - click calls it
from typing import TYPE_CHECKING

import click

from meshwright.cli.options import DATA_DIR, FORMAT
from meshwright.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.store.contract import Checkpoint, Entry, Store, Verification

_PAGE = 1000


@click.group("audit")
def command() -> None:
    """Verify or export the audit log."""


@command.command("verify")
@DATA_DIR
@click.option("--checkpoint", help="An earlier SIZE:ROOT, kept elsewhere, that the log must still begin with.")
@FORMAT
@click.pass_context
def verify(ctx: click.Context, data_dir: Path, checkpoint: str | None, form: str) -> None:
    """Recompute the log from its leaves, and every digest in it from what is stored; exit 1 when anything is off.

    Whoever can write the database could rewrite the log whole. Keep the checkpoint that this prints somewhere else
    and give it with --checkpoint to see that too.
    """
    from meshwright.cli.stores import opened

    earlier = None if checkpoint is None else _checkpoint(checkpoint)
    with opened(data_dir) as store:
        found = store.verify(earlier)
    click.echo(_json(found) if form == "json" else _text(found))
    ctx.exit(1 if found.faults else 0)


@command.command("export")
@DATA_DIR
def export(data_dir: Path) -> None:
    """Print the log, one JSON object a line: position, leaf, its hash, and the root of the log that ends with it."""
    from meshwright.audit import leaf_hash
    from meshwright.cli.stores import opened

    with opened(data_dir) as store:
        for entry in _entries(store):
            line = {
                "position": entry.position,
                "leaf": _leaf(entry),
                "hash": leaf_hash(entry.text.encode()).hex(),
                "root": entry.root,
            }
            click.echo(json.dumps(line))


def _entries(store: Store) -> Iterator[Entry]:
    after = 0
    while page := store.leaves(after, _PAGE):
        yield from page
        after = page[-1].position + 1


def _leaf(entry: Entry) -> object:
    try:
        return json.loads(entry.text)
    except ValueError as error:
        raise StorageError(
            f"Leaf {entry.position} of the audit log cannot be read: {error}. Run 'meshwright audit verify'."
        ) from None


def _checkpoint(text: str) -> Checkpoint:
    from meshwright.store.contract import Checkpoint

    found = re.fullmatch(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", text)
    if found is None:
        raise UsageError(f"--checkpoint {text!r} is not SIZE:ROOT, as 'meshwright audit verify' prints it.")
    return Checkpoint(int(found[1]), found[2])


def _text(found: Verification) -> str:
    seal = f"{found.checkpoint.size}:{found.checkpoint.root}"
    if not found.faults:
        return f"The audit log is sound: {found.checkpoint.size} leaves.\nCheckpoint {seal}"
    lines = [
        _printable(fault.message if fault.position is None else f"leaf {fault.position}: {fault.message}")
        for fault in found.faults
    ]
    return "\n".join([*lines, f"The audit log is not sound: {len(lines)} faults; {found.checkpoint.size} leaves."])


def _printable(text: str) -> str:
    """`text` with whatever could steer a terminal spelled out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _json(found: Verification) -> str:
    return json.dumps(
        {
            "sound": not found.faults,
            "size": found.checkpoint.size,
            "root": found.checkpoint.root,
            "faults": [{"leaf": fault.position, "message": fault.message} for fault in found.faults],
        },
        indent=2,
    )
