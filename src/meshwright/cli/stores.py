"""Opening a local control plane's database from the command line, beside a running server or without one.

The one rule: no command but `serve` makes a database.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from meshwright.audit import LogSearch
from meshwright.errors import RefusedError, StorageError
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


def entry_of_release(store: Store, name: str) -> Entry:
    """The entry that tells of a release, `shop/cart#12`.

    Raises:
        RefusedError: there is none.
    """
    before: int | None = None
    while True:
        found, before = store.search_log(LogSearch(kind="revision", release=name, before=before), 1)
        if found:
            return found[0]
        if before is None:
            raise RefusedError(f"The log tells of no release {name!r}; write it as shop/cart#12, mesh and stack.")


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
