"""Connections to one SQLite file: a writer, and readers that never wait for it.

The one rule: a transaction is whole and on disk when it ends well (write-ahead log, full sync), and gone otherwise.

The log is folded into the database by us, whole, and emptied in the same step. So whenever no fold is under way,
database and log cut off anywhere are together some committed state: the pages of a cut-off log are never older than
those in the database, as they could be with SQLite's own automatic checkpoints, which leave a folded log in place.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

from meshwright.errors import StorageError
from meshwright.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_SECONDS = 4.0
"""How long a write waits for those of others, of this process and another, all in all."""
FOLD_BYTES = 32 * 1024 * 1024
"""How long the write-ahead log grows before it is folded into the database."""
_FOLD_WAIT = 200
"""For how many milliseconds a fold waits for readers."""
_IDLE_READERS = 4
_FULL = 2
_STATEMENTS = 1000
"""Statements that a connection keeps prepared; those that insert are one for each number of rows."""

_CACHED = 512
"""KiB of pages that the writer keeps: a commit touches a dozen, and what it reads besides, the system has at hand.

SQLite's own 2,000 took 1,200 commits to fill, no processor time less, and looked like a leak until then.
"""

_REOPEN = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR})
"""What a connection may be stuck with: one that was opened where nothing may be written stays so."""

_ADVICE = {
    sqlite3.SQLITE_FULL: "The disk is full: make room and try again.",
    sqlite3.SQLITE_BUSY: "Another process holds it: see who has it open.",
    sqlite3.SQLITE_READONLY: "It may not be written: check the permissions of the file and of its folder.",
    sqlite3.SQLITE_CANTOPEN: "It cannot be opened: check the permissions of the file and of its folder.",
    sqlite3.SQLITE_CORRUPT: "The file is damaged: restore it from a backup.",
    sqlite3.SQLITE_NOTADB: "The file is not a SQLite database: give Meshwright a file of its own.",
    sqlite3.SQLITE_CONSTRAINT: "It contradicts what is there.",
    sqlite3.SQLITE_IOERR: "The disk failed: check its health and free space, and try again.",
}

_KINDS = {
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_BUSY: "another process has locked it",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
}
"""What clients are told: kinds of failure that an operator knows, without paths and without SQLite's words."""


