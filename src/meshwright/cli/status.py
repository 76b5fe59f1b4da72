"""`meshwright status`: the server, its stacks, the connected proxies and what each has taken.

The one rule: it tells and judges nothing; the exit code is 0 whatever the proxies' state.
"""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.options import FORMAT


@click.command("status")
@FORMAT
@click.pass_obj
def command(options: dict[str, Any], *, form: str) -> int:
    """Show the server, the connected proxies and what each has taken.

    Exit codes: 0 told, 2 could not be done.
    """
    from meshwright.cli.target import resolve
    from meshwright.views import releases as view

    found = resolve(options).client().status()
    click.echo(view.as_json(found) if form == "json" else view.status_text(found), nl=False)
    return 0
