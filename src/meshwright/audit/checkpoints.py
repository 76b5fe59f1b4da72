"""Checkpoints: the size and the root of the log at one moment, signed, to be kept where the log's keeper cannot go.

The one rule: whoever has one can tell whether the log still begins as it did then, whoever holds the database.
Source: https://c2sp.org/tlog-checkpoint
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

import msgspec

from meshwright.audit.notes import NoteError, SigningKey, VerifierKey, is_signature, opened, signed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SIZE = re.compile(r"0|[1-9][0-9]{0,17}")
_ROOT_BYTES = 32


class Checkpoint(msgspec.Struct, frozen=True):
    """What the audit log was at one moment; kept outside of the database, it proves that nothing was rewritten."""

    size: int
    root: str
    """In hexadecimal."""


class Published(msgspec.Struct, frozen=True):
    """One piece of a file of published checkpoints."""

    line: int
    """Where it begins, counted from 1."""
    note: str
    """A note, not verified; or what is none, such as a line that a crash cut off."""
    whole: bool
    """Whether it has the form of a note."""


def signed_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """`checkpoint` as a signed note; the key's name is the log's origin."""
    root = base64.b64encode(bytes.fromhex(checkpoint.root)).decode()
    return signed(f"{key.name}\n{checkpoint.size}\n{root}\n", key)


def read_checkpoint(note: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """The checkpoint that one of `keys` has signed, of the log whose name that key has.

    Raises:
        NoteError: it is none, is of another log, or none of `keys` has signed it.
    """
    keys = tuple(keys)
    origin, size, root, *_ = (*opened(note, keys).split("\n"), "", "", "")
    if all(origin != key.name for key in keys):
        names = ", ".join(sorted({repr(key.name) for key in keys}))
        raise NoteError(f"This is a checkpoint of the log {origin!r}, and the key is of {names}.")
    raw = _root(root)
    if not _SIZE.fullmatch(size) or raw is None:
        raise NoteError("This is no checkpoint: its lines are the log's name, its size and its root in base64.")
    return Checkpoint(int(size), raw.hex())


def published(lines: Iterable[str]) -> Iterator[Published]:
    """The notes of a file that was only ever appended to; `lines` with their ends.

    A note ends with its signatures. What a crash has cut off is handed on as what is not whole.
    """
    piece: list[str] = []
    began = 0
    for number, line in enumerate(lines, 1):
        if piece and piece[-1].startswith(("— ", "\n")) and not line.startswith("— "):
            yield _piece(began, piece)
            piece = []
        if not piece and line == "\n":
            continue
        began = began if piece else number
        piece.append(line)
    if piece:
        yield _piece(began, piece)


def _piece(began: int, piece: list[str]) -> Published:
    whole = piece[-1].endswith("\n") and is_signature(piece[-1].removesuffix("\n")) and "\n" in piece
    return Published(began, "".join(piece), whole)


def _root(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == _ROOT_BYTES and base64.b64encode(raw).decode() == text else None
