"""`meshwright approve`: let a release through that waits for somebody's approval.

The one rule: it is applied exactly as it was planned, or refused as stale.
"""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.options import FORMAT, WAIT, targeted


@click.command("approve")
@click.argument("release")
@targeted
@click.option("--reason", default="", metavar="TEXT", help="Why; kept with the release and in the audit log.")
@WAIT
@FORMAT
@click.pass_obj
def command(
    options: dict[str, Any],
    *,
    release: str,
    mesh: str | None,
    stack: str | None,
    reason: str,
    wait: float | None,
    form: str,
) -> int:
    """Let a release through that waits, as somebody else than its author.

    RELEASE is as `meshwright pending` lists it: shop#pending-3, or 3. What the same principal has approved already is
    told again.

    Exit codes: 0 applied (with --wait: and arrived), 1 refused, stale, decided by somebody else, rejected by a proxy
    or late, 2 could not be done.
    """
    from meshwright.cli.target import pending_place, resolve
    from meshwright.cli.waiting import finished

    target = resolve(options, mesh=mesh, stack=stack)
    where, owner, number = pending_place(target, release)
    client = target.client()
    return finished(target, client, client.approve(where, owner, number, reason), wait, form)
