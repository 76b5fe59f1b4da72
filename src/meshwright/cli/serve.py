"""`meshwright serve`: the control plane, until it is told to stop.

The one rule: machine output is one JSON line on standard output when everything is ready; all else is logged.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import sys
import time
from pathlib import Path

import click
import uvloop

from meshwright.errors import UsageError
from meshwright.server import Address, Running, Settings, control_plane

_PLAIN = re.compile(r"[^\s\"=]+")


@click.command("serve")
@click.option(
    "--listen",
    default="127.0.0.1:9080",
    show_default=True,
    envvar="MESHWRIGHT_LISTEN",
    metavar="HOST:PORT",
    help="Where the API listens; port 0 takes a free one.",
)
@click.option(
    "--xds",
    default="127.0.0.1:18000",
    show_default=True,
    envvar="MESHWRIGHT_XDS_LISTEN",
    metavar="HOST:PORT",
    help="Where Envoys connect; port 0 takes a free one.",
)
@click.option(
    "--database",
    envvar="MESHWRIGHT_DATABASE",
    metavar="URL",
    help="Where revisions are kept: sqlite:///PATH [default: a file in the data directory].",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path(".meshwright"),
    show_default=True,
    envvar="MESHWRIGHT_DATA_DIR",
    help="Where the database and the administrator's key lie.",
)
@click.option(
    "--account",
    default="000000000000",
    show_default=True,
    envvar="MESHWRIGHT_ACCOUNT",
    help="The account in the ARNs of what is created, 12 digits.",
)
@click.option(
    "--region",
    default="us-east-1",
    show_default=True,
    envvar="MESHWRIGHT_REGION",
    help="The region that requests are signed for.",
)
@click.option(
    "--insecure-listen-beyond-loopback",
    is_flag=True,
    help="Serve other machines although there is no TLS and Envoys are not authenticated.",
)
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one line with the addresses on standard output when ready.",
)
def command(
    *,
    listen: str,
    xds: str,
    database: str | None,
    data_dir: Path,
    account: str,
    region: str,
    insecure_listen_beyond_loopback: bool,
    output: str,
) -> int:
    """Run the control plane: the App Mesh API, releases and xDS, until SIGTERM or Ctrl-C.

    The first start makes the administrator's access key and writes it to DATA_DIR/credentials.
    """
    settings = Settings(
        listen=_address("--listen", listen),
        xds=_address("--xds", xds),
        data_dir=data_dir,
        database=_database(database),
        account=_account(account),
        region=region,
        beyond_loopback=insecure_listen_beyond_loopback,
    )
    _log_to_stderr()
    uvloop.run(_serve(settings, as_json=output == "json"))
    return 0


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
        line = {"api": running.api, "xds": running.xds, "credentials": str(running.credentials)}
        click.echo(json.dumps(line | {"revision": running.revision}))
        sys.stdout.flush()
    if running.created:
        click.echo(f"The administrator's access key was written to {running.credentials}. Use it with", err=True)
        click.echo(f"  export AWS_SHARED_CREDENTIALS_FILE={running.credentials}", err=True)
    click.echo(f"API  {running.api}", err=True)
    click.echo(f"xDS  {running.xds}", err=True)
    click.echo(f"Ready at revision {running.revision}.", err=True)


def _address(option: str, text: str) -> Address:
    host, separator, port = text.rpartition(":")
    if not (separator and host and port.isdecimal() and int(port) < 65_536):
        raise UsageError(f"{option} {text!r} is no address; write HOST:PORT, such as 127.0.0.1:9080")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _account(text: str) -> str:
    if not re.fullmatch(r"\d{12}", text):
        raise UsageError(f"--account {text!r} is no AWS account; it takes 12 digits, such as 000000000000")
    return text


def _database(url: str | None) -> Path | None:
    if url is None:
        return None
    path = url.removeprefix("sqlite:///")
    if path == url or not path:
        raise UsageError(f"--database {url!r} cannot be used; this version keeps revisions in sqlite:///PATH")
    return Path(path)


def _log_to_stderr() -> None:
    logs = logging.StreamHandler()
    logs.setFormatter(_Logfmt())
    logging.basicConfig(level=logging.INFO, handlers=[logs])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""What every record carries; the rest is what the call gave as `extra`."""


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
        return " ".join(f"{name}={self._quoted(value)}" for name, value in fields.items())

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        del datefmt
        stamp = time.gmtime(record.created)
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', stamp)}.{int(record.msecs):03}Z"

    def _quoted(self, value: str) -> str:
        return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=True)
