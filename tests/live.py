"""`meshwright serve` as a process of its own, driven from plain threads: start, kill, measure, read its log.

The one rule: whatever starts is stopped by its pid, and its log is a file that stays for the test to read.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from meshwright.store.contract import AccessKey
from meshwright.trust.credentials import parse
from processes import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Live:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], line: dict[str, Any], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.api = str(line["api"])
        self.port = int(urlsplit(self.api).port or 0)
        self.xds = int(str(line["xds"]).rpartition(":")[2])
        self.revision = int(line["revision"])
        self.credentials = Path(line["credentials"])

    @property
    def key(self) -> AccessKey:
        """The administrator's access key."""
        found = parse(self.credentials.read_text())["default"]
        return AccessKey(id=found.key_id, secret=found.secret, principal="administrator", created_at=0)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "meshwright.db"

    @property
    def log(self) -> Path:
        """What it wrote to standard error, over all starts on this folder."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def memory(self) -> int:
        """Resident memory in kB."""
        found = [one for one in self._status() if one.startswith("VmRSS:")]
        return int(found[0].split()[1])

    def _status(self) -> list[str]:
        return Path(f"/proc/{self.process.pid}/status").read_text().splitlines()

    def files(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def limit_file_size(self, size: int | None) -> None:
        """Let no file of the server grow beyond `size` bytes, as on a full disk; None for no limit."""
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Stop it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=DEADLINE)
        return self.process.returncode


def command(folder: Path, *more: str, port: int = 0) -> list[str]:
    """The command line of a server on this folder."""
    listen = ["--listen", f"127.0.0.1:{port}", "--xds", "127.0.0.1:0"]
    return ["serve", *listen, "--data-dir", str(folder), "--format", "json", *more]


@contextlib.contextmanager
def live(
    folder: Path,
    *more: str,
    port: int = 0,
    program: Sequence[str] = ("-m", "meshwright.cli"),
    within: float = DEADLINE,
) -> Iterator[Live]:
    """A server that is ready; killed on leaving if it still runs."""
    with folder.with_name(f"{folder.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *program, *command(folder, *more, port=port)],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "GRPC_VERBOSITY": "NONE", "PYTHONPATH": os.pathsep.join(_paths())},
        )
    try:
        yield Live(process, json.loads(_line(process, folder, within)), folder)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _paths() -> list[str]:
    """Where the server finds modules: those of the tests too, for programs that change it."""
    return [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]


def _line(process: subprocess.Popen[bytes], folder: Path, within: float) -> bytes:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], within)
    line = process.stdout.readline() if readable else b""
    said = folder.with_name(f"{folder.name}.log").read_text(errors="replace")
    assert line, f"not ready within {within:g} s: {said[-2000:]}"
    return line


_LATER = "terms"
"""By what entries of the audit log are found, which is worked out some time after they were written."""


class Disk:
    """The database seen from outside: whether anything in it changed."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        self._version = -1
        self._tables: dict[str, tuple[int, int]] = {}
        self.changed()

    @property
    def revision(self) -> int:
        """The newest revision's number."""
        found = self._connection.execute("SELECT coalesce(max(number), 0) FROM revisions").fetchone()
        return int(found[0])

    def rows(self, table: str, where: str = "1") -> int:
        """How many rows a table has, or those of which `where` holds."""
        query = f'SELECT count(*) FROM "{table}" WHERE {where}'  # noqa: S608 - a test's own words
        return int(self._connection.execute(query).fetchone()[0])

    def changed(self) -> dict[str, int]:
        """How many rows each table has more than at the last call, of those in which anything moved.

        The file's own change counter is asked first: that nothing was committed costs microseconds.
        """
        version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        if version == self._version:
            return {}
        before, self._version, self._tables = self._tables, version, self._sizes()
        return {
            table: size[0] - before.get(table, (0, 0))[0]
            for table, size in self._tables.items()
            if size != before.get(table, (0, 0))
        }

    def _sizes(self) -> dict[str, tuple[int, int]]:
        named = self._connection.execute("SELECT name, wr FROM pragma_table_list WHERE type = 'table'").fetchall()
        return {name: self._size(name, rowless=bool(rowless)) for name, rowless in named if name != _LATER}

    def _size(self, table: str, *, rowless: bool) -> tuple[int, int]:
        """Rows and the newest, without what is written of refusals some time after their answers."""
        newest = "0" if rowless else "coalesce(max(rowid), 0)"
        kept = """entry NOT LIKE '%"kind":"attempt"%'""" if table == "leaves" else "1"
        query = f'SELECT count(*), {newest} FROM "{table}" WHERE {kept}'  # noqa: S608 - the schema's own names
        count, last = self._connection.execute(query).fetchone()
        return int(count), int(last)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
