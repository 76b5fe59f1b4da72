"""`meshwright withdraw`: let a release wait no longer for its approval.

The one rule: nothing but its waiting ends; what was asked stays in the audit log.
"""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.options import FORMAT, targeted


@click.command("withdraw")
@click.argument("release")
@targeted
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the audit log.")
@FORMAT
@click.pass_obj
def command(
    options: dict[str, Any], *, release: str, mesh: str | None, stack: str | None, reason: str, form: str
) -> int:
    """Let a release wait no longer.

    RELEASE is as `meshwright pending` lists it: shop#pending-3, or 3.

    Exit codes: 0 withdrawn, 1 not allowed or decided already, 2 could not be done.
    """
    from meshwright.cli.target import pending_place, resolve
    from meshwright.views import approvals as view
    from meshwright.views.releases import as_json

    target = resolve(options, mesh=mesh, stack=stack)
    done = target.client().withdraw(*pending_place(target, release), reason)
    click.echo(as_json(done) if form == "json" else view.withdrawn_text(done), nl=False)
    return 0
