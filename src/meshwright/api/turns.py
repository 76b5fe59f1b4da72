"""What the store holds, asked for once in a turn of the event loop instead of several times a request.

The one rule: whoever asks sees what any process had committed before the request that it asks for was sent. The
event loop runs callbacks in the order in which they were scheduled, and a request is served by a task that is
scheduled when its head has come. A moment is forgotten by a callback of its own: so only tasks see it that were
scheduled before it was taken, whose requests are older than it. A look at the file takes 5 to 14 µs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshwright.store.contract import Moment, Store


class Turns:
    """The store's newest moment; for the event loop's thread alone, and never to decide a write on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._moment: Moment | None = None

    def moment(self) -> Moment:
        """The newest moment, or the one of this turn.

        Raises:
            StorageError: the database cannot be read.
        """
        found = self._moment
        if found is None:
            found = self._moment = self._store.moment()
            asyncio.get_running_loop().call_soon(self._forget)
        return found

    def _forget(self) -> None:
        self._moment = None
