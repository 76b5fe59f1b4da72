"""`meshwright drift`: where a stack runs otherwise than its last release left it.

The one rule: the running state is compared with the release on the server, never with files.
"""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.options import FORMAT, targeted


@click.command("drift")
@targeted
@FORMAT
@click.pass_obj
def command(options: dict[str, Any], *, mesh: str | None, stack: str | None, form: str) -> int:
    """Show where the running state differs from the stack's last release.

    `drift` is somebody else's write, `unreleased` one by the principal of the last release.

    Exit codes: 0 none, 1 some, 2 could not be done.
    """
    from meshwright.cli.target import resolve
    from meshwright.views import releases as view

    target = resolve(options, mesh=mesh, stack=stack)
    found = target.client().drift(*target.place())
    click.echo(view.as_json(found) if form == "json" else view.drift_text(found), nl=False)
    return int(bool(found["differences"]))
