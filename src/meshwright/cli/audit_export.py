"""`meshwright audit export`: the log for other programs.

The one rule: nothing is left out and nothing is added but hashes that follow from what is there.
"""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - click calls it
from typing import TYPE_CHECKING

import click

from meshwright.cli.options import DATA_DIR
from meshwright.errors import StorageError

if TYPE_CHECKING:
    from meshwright.audit import Entry


@click.command("export")
@DATA_DIR
def export(data_dir: Path) -> None:
    """Print the log, one JSON object a line: position, leaf, its hash, and the root of the log that ends with it."""
    from meshwright.audit import leaf_hash
    from meshwright.cli.stores import entries, opened

    with opened(data_dir) as store:
        for entry in entries(store):
            line = {
                "position": entry.position,
                "leaf": _leaf(entry),
                "hash": leaf_hash(entry.text.encode()).hex(),
                "root": entry.root,
            }
            click.echo(json.dumps(line))


def _leaf(entry: Entry) -> object:
    try:
        return json.loads(entry.text)
    except ValueError as error:
        raise StorageError(
            f"Leaf {entry.position} of the audit log cannot be read: {error}. Run 'meshwright audit verify'."
        ) from None
