"""`meshwright drift`: where a stack runs otherwise than its last release left it.

The one rule: the running state is compared with the release on the server, never with files.
"""

from __future__ import annotations

import os
from typing import Any

import click

from meshwright.cli.options import FORMAT, WAIT, targeted
from meshwright.errors import UsageError


@click.command("drift")
@targeted
@click.option(
    "--repair", is_flag=True, help="Release the last release's content once more, over whoever wrote since."
)
@click.option("--reason", default="", metavar="TEXT", help="Why it is repaired; it is kept with the release.")
@WAIT
@FORMAT
@click.pass_obj
def command(
    options: dict[str, Any],
    *,
    mesh: str | None,
    stack: str | None,
    repair: bool,
    reason: str,
    wait: float | None,
    form: str,
) -> int:
    """Show where the running state differs from the stack's last release, and who changed what.

    `drift` is somebody else's write, `unreleased` one by the principal of the last release. --repair takes both back,
    by a new release with the last one's content; what `apply --adopt` shall take in is not to be repaired.

    Exit codes: 0 none, or all repaired (with --wait: and arrived), 1 some, 2 could not be done.
    """
    from meshwright.cli.repairing import repaired
    from meshwright.cli.target import resolve
    from meshwright.views import releases as view

    if not repair and (reason or wait is not None):
        raise UsageError("--reason and --wait are about a repair: give --repair, or leave them out.")
    target = resolve(options, mesh=mesh, stack=stack)
    client = target.client()
    found = client.drift(*target.place())
    if form == "text":
        click.echo(view.drift_text(found), nl=False)
    told, code = found, int(bool(found["differences"]))
    if repair and found["differences"]:
        told, code = repaired(target, client, found, wait, form, reason=reason, environ=os.environ)
    if form == "json":
        click.echo(view.as_json(told), nl=False)
    return code
