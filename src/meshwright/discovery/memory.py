"""What a source found, kept over a restart: written beside the work, newest last.

The one rule: a database that cannot be written stops nobody from being found; it is tried again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from meshwright.complaining import Complaint
from meshwright.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.store.contract import Store

_AGAIN = 5.0
"""Seconds until a write that failed is tried again."""

_log = logging.getLogger(__name__)


class Memory:
    """The findings of one source in a store."""

    def __init__(self, store: Store, source: str) -> None:
        self._store = store
        self._source = source
        self._due: dict[str, str | None] = {}
        self._woken = asyncio.Event()
        self._complaint = Complaint(_log)

    def recall(self) -> Mapping[str, str]:
        """What was kept last.

        Raises:
            StorageError: the database cannot be read.
        """
        return self._store.remembered(self._source)

    def keep(self, name: str, body: str | None) -> None:
        """Write `body` under `name`, or forget it where it is None; soon, and of several the newest."""
        self._due[name] = body
        self._woken.set()

    async def run(self) -> None:
        """Write what is due until cancelled; then write what is left."""
        try:
            while True:
                await self._woken.wait()
                self._woken.clear()
                if not await self._write():
                    await asyncio.sleep(_AGAIN)
                    self._woken.set()
        finally:
            await self._write()

    async def _write(self) -> bool:
        due, self._due = self._due, {}
        if not due:
            return True
        try:
            await asyncio.to_thread(self._store.remember, self._source, due)
        except StorageError as error:
            self._complaint.made(f"endpoints of source {self._source} cannot be kept", error)
            self._due = due | self._due
            return False
        self._complaint.over(f"endpoints of source {self._source} are kept")
        return True
