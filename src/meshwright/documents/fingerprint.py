"""The digest of definitions as they are written, before any value is put in.

The one rule: the same files under the same names have the same digest, whichever environment they are read for.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

from meshwright.documents.files import find
from meshwright.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def fingerprint(paths: Sequence[Path], home: Path) -> str:
    """SHA-256, in hexadecimal, of the files in `paths`, by their names as seen from the folder `home`.

    Raises:
        UnreadableError: a path does not exist or cannot be read.
    """
    found: dict[str, str] = {}
    for files in find(paths).values():
        for one in files:
            name = os.path.relpath(os.path.realpath(one), os.path.realpath(home)).replace(os.sep, "/")
            try:
                found[name] = hashlib.sha256(one.read_bytes()).hexdigest()
            except OSError as error:
                raise UnreadableError(f"{one} cannot be read: {error.strerror}.") from None
    return hashlib.sha256(json.dumps(sorted(found.items())).encode()).hexdigest()
