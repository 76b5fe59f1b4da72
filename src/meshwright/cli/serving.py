"""The control plane in this process, until a signal; its log on standard error.

The one rule: machine output is one JSON line on standard output when everything is ready; all else is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import re
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING, TextIO

import click
import uvloop

from meshwright.server import control_plane
from meshwright.server.freeing import collect_rarely

if TYPE_CHECKING:
    from meshwright.server import Running, Settings

_PLAIN = re.compile(r"[^\s\"=]+")


def serve(settings: Settings, *, as_json: bool) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    _log_to_stderr()
    _allow_connections()
    collect_rarely()
    uvloop.run(_serve(settings, as_json=as_json))


async def _serve(settings: Settings, *, as_json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with control_plane(settings) as running:
        _announce(running, as_json=as_json)
        await stop.wait()
        click.echo("Stopping.", err=True)
    click.echo("Stopped.", err=True)


def _announce(running: Running, *, as_json: bool) -> None:
    if as_json:
        line: dict[str, object] = {"api": running.api, "xds": running.xds, "credentials": str(running.credentials)}
        line |= {"xds_mutual": running.xds_mutual} if running.xds_mutual else {}
        sockets = [{"node": node, "path": str(path)} for node, path in running.xds_sockets]
        line |= {"xds_sockets": sockets} if sockets else {}
        click.echo(json.dumps(line | {"revision": running.revision}))
        sys.stdout.flush()
    if running.created:
        click.echo(f"The administrator's access key was written to {running.credentials}. Use it with", err=True)
        click.echo(f"  export AWS_SHARED_CREDENTIALS_FILE={running.credentials}", err=True)
    click.echo(f"API  {running.api}", err=True)
    click.echo(f"xDS  {running.xds}", err=True)
    if running.xds_mutual:
        click.echo(f"xDS  {running.xds_mutual}, with client certificates", err=True)
    for node, path in running.xds_sockets:
        click.echo(f"xDS  {path}, for {node} alone", err=True)
    click.echo(f"Ready at revision {running.revision}.", err=True)


def _log_to_stderr() -> None:
    logs = _Gathering()
    logs.setFormatter(_Logfmt())
    # What the lines do not tell need not be found out for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.INFO, handlers=[logs])
    for name in ("uvicorn", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _allow_connections() -> None:
    """As many open files as the system lets us have: each proxy is one, and the usual soft limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""What every record carries; the rest is what the call gave as `extra`."""


class _Gathering(logging.StreamHandler[TextIO]):
    """Writes the lines of one turn of the event loop together: a system call each took 20 µs of every write request.

    A warning, and what is logged outside of the loop, is written at once, with what waits before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, soon."""
        try:
            self._lines.append(f"{self.format(record)}{self.terminator}")
        except (TypeError, ValueError):  # a call that logs with arguments that do not fit its message
            self.handleError(record)
        if record.levelno >= logging.WARNING:
            self.flush()
        elif len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:  # no event loop runs in this thread
                self.flush()

    def flush(self) -> None:
        """Write what waits."""
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            text, self._lines = "".join(self._lines), []
            if text:
                self.stream.write(text)
            super().flush()


@functools.lru_cache(maxsize=16)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


class _Logfmt(logging.Formatter):
    """One line a record, `key=value` with quotes where needed, whatever was logged; times in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "from": record.name.removeprefix("meshwright."),
            "message": record.getMessage(),
        }
        own = {name: str(value) for name, value in vars(record).items() if name not in _STANDARD and value != ""}
        if record.name.startswith("meshwright"):
            fields |= own
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return " ".join(
            [f"{name}={value if _PLAIN.fullmatch(value) else _quoted(value)}" for name, value in fields.items()]
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        del datefmt
        return f"{_second(int(record.created))}.{int(record.msecs):03}Z"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=True)
