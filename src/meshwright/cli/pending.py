"""`meshwright pending`: the releases of a stack that wait for an approval, and those that did.

The one rule: it tells why each of them waits, in the administrator's words.
"""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.options import FORMAT, targeted


@click.command("pending")
@targeted
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many.")
@click.option("--before", metavar="RELEASE", help="Older ones than this: shop#pending-3, or 3.")
@FORMAT
@click.pass_obj
def command(
    options: dict[str, Any], *, mesh: str | None, stack: str | None, limit: int, before: str | None, form: str
) -> int:
    """List the releases of this stack that wait for somebody's approval, or did.

    Newest first.

    Exit codes: 0 listed, 2 could not be done.
    """
    from meshwright.cli.target import pending_place, resolve
    from meshwright.views import approvals as view
    from meshwright.views.releases import as_json

    target = resolve(options, mesh=mesh, stack=stack)
    number = None if before is None else pending_place(target, before)[2]
    found = target.client().pending(*target.place(), limit, number)
    click.echo(as_json(found) if form == "json" else view.pending_text(found), nl=False)
    return 0
