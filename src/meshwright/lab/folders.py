"""Private folders of labs, which are gone with the lab, however it ends.

The one rule: a folder whose lab died without a chance to clean up is removed by whichever lab starts next.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "mw-lab-"
_LOCK = "lock"
_LONGEST = 64
"""Bytes of a path that leave room for a socket's name below it."""


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only we can read, where paths of Unix sockets are not too long."""
    _sweep(Path(_short_folder() or tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, dir=_short_folder()) as name,
        (Path(name) / f"{_LOCK}.new").open("w") as lock,
    ):
        # Locked under another name, so that nobody sweeps between its making and its locking; held until we die.
        fcntl.flock(lock, fcntl.LOCK_EX)
        Path(lock.name).rename(Path(name) / _LOCK)
        yield Path(name)


def _sweep(folder: Path) -> None:
    """Remove what labs of this user left in `folder` because they were killed."""
    for one in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (one / _LOCK).open("r+") as lock:
            if one.stat().st_uid != os.geteuid():
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(one, ignore_errors=True)


def _short_folder() -> str | None:
    """Where a folder for Unix sockets goes: their paths may have 103 bytes on the strictest system (unix(7), 4)."""
    return None if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST else "/tmp"  # noqa: S108 - made private there
