"""`meshwright audit prove` and `audit check-proof`: facts about the log for those who do not have it.

The one rule: whoever checks needs the proof, a checkpoint or a public key, and nothing else.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshwright.cli.audit_verify import CHECKPOINT, KEY, noted, read_keys
from meshwright.cli.options import DATA_DIR, FORMAT
from meshwright.errors import RefusedError, StorageError, UnreadableError

if TYPE_CHECKING:
    from meshwright.audit import Proof

_LARGEST = 64 << 20
"""Bytes of a proof that is read at most: a leaf of a large release is some megabytes."""


@click.command("prove")
@DATA_DIR
@click.option("--leaf", type=click.IntRange(0), metavar="N", help="That this leaf is in the log.")
@click.option("--release", metavar="RELEASE", help="That the release is: shop/cart#12, mesh and stack.")
@click.option("--from", "old", type=click.IntRange(1), metavar="SIZE", help="That the log begins as it was then.")
@click.option("--size", type=click.IntRange(1), help="Of the log as it was with so many leaves [default: as it is].")
def prove(data_dir: Path, leaf: int | None, release: str | None, old: int | None, size: int | None) -> int:
    """Print a proof that an entry is in the log, or that the log still begins as it once was, as JSON.

    'audit check-proof' checks it without the log. For a checkpoint that was published, give its --size.

    Exit codes: 0 proven, 1 there is no such leaf or release, 2 could not be done.
    """
    from meshwright.audit import leaf_hash, prove_consistency, prove_inclusion
    from meshwright.cli.stores import entries, entry_of_release, opened
    from meshwright.store.keys import read_signing_key
    from meshwright.views.wire import to_wire

    if sum(one is not None for one in (leaf, release, old)) != 1:
        raise click.UsageError("Name one of --leaf, --release and --from.")
    hashes: list[bytes] = []
    known = last = None
    with opened(data_dir) as store:
        position = leaf if release is None else entry_of_release(store, release).position
        # Every hash, and of the entries, which may be large, the one that is asked about and the last.
        for last in itertools.islice(entries(store), size):
            hashes.append(leaf_hash(last.text.encode()))
            known = last if last.position == position else known
    needed = max(size or 1, old or 0, 0 if position is None else position + 1)
    if last is None or len(hashes) < needed:
        raise RefusedError(f"The log has {len(hashes)} leaves that come into question, and {needed} are needed.")
    key = read_signing_key(data_dir)
    proof = prove_inclusion(hashes, known, key) if known is not None else prove_consistency(hashes, old or 0, key)
    if proof.root != last.root:
        raise StorageError("The log's root does not follow from its leaves. Run 'meshwright audit verify'.")
    click.echo(json.dumps(to_wire(proof), indent=2, ensure_ascii=False))
    return 0


@click.command("check-proof")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@CHECKPOINT
@KEY
@FORMAT
def check_proof(file: Path, checkpoints: tuple[str, ...], keys: tuple[str, ...], form: str) -> int:
    """Check a proof of 'audit prove' without the log.

    What it leads to must be a checkpoint that you have from elsewhere (--checkpoint), or one that was signed by a key
    that you have from elsewhere (--key). That a log still begins as it was needs the older checkpoint.

    Exit codes: 0 it proves what it says, 1 it does not, 2 could not be done.
    """
    from meshwright.audit import check, read_proof

    known = read_keys(keys)
    elsewhere = list(noted(checkpoints, known))
    proof = read_proof(_read(file))
    check(proof, elsewhere, known)
    click.echo(json.dumps(_document(proof), indent=2, ensure_ascii=False) if form == "json" else _text(proof))
    return 0


def _read(file: Path) -> bytes:
    try:
        with click.open_file(str(file), "rb") as source:
            found: bytes = source.read(_LARGEST + 1)
    except OSError as error:
        raise UnreadableError(f"{file} cannot be read: {error.strerror}") from error
    if len(found) > _LARGEST:
        raise UnreadableError(f"{file} is larger than {_LARGEST} bytes: no proof is.")
    return found


def _document(proof: Proof) -> dict[str, Any]:
    told: dict[str, Any] = {"proven": proof.kind, "size": proof.size, "root": proof.root}
    if proof.entry is not None:
        return told | {"position": proof.position, "leaf": json.loads(proof.entry)}
    return told | {"old_size": proof.old_size, "old_root": proof.old_root}


def _text(proof: Proof) -> str:
    from meshwright.views.escaping import terminal

    if proof.entry is not None:
        return f"Leaf {proof.position} of the log of {proof.size} leaves is\n{terminal(proof.entry)}"
    return f"The log of {proof.size} leaves begins with that of {proof.old_size} leaves."
