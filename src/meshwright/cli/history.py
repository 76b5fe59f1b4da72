"""`meshwright history`: a stack's releases, newest first.

The one rule: what is listed is what the server keeps; a release is never edited, only its status moves.
"""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.options import FORMAT, targeted


@click.command("history")
@targeted
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@FORMAT
@click.pass_obj
def command(options: dict[str, Any], *, mesh: str | None, stack: str | None, limit: int, form: str) -> int:
    """List this stack's releases.

    Newest first.

    Exit codes: 0 listed, 2 could not be done.
    """
    from meshwright.cli.target import resolve
    from meshwright.views import releases as view

    target = resolve(options, mesh=mesh, stack=stack)
    found = target.client().releases(*target.place(), limit)
    click.echo(view.as_json(found) if form == "json" else view.history_text(found), nl=False)
    return 0
