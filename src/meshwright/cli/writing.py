"""Files that commands write: whole, or as they were before.

The one rule: what somebody reads later, as a CI system does a report, is never the first half of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_IN_PLACE = frozenset({errno.EACCES, errno.EPERM, errno.EBUSY})
"""Where a folder takes no file beside, or a file is mounted alone, it is written in its place."""


def write_whole(path: Path, text: str) -> None:
    """Write `text` in UTF-8: a file beside, forced to the disk, takes the place of the one that was there.

    What is no file, as a pipe, is written to. A file that was there keeps who may read it.

    Raises:
        OSError: it cannot be written; where the disk is full, what was there is still there.
    """
    place = path.resolve()
    content = text.encode()
    if place.exists() and not place.is_file():
        place.write_bytes(content)
        return
    try:
        _replace(place, content)
    except OSError as error:
        if error.errno not in _IN_PLACE:
            raise
        place.write_bytes(content)


def _replace(place: Path, content: bytes) -> None:
    beside = place.with_name(f".meshwright-{secrets.token_hex(8)}")
    try:
        with beside.open("xb") as file:
            if place.exists():
                os.fchmod(file.fileno(), place.stat().st_mode & 0o777)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
    finally:
        # Once it has taken the place, nothing stands beside it any more.
        with contextlib.suppress(OSError):
            beside.unlink()
