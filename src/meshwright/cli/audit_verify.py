"""`meshwright audit verify`: whether the log still says what happened.

The one rule: everything that is off is named, not the first thing only.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshwright.cli.options import DATA_DIR, FORMAT
from meshwright.errors import RefusedError, UnreadableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.audit import Checkpoint, VerifierKey
    from meshwright.store.contract import Verification

KEY = click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY|FILE",
    help="The public key of signed checkpoints, as 'meshwright audit key' prints it; may be repeated.",
)
"""The option of commands that read what was signed."""

CHECKPOINT = click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    metavar="SIZE:ROOT|FILE",
    help="What was noted of the log elsewhere, or a file of signed checkpoints; may be repeated.",
)
"""The option of commands that hold the log, or what is said of it, against what was noted of it elsewhere."""

_LONGEST_KEY = 4096


@click.command("verify")
@DATA_DIR
@CHECKPOINT
@KEY
@FORMAT
@click.pass_context
def verify(
    ctx: click.Context, data_dir: Path, checkpoints: tuple[str, ...], keys: tuple[str, ...], form: str
) -> None:
    """Recompute the log from its leaves, and every digest in it from what is stored; exit 1 when anything is off.

    Whoever can write the database could rewrite the log whole. What was kept elsewhere shows that too: give the
    checkpoint that this prints, or the file that 'serve --checkpoints' publishes to, with --checkpoint.

    Exit codes: 0 sound, 1 not, 2 could not be done.
    """
    from meshwright.cli.stores import opened

    earlier = list(noted(checkpoints, read_keys(keys)))
    with opened(data_dir) as store:
        found = store.verify(*earlier)
    click.echo(_json(found, len(earlier)) if form == "json" else _text(found, len(earlier)))
    ctx.exit(1 if found.faults else 0)


def read_keys(given: Sequence[str]) -> list[VerifierKey]:
    """The public keys that `--key` names, or that are in the files that it names.

    Raises:
        UsageError: one is none.
    """
    from meshwright.audit import NoteError, VerifierKey

    found = []
    for text in given:
        path = Path(text)
        try:
            if "+" not in text or path.is_file():
                text = path.read_text(encoding="utf-8")[:_LONGEST_KEY]  # noqa: PLW2901 - what the option stands for
            found.append(VerifierKey.read(text))
        except (OSError, UnicodeDecodeError, NoteError) as error:
            why = (error.strerror or "it cannot be read") if isinstance(error, OSError) else error
            raise UsageError(f"--key {str(path)!r}: {why}") from None
    return found


def read_notes(path: Path, keys: Sequence[VerifierKey]) -> Iterator[Checkpoint]:
    """The signed checkpoints in a file; what a crash has cut off is passed over, and said.

    Raises:
        RefusedError: one was changed, or nobody of `keys` has signed it.
        UnreadableError: the file cannot be read.
    """
    from meshwright.audit import NoteError, published, read_checkpoint

    try:
        with path.open(encoding="utf-8") as file:
            for one in published(file):
                if not one.whole:
                    click.echo(f"{path}:{one.line}: what is no whole checkpoint is passed over.", err=True)
                    continue
                try:
                    yield read_checkpoint(one.note, keys)
                except NoteError as error:
                    raise RefusedError(f"{path}:{one.line}: {error}") from None
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnreadableError(f"{path} holds no checkpoints: it is not UTF-8") from error


def noted(given: Sequence[str], keys: Sequence[VerifierKey]) -> Iterator[Checkpoint]:
    """The checkpoints that `--checkpoint` names, those in files verified by `keys`.

    Raises:
        RefusedError: one was changed, or nobody of `keys` has signed it.
        UnreadableError: a file cannot be read.
        UsageError: what is named is none, or there is no key.
    """
    from meshwright.audit import Checkpoint

    for text in given:
        found = re.fullmatch(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", text)
        if found is not None:
            yield Checkpoint(int(found[1]), found[2])
        elif not Path(text).is_file():
            raise UsageError(
                f"--checkpoint {text!r} is neither SIZE:ROOT, as 'meshwright audit verify' prints it, nor a file."
            )
        elif not keys:
            raise UsageError(
                f"--checkpoint {text!r}: whose signatures are to be believed? Give the public key with --key, as "
                "'meshwright audit key' printed it, from where you kept it."
            )
        else:
            read = list(read_notes(Path(text), keys))
            if not read:
                # Passing it over would say of a log that was cut off that it is sound.
                raise UnreadableError(f"--checkpoint {text!r}: the file holds no whole checkpoint to compare with.")
            yield from read


def _text(found: Verification, earlier: int) -> str:
    seal = f"{found.checkpoint.size}:{found.checkpoint.root}"
    if not found.faults:
        held = f", as {earlier} earlier checkpoint{'s' * (earlier > 1)} had it" if earlier else ""
        return f"The audit log is sound: {found.checkpoint.size} leaves{held}.\nCheckpoint {seal}"
    lines = [
        _printable(fault.message if fault.position is None else f"leaf {fault.position}: {fault.message}")
        for fault in found.faults
    ]
    return "\n".join([*lines, f"The audit log is not sound: {len(lines)} faults; {found.checkpoint.size} leaves."])


def _printable(text: str) -> str:
    """`text` with whatever could steer a terminal spelled out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _json(found: Verification, earlier: int) -> str:
    return json.dumps(
        {
            "sound": not found.faults,
            "size": found.checkpoint.size,
            "root": found.checkpoint.root,
            "checkpoints": earlier,
            "faults": [{"leaf": fault.position, "message": fault.message} for fault in found.faults],
        },
        indent=2,
    )
