"""The newest `trust.yaml` that can be used, followed while the server runs.

The one rule: a new version takes over whole or not at all. One that is broken, or gone, is logged and told in
`/readyz`, and the last good one stays; nobody gains or loses anything by a mistake in a file.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from meshwright.documents.trust_file import load
from meshwright.errors import MeshwrightError
from meshwright.trust.authorization import Authority
from meshwright.trust.settings import EMPTY
from meshwright.trust.settling import settle

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.operations import Sharing

LOOK_SECONDS = 1.0
"""How often the file is looked at."""

_log = logging.getLogger(__name__)


class Trusted:
    """One trust file in one environment; without a file there is nobody but the administrator."""

    def __init__(self, path: Path | None, environment: str | None, *, account: str, region: str) -> None:
        """Read the file.

        Raises:
            UnreadableError: it cannot be read.
            UsageError: it holds what it cannot hold, or not this environment.
        """
        self._path = path
        self._environment = environment
        self._account = account
        self._region = region
        self._seen = self._mark()
        self._authority = self._read()
        self.fault = ""
        """What is wrong with the newest version of the file; "" while it is the one that holds."""

    def authority(self) -> Authority:
        """What holds now."""
        return self._authority

    def sharing(self) -> Sharing:
        """Which meshes are shared now: owner, mesh, and the account that it is shared with."""
        return self._authority.sharing

    async def follow(self) -> None:
        """Take over each new version of the file, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> bool:
        """Take over the file if it is another than last time; whether it was."""
        mark = self._mark()
        if mark == self._seen:
            return False
        self._seen = mark
        try:
            self._authority = self._read()
        except MeshwrightError as error:
            self.fault = str(error)
            _log.error("the trust file cannot be used, the last good one stays: %s", error)
            return True
        self.fault = ""
        _log.info("the trust file %s was read anew", self._path)
        return True

    def _read(self) -> Authority:
        trust = load(self._path) if self._path is not None else EMPTY
        return Authority(settle(trust, self._environment, account=self._account, region=self._region))

    def _mark(self) -> tuple[int, ...]:
        """What tells one version of the file from another; () for none."""
        try:
            found = self._path.stat() if self._path is not None else None
        except OSError:
            return ()
        return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) if found else ()
