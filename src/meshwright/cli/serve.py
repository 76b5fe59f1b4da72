"""`meshwright serve`: the control plane, until it is told to stop.

The one rule: machine output is one JSON line on standard output when everything is ready; all else is logged.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import click

from meshwright.cli.discovering import discovery_options, found
from meshwright.cli.issuing import issuer_options, issuing
from meshwright.cli.options import DATA_DIR
from meshwright.cli.protection import address, protection_options, settled
from meshwright.cli.quotas import QUOTA, quotas
from meshwright.cli.telling import telemetry_options, told
from meshwright.cli.trusting import ENVIRONMENT, TRUST, chosen, place, trust_file
from meshwright.errors import UsageError


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
@DATA_DIR
@click.option(
    "--checkpoints",
    type=click.Path(path_type=Path),
    envvar="MESHWRIGHT_CHECKPOINTS",
    metavar="FILE|DIR",
    help="Append signed checkpoints of the audit log to this file, which should lie elsewhere.",
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
@TRUST
@ENVIRONMENT
@protection_options
@discovery_options
@issuer_options
@telemetry_options
@QUOTA
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one line with the addresses on standard output when ready.",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    listen: str,
    xds: str,
    database: str | None,
    data_dir: Path,
    account: str,
    region: str,
    output: str,
    **options: Any,
) -> int:
    """Run the control plane: the App Mesh API, releases and xDS, until SIGTERM or Ctrl-C.

    The first start makes the administrator's access key and writes it to DATA_DIR/credentials. Every request is
    signed; every Envoy proves with a signature, a client certificate or a Unix socket of its own which node it is.
    """
    # Its core prints what our own errors say already; it looks at this once, when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from meshwright.cli.serving import serve
    from meshwright.server import Settings

    file = trust_file(options.pop("trust"), data_dir)
    environment = chosen(ctx, options.pop("environment"), file)
    allowed = quotas(options.pop("quota"))
    here: dict[str, Any] = {"account": _account(account), "region": region} | place(ctx, file, environment)
    settings = Settings(
        listen=address("--listen", listen),
        xds=address("--xds", xds),
        data_dir=data_dir,
        checkpoints=options.pop("checkpoints"),
        database=_database(database),
        trust=file,
        environment=environment,
        quotas=allowed,
        **here,
        **settled(options),
        **found(options),
        **issuing(options),
        **told(options, environment),
    )
    serve(settings, as_json=output == "json")
    return 0


def _account(text: str) -> str:
    if not re.fullmatch(r"[0-9]{12}", text):
        raise UsageError(f"--account {text!r} is no AWS account; it takes 12 digits, such as 000000000000")
    return text


def _database(url: str | None) -> Path | None:
    if url is None:
        return None
    path = url.removeprefix("sqlite:///")
    if path == url or not path:
        raise UsageError(f"--database {url!r} cannot be used; this version keeps revisions in sqlite:///PATH")
    return Path(path)