class Database:
    """One SQLite file of ours, open. Every method may be called from any thread."""

    def __init__(
        self, path: Path, *, create: bool, fold_bytes: int = FOLD_BYTES, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self.path = path
        self._busy_seconds = busy_seconds
        self._fold_bytes = self._fold_at = fold_bytes
        self._log = path.with_name(path.name + "-wal")
        self._closed = False
        self._opened: tuple[tuple[int, int], ...] = ()
        """Which files the first connection opened."""
        self._writing = threading.Lock()
        self._pooling = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        if create:
            _create(path)
        elif not os.path.lexists(path):
            raise StorageError(f"There is no database {path}.")
        self._writer: sqlite3.Connection | None = None
        try:
            self._writer = self._open_writer()
        except sqlite3.Error as error:
            raise failure(path, "open", error) from error
        # It holds secrets, and a copy may have lost its mode; whose file it is not cannot mend that.
        with contextlib.suppress(PermissionError):
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)

    def durability(self) -> dict[str, str | int]:
        """What SQLite says of the writer: journal_mode, synchronous (2 is full), foreign_keys, busy_timeout (ms)."""
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        with self._writing:
            connection = self._writer or self._open_writer()
            return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction, alone with the database: on disk when the block ends, undone when it raises.

        Raises:
            StorageError: the database refused; nothing was changed.
        """
        with self._turn() as left:
            if self._closed:
                raise _closed(self.path)
            try:
                connection = self._writer = self._writer or self._open_writer()
                with _patience(connection, left, self._busy_seconds):
                    connection.execute("BEGIN IMMEDIATE")
                self._refuse_elsewhere()
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo()
                if getattr(error, "sqlite_errorcode", 0) & 0xFF in _REOPEN:
                    self._give_up()
                raise failure(self.path, "write", error) from error
            finally:
                self._undo()
            self._fold()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[float]:
        """Be this process's only writer; how many seconds are left then to wait for those of others."""
        if self._writing.acquire(blocking=False):
            left = self._busy_seconds
        else:
            began = time.monotonic()
            if not self._writing.acquire(timeout=self._busy_seconds):
                busy = sqlite3.OperationalError("database is locked")
                busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
                raise failure(self.path, "write", busy)
            left = max(0.0, self._busy_seconds - (time.monotonic() - began))
        try:
            yield left
        finally:
            self._writing.release()

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One moment of the database, unmoved by writers.

        Raises:
            StorageError: the database cannot be read.
        """
        connection: sqlite3.Connection | None = None
        try:
            connection = self._lend()
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
                connection = None
            raise failure(self.path, "read", error) from error
        finally:
            if connection is not None:
                self._take_back(connection)

    def row(self, query: str, values: tuple[object, ...]) -> Any:
        """The first row of one query, None for none: a moment of its own, for a third of what `read` costs.

        Raises:
            StorageError: the database cannot be read.
        """
        connection: sqlite3.Connection | None = None
        try:
            connection = self._lend()
            found = connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
                connection = None
            raise failure(self.path, "read", error) from error
        finally:
            if connection is not None:
                self._take_back(connection)
        return found[0] if found else None

    def watch(self) -> Watch:
        """What tells when anything was committed."""
        return Watch(self.path, self._connect(reader=True))

    def _refuse_elsewhere(self) -> None:
        """Write to no file that has gone from its place: it would be kept until this process ends, and no longer."""
        try:
            found = tuple((one.st_dev, one.st_ino) for one in (self.path.stat(), self._log.stat()))
        except OSError:
            found = ()
        self._opened = self._opened or found
        if not found or found != self._opened:
            raise StorageError(
                f"The database {self.path}, or its log beside it, was moved, deleted or replaced while it was open. "
                "Nothing was changed. Put it back, or restore a backup, and start again.",
                "its file is gone",
            )

    def close(self) -> None:
        """Close every connection; what is being read is closed when it is done."""
        with self._writing, self._pooling:
            self._closed = True
            for connection in self._readers:
                connection.close()
            self._readers.clear()
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _open_writer(self) -> sqlite3.Connection:
        connection = self._connect(reader=False)
        try:
            # Before anything that writes: a file of another program must stay as it is.
            schema.check(connection, str(self.path))
            connection.execute("PRAGMA journal_mode = WAL").close()
            for pragma in (
                "synchronous = FULL",
                "fullfsync = ON",
                "foreign_keys = ON",
                "recursive_triggers = ON",
                "wal_autocheckpoint = 0",
                f"cache_size = -{_CACHED}",
            ):
                connection.execute(f"PRAGMA {pragma}").close()
            self._assert_safe(connection)
            schema.migrate(connection)
            schema.index_rest(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _assert_safe(self, connection: sqlite3.Connection) -> None:
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
        if (mode, synchronous) != ("wal", _FULL):
            raise StorageError(
                f"{self.path} cannot be kept safely: its journal mode is {mode!r}, its sync level {synchronous}; "
                "expected 'wal' and 2. Network file systems cannot do it: use a local disk."
            )

    def _connect(self, *, reader: bool) -> sqlite3.Connection:
        if self._closed:
            raise _closed(self.path)
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS,
        )
        if reader:
            connection.execute("PRAGMA query_only = ON")
        return connection

    def _lend(self) -> sqlite3.Connection:
        with self._pooling:
            if self._readers:
                return self._readers.pop()
        return self._connect(reader=True)

    def _take_back(self, connection: sqlite3.Connection) -> None:
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        with self._pooling:
            if self._closed or connection.in_transaction or len(self._readers) >= _IDLE_READERS:
                connection.close()
            else:
                self._readers.append(connection)

    def _undo(self) -> None:
        """Leave no transaction behind; a connection that cannot do even that is given up for a new one."""
        connection = self._writer
        if connection is not None and connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if connection.in_transaction:
                self._give_up()

    def _give_up(self) -> None:
        """Let the next write open the database anew."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _fold(self) -> None:
        """Move a long log into the database and empty it; failing is no loss, a later write tries again.

        A reader of an older moment stands in the way. It is waited for a little only: writers are waiting too.
        """
        connection = self._writer
        with contextlib.suppress(OSError, sqlite3.Error):
            size = self._log.stat().st_size
            if connection is None or size < self._fold_at:
                return
            connection.execute(f"PRAGMA busy_timeout = {_FOLD_WAIT}").close()
            try:
                hindered = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                connection.execute(f"PRAGMA busy_timeout = {int(self._busy_seconds * 1000)}").close()
            self._fold_at = size + self._fold_bytes // 4 if hindered else self._fold_bytes


class Watch:
    """Tells whether anything was committed since it was last asked, by this process or another."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._asking = threading.Lock()
        self._connection: sqlite3.Connection | None = connection

    def version(self) -> int:
        """A number that is another one after every commit.

        Source: https://www.sqlite.org/pragma.html#pragma_data_version

        Raises:
            StorageError: the database cannot be read.
        """
        with self._asking:
            if self._connection is None:
                raise _closed(self._path)
            try:
                return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.Error as error:
                raise failure(self._path, "read", error) from error

    def close(self) -> None:
        """Ask no more."""
        with self._asking:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


@contextlib.contextmanager
def _patience(connection: sqlite3.Connection, seconds: float, usual: float) -> Iterator[None]:
    """Have SQLite wait for so long only; setting it costs two statements, so it is done where it differs much."""
    if usual - seconds < 0.1:
        yield
        return
    connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}").close()
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(usual * 1000)}").close()


def failure(path: Path, verb: str, error: sqlite3.Error) -> StorageError:
    """What SQLite said, and what to do about it."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    advice = _ADVICE.get(code & 0xFF, "Run 'meshwright audit verify' on it.")
    undone = " Nothing was changed." if verb == "write" else ""
    return StorageError(f"Cannot {verb} the database {path}: {error}.{undone} {advice}", _KINDS.get(code & 0xFF, ""))


def _closed(path: Path) -> StorageError:
    return StorageError(f"The database {path} was closed.")


def _create(path: Path) -> None:
    """Make the file, for its owner only, where there is none, and its folder likewise."""
    try:
        if path.is_dir():
            raise StorageError(f"{path} is a folder; name a file in it for the database.")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise StorageError(f"Cannot create the database {path}: {error.strerror}.") from error
