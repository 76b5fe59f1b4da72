"""`meshwright guardrails`: the rules on plans that hold, and leave to pass them once.

The one rule: rules are changed in the server's trust file alone; what is done here is written down by the server.
"""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.options import FORMAT, reasoned, targeted


@click.group("guardrails")
def command() -> None:
    """Show the rules on plans; let somebody pass them once."""


@command.command("list")
@targeted
@FORMAT
@click.pass_obj
def list_rules(options: dict[str, Any], *, mesh: str | None, stack: str | None, form: str) -> int:
    """List the rules on plans that hold in the environment.

    Exit codes: 0 listed, 2 could not be done.
    """
    from meshwright.cli.target import resolve
    from meshwright.views import approvals as view
    from meshwright.views.releases import as_json

    target = resolve(options, mesh=mesh, stack=stack)
    found = target.client().guardrails(target.meshed())
    click.echo(as_json(found) if form == "json" else view.guardrails_text(found), nl=False)
    return 0


@command.command("grants")
@targeted
@FORMAT
@click.pass_obj
def list_grants(options: dict[str, Any], *, mesh: str | None, stack: str | None, form: str) -> int:
    """List who was granted to pass the guardrails of this stack, and what for.

    Exit codes: 0 listed, 2 could not be done.
    """
    from meshwright.cli.target import resolve
    from meshwright.views import approvals as view
    from meshwright.views.releases import as_json

    target = resolve(options, mesh=mesh, stack=stack)
    found = target.client().grants(*target.place())
    click.echo(as_json(found) if form == "json" else view.grants_text(found), nl=False)
    return 0


@command.command("break-glass")
@targeted
@click.option("--for", "grantee", required=True, metavar="user/NAME|role/NAME", help="Who may pass.")
@click.option(
    "--reason",
    required=True,
    callback=reasoned,
    metavar="TEXT",
    help="Why; kept with the grant and in the audit log.",
)
@click.option("--minutes", type=click.IntRange(1, 24 * 60), default=60, show_default=True, help="For how long.")
@FORMAT
@click.pass_obj
def break_glass(
    options: dict[str, Any],
    *,
    mesh: str | None,
    stack: str | None,
    grantee: str,
    reason: str,
    minutes: int,
    form: str,
) -> int:
    """Let somebody pass the guardrails of this stack with one release, for a while.

    It is used with `meshwright apply --break-glass REASON`, once.

    Exit codes: 0 granted, 1 not allowed, 2 could not be done.
    """
    from meshwright.cli.target import resolve
    from meshwright.views import approvals as view
    from meshwright.views.releases import as_json

    target = resolve(options, mesh=mesh, stack=stack)
    done = target.client().grant(*target.place(), grantee, reason, minutes)
    click.echo(as_json(done) if form == "json" else view.grant_text(done), nl=False)
    return 0
