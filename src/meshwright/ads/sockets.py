"""Unix sockets for one node each: private from the first moment, replaced when stale, never taken from a live server.

The one rule: a socket is made where nobody else can look, gets mode 0600 there, and is then moved to its place whole.
Source: https://man7.org/linux/man-pages/man7/unix.7.html
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import stat
from typing import TYPE_CHECKING

from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_LONGEST = 107
"""Bytes of a Unix socket's path on Linux."""
_DRAFT = len("/.00000000/xds")


class Placed:
    """A socket that this process listens on, at its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = path.lstat().st_ino

    def remove(self) -> None:
        """Take it away, unless somebody else put another one there."""
        with contextlib.suppress(OSError):
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()


def place(path: Path, listen: Callable[[str], None]) -> Placed:
    """Listen at `path` with mode 0600; `listen` is called with the address to bind, as gRPC writes it.

    Raises:
        UsageError: another server listens there, something else lies there, or the folder cannot be written.
    """
    if max(len(os.fsencode(path)), len(os.fsencode(path.parent)) + _DRAFT) > _LONGEST:
        raise UsageError(
            f"--xds-socket {path} is too long: a Unix socket's path may have {_LONGEST} bytes, {_DRAFT} after its "
            "folder while it is made. Choose a shorter one."
        )
    _refuse_occupied(path)
    try:
        with _private(path) as draft:
            listen(f"unix:{draft}")
            draft.chmod(0o600)
            draft.rename(path)
            return Placed(path)
    except OSError as error:
        raise UsageError(f"Cannot make the Unix socket {path}: {error.strerror}.") from error


@contextlib.contextmanager
def _private(path: Path) -> Iterator[Path]:
    """A path beside `path`, in a folder that only we may look into, which is gone afterwards."""
    folder = path.parent / f".{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    try:
        yield folder / "xds"
    finally:
        with contextlib.suppress(FileNotFoundError):
            (folder / "xds").unlink()
        folder.rmdir()


def _refuse_occupied(path: Path) -> None:
    """Only a socket that nobody listens on any more may be replaced.

    Raises:
        UsageError: it is something else.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"Cannot make the Unix socket {path}: {error.strerror}.") from error
    if not stat.S_ISSOCK(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "no Unix socket"
        raise UsageError(f"--xds-socket {path}: what lies there is {kind}. Move it away, or choose another path.")
    with socket.socket(socket.AF_UNIX) as trial:
        try:
            trial.connect(str(path))
        except ConnectionRefusedError:
            return
        except OSError as error:
            raise UsageError(
                f"--xds-socket {path}: whether a server listens there cannot be told ({error.strerror})."
            ) from error
    raise UsageError(f"--xds-socket {path}: another server listens there. Stop it, or choose another path.")
