"""`meshwright status`: the server, its stacks, the connected proxies and what each has taken.

The one rule: it tells and judges nothing; the exit code is 0 whatever the proxies' state.
"""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.options import FORMAT


@click.command("status")
@click.option("--proxy", metavar="ID", help="Show every resource of one connected proxy; ID is as `status` lists it.")
@FORMAT
@click.pass_obj
def command(options: dict[str, Any], *, proxy: str | None, form: str) -> int:
    """Show the server, the connected proxies and what each has taken.

    Exit codes: 0 told, 2 could not be done.
    """
    from meshwright.cli.target import resolve
    from meshwright.views import releases as view

    client = resolve(options).client()
    found = client.status() if proxy is None else client.proxy(proxy)
    shown = view.status_text if proxy is None else view.holding_text
    click.echo(view.as_json(found) if form == "json" else shown(found), nl=False)
    return 0
