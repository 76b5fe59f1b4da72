"""Checkpoints of the audit log, published to a file that should lie where the database's keeper cannot rewrite it.

The one rule: what was published is appended to and never contradicted. A log that does not begin as the newest
published checkpoint says is not served.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING

from meshwright.audit import Checkpoint, frontier_of, published, read_checkpoint, root, signed_checkpoint
from meshwright.complaining import Complaint
from meshwright.errors import RefusedError, StorageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from meshwright.api.metrics import Metrics
    from meshwright.audit import SigningKey
    from meshwright.store.contract import Store

EVERY = 1.0
"""Seconds between two published checkpoints at least: what is newer than the last is not held by any."""
NAME = "checkpoints"
"""The file in a folder that is named instead of a file."""

_TAIL = 8192
"""Bytes at the file's end in which its newest checkpoint is looked for; one takes some 200."""
_CUT_OFF = " (cut off)\n\n"
"""What ends a line that a crash has left without its end, so that nobody takes it for a whole one."""

_log = logging.getLogger(__name__)


class Publisher:
    """Appends checkpoints to one file."""

    def __init__(self, store: Store, key: SigningKey, path: Path) -> None:
        """`path` is a file, made where there is none, or a folder for it."""
        self._store = store
        self._key = key
        self.path = path / NAME if path.is_dir() else path
        self.size = 0
        """Of the log as it was published last."""
        self._turn = threading.Lock()

    def begin(self) -> None:
        """Take up where the file ends.

        Raises:
            RefusedError: its newest checkpoint is another log's, or the log does not begin as it says.
            StorageError: the file cannot be read, or the database.
        """
        newest = self._newest()
        if newest is None:
            return
        found = self._root(newest.size)
        if found != newest.root:
            what = "has other leaves" if found else f"has only {self._store.checkpoint().size} leaves"
            raise RefusedError(
                f"{self.path} holds a checkpoint of {newest.size} leaves, and the audit log {what}: the database was "
                "rewritten, or restored from a backup that is older. See 'meshwright audit verify --checkpoint'. "
                "Once that is explained, move the file away and start again; it goes on in a new one."
            )
        self.size = newest.size

    def publish(self) -> bool:
        """Append a checkpoint of the log as it is now, if it has grown; whether it has.

        Raises:
            StorageError: the file cannot be written, or the database not read.
        """
        with self._turn:
            found = self._store.checkpoint()
            if found.size <= self.size:
                return False
            try:
                _append(self.path, signed_checkpoint(found, self._key))
            except OSError as error:
                raise StorageError(f"Cannot write the checkpoints {self.path}: {error.strerror}.") from error
            self.size = found.size
            return True

    def _root(self, size: int) -> str | None:
        """The root that the log had with so many leaves; None where it has fewer."""
        if size == 0:
            return root(frontier_of(())).hex()
        return next((one.root for one in self._store.leaves(size - 1, 1)), None)

    def _newest(self) -> Checkpoint | None:
        """The last whole checkpoint in the file; None for no file, or none in it."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                tail = file.read().decode(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"Cannot read the checkpoints {self.path}: {error.strerror}.") from error
        notes = [one.note for one in published(tail.splitlines(keepends=True)) if one.whole]
        if not notes:
            return None
        try:
            return read_checkpoint(notes[-1], [self._key.verifier])
        except RefusedError as error:
            raise RefusedError(
                f"{self.path} ends with what is no checkpoint of this server's: {error} If its key was lost, or the "
                "file is another server's, name another file with --checkpoints."
            ) from error


def _append(path: Path, note: str) -> None:
    """Write `note` to the end, on disk when it returns."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        text = f"{_CUT_OFF if torn else chr(10) if size else ''}{note}".encode()
        written = os.write(descriptor, text)
        os.fsync(descriptor)
        if written < len(text):
            raise OSError(None, "only a part of it was taken; is the disk full?")
    finally:
        os.close(descriptor)


@contextlib.asynccontextmanager
async def publishing(publisher: Publisher | None, metrics: Metrics) -> AsyncIterator[tuple[asyncio.Task[None], ...]]:
    """Publish until the block ends, and what was written until then; the task that does, none without a publisher.

    Raises:
        RefusedError: see `Publisher.begin`.
        StorageError: the file cannot be read or written.
    """
    if publisher is None:
        yield ()
        return
    await asyncio.to_thread(publisher.begin)
    await asyncio.to_thread(publisher.publish)
    metrics.watch("checkpoint_size", lambda: publisher.size)
    task = asyncio.create_task(_publish(publisher, metrics), name="publishing checkpoints")
    try:
        yield (task,)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        try:
            await asyncio.to_thread(publisher.publish)
        except StorageError:
            _log.exception("the last checkpoint was not published")


async def _publish(publisher: Publisher, metrics: Metrics) -> None:
    complaint = Complaint(_log)
    while True:
        await asyncio.sleep(EVERY)
        try:
            await asyncio.to_thread(publisher.publish)
        except StorageError as error:
            metrics.checkpoint_failed()
            complaint.made("a checkpoint of the audit log cannot be published", error)
        else:
            complaint.over("checkpoints of the audit log are published")
