"""Which files to read, and their text.

The one rule: what cannot be opened is an error, because nobody knows what it holds; what cannot be understood is a
finding.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from meshwright.documents.positions import Fault
from meshwright.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meshwright.documents.positions import Place

SUFFIXES = frozenset({".json", ".yaml", ".yml", ".template", ".tf", ".tfvars"})
"""The endings of files that a folder is searched for."""

MOST_BYTES = 32 * 1024 * 1024
"""The size of the largest file that is read."""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]"  # what YAML allows nowhere
)


def find(paths: Sequence[Path]) -> Mapping[Path, tuple[Path, ...]]:
    """The files of each of `paths`: itself, or what a folder holds, recursively and in sorted order.

    Hidden files and folders, and folders behind symbolic links, are passed over.

    Raises:
        UnreadableError: a path does not exist, is neither file nor folder, or may not be read; a link leads nowhere.
    """
    return {path: tuple(_under(path)) for path in paths}


def _under(path: Path) -> Iterator[Path]:
    try:
        if path.is_dir():
            yield from _walk(path)
        elif path.is_file():
            yield path
        elif path.exists():
            raise UnreadableError(f"{path} is neither a file nor a folder; give definitions in files.")
        else:
            raise UnreadableError(f"{path} does not exist; give a file or folder of definitions.")
    except (OSError, ValueError) as error:
        raise UnreadableError(f"{path} cannot be read: {_reason(error)}.") from None


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for name in sorted(files):
            path = Path(root, name)
            if name.startswith(".") or path.suffix not in SUFFIXES:
                continue
            if path.is_file():
                yield path
            elif path.is_symlink():
                raise UnreadableError(f"{path} is a link that leads to no file; mend or remove it.")


def _refuse(error: OSError) -> None:
    raise UnreadableError(f"{error.filename} cannot be read: {_reason(error)}.")


def read_text(path: Path) -> tuple[str, Fault | None]:
    """The text of a file, and what keeps it from being read as text, if anything does.

    Raises:
        UnreadableError: the file cannot be opened or read.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UnreadableError(f"{path} cannot be read: {_reason(error)}.") from None
    fault = _raw_fault(raw)
    if fault is not None:
        return raw.decode("utf-16" if raw.startswith(_UTF16) else "latin-1", "replace"), fault
    text = raw.decode("utf-8-sig")
    return text, control_fault(text)


def _raw_fault(raw: bytes) -> Fault | None:
    if len(raw) > MOST_BYTES:
        told = f"the file is larger than {MOST_BYTES // 1024**2} MB"
        return Fault((1, 1), told, "Split it, or keep it out of the definitions.")
    if raw.startswith(_UTF16):
        return Fault((1, 1), "the file is written in UTF-16", "Save it as UTF-8.")
    try:
        raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        told = f"the file is not UTF-8: byte 0x{raw[error.start]:02x} means nothing here"
        before = raw[: error.start].decode("utf-8", "replace")
        return Fault(_end(before), told, "Save it as UTF-8; a binary file is no definition.")
    return None


def control_fault(text: str) -> Fault | None:
    """What is wrong when `text` holds a character that no definition may hold."""
    match = _CONTROL.search(text)
    if match is None:
        return None
    told = f"the file holds the control character U+{ord(match[0]):04X}"
    return Fault(_end(text[: match.start()]), told, "Remove it; a binary file is no definition.")


def _end(before: str) -> Place:
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _reason(error: OSError | ValueError) -> str:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return reason[:1].lower() + reason[1:]
