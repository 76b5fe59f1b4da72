"""`meshwright endpoints`: where the instances of virtual nodes are, as far as DNS does not tell.

The one rule: it tells and judges nothing; the exit code is 0 whatever the endpoints' state.
"""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.options import FORMAT


@click.command("endpoints")
@click.option("--mesh", help="The mesh [default: the project's].")
@FORMAT
@click.pass_obj
def command(options: dict[str, Any], *, mesh: str | None, form: str) -> int:
    """Show the endpoints that Cloud Map and the proxies told, and what could not be looked up.

    Exit codes: 0 told, 2 could not be done.
    """
    from meshwright.cli.target import resolve
    from meshwright.views.endpoints import endpoints_text
    from meshwright.views.releases import as_json

    target = resolve(options, mesh=mesh)
    found = target.client().endpoints(target.meshed())
    click.echo(as_json(found) if form == "json" else endpoints_text(found), nl=False)
    return 0
