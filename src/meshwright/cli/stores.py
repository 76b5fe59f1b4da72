"""Opening a local control plane's database from the command line, beside a running server or without one.

The one rule: no command but `serve` makes a database.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from meshwright.errors import StorageError
from meshwright.store.keys import database_path
from meshwright.store.sqlite import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.audit import Entry
    from meshwright.store.contract import Store

_PAGE = 1000


def entries(store: Store) -> Iterator[Entry]:
    """Every entry of the audit log, oldest first."""
    after = 0
    while page := store.leaves(after, _PAGE):
        yield from page
        after = page[-1].position + 1


@contextlib.contextmanager
def opened(data_dir: Path) -> Iterator[Store]:
    """The store of the control plane in `data_dir`, closed at the end.

    Raises:
        StorageError: there is none, with what to do.
    """
    path = database_path(data_dir)
    if not path.exists():
        raise StorageError(
            f"There is no control plane's database {path}. Start one with 'meshwright serve --data-dir {data_dir}', "
            "or name another folder with --data-dir."
        )
    store = connect(path, create=False)
    try:
        yield store
    finally:
        store.close()
