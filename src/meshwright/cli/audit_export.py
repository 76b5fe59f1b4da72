"""`meshwright audit export`: the log for other programs.

The one rule: nothing is left out and nothing is added but hashes that follow from what is there.
"""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - click calls it
from typing import TYPE_CHECKING, Any

import click

from meshwright.cli.options import DATA_DIR
from meshwright.errors import StorageError

if TYPE_CHECKING:
    from meshwright.audit import Entry
    from meshwright.store.contract import Store


@click.command("export")
@DATA_DIR
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "slsa"]),
    default="jsonl",
    show_default=True,
    help="jsonl: the whole log; slsa: the provenance of one release, signed.",
)
@click.option(
    "--release", metavar="RELEASE", help="The release whose provenance it is: shop/cart#12, mesh and stack."
)
def export(data_dir: Path, form: str, release: str | None) -> int:
    """Print the log, one JSON object a line, or the provenance of a release.

    A line has the position, the leaf, its hash, and the root of the log that ends with it. Provenance is an in-toto
    statement with SLSA's predicate in a DSSE envelope, signed by the key that signs checkpoints.

    Exit codes: 0 printed, 1 there is no such release, 2 could not be done.
    """
    from meshwright.cli.stores import opened

    if (form == "slsa") != (release is not None):
        raise click.UsageError("--format slsa and --release go together.")
    with opened(data_dir) as store:
        if release is not None:
            click.echo(json.dumps(_provenance(store, data_dir, release)))
        else:
            _print_lines(store)
    return 0


def _print_lines(store: Store) -> None:
    from meshwright.audit import leaf_hash
    from meshwright.cli.stores import entries

    for entry in entries(store):
        line = {
            "position": entry.position,
            "leaf": _leaf(entry),
            "hash": leaf_hash(entry.text.encode()).hex(),
            "root": entry.root,
        }
        click.echo(json.dumps(line))


def _provenance(store: Store, data_dir: Path, name: str) -> dict[str, Any]:
    """The envelope with the provenance of a release.

    Raises:
        RefusedError: there is no such release.
        StorageError: it is not what its own digest says.
    """
    from meshwright.audit import IN_TOTO, canonical, enveloped
    from meshwright.cli.stores import entry_of_release
    from meshwright.release import digest_of
    from meshwright.store.keys import read_signing_key
    from meshwright.views.provenance import statement

    entry = entry_of_release(store, name)
    place, _, number = name.rpartition("#")
    mesh, _, stack = place.partition("/")
    found = store.release(mesh, stack, int(number))
    if found is None or digest_of(found.content) != found.digest:
        raise StorageError(f"The content of release {name} is not what was applied. Run 'meshwright audit verify'.")
    key = read_signing_key(data_dir)
    return enveloped(canonical(statement(found, entry, key.name)), IN_TOTO, key)


def _leaf(entry: Entry) -> object:
    try:
        return json.loads(entry.text)
    except ValueError as error:
        raise StorageError(
            f"Leaf {entry.position} of the audit log cannot be read: {error}. Run 'meshwright audit verify'."
        ) from None
