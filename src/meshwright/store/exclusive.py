"""One server a database: a lock on a file beside it, held for as long as the server runs.

The one rule: the kernel gives it back however the server ends, so that no stale lock is ever in the way.
Source: https://man7.org/linux/man-pages/man2/flock.2.html
"""

from __future__ import annotations

import contextlib
import fcntl
from typing import TYPE_CHECKING

from meshwright.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def alone(database: Path) -> Iterator[None]:
    """Be the only server of a database: two would not hear of each other's proxies, and call theirs all there are.

    Raises:
        UsageError: there is another.
        StorageError: the file cannot be written.
    """
    path = database.with_name(f"{database.name}.serving")
    try:
        file = path.open("a+")
    except OSError as error:
        raise StorageError(f"Cannot write {path} beside the database: {error.strerror}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"The database {database} is in use by another 'meshwright serve'. Stop it, or give this one a "
                "--data-dir of its own, or a --database."
            ) from None
        except OSError as error:
            raise StorageError(f"Cannot lock {path}: {error.strerror}.") from error
        yield
