"""`meshwright history`: a stack's releases, newest first.

The one rule: what is listed is what the server keeps; a release is never edited, only its status moves.
"""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.moments import MOMENT
from meshwright.cli.options import FORMAT, targeted

_STATUSES = ("applied", "propagated", "verified", "failed", "rolled back")


@click.command("history")
@targeted
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@click.option("--before", metavar="RELEASE", help="Older ones than this: 12 or shop#12.")
@click.option("--status", type=click.Choice(_STATUSES), help="Those that stand so.")
@click.option("--build", metavar="N", help="Those of the build with this number, verified or else claimed.")
@click.option("--commit", metavar="SHA", help="Those of a commit that begins so, in capitals or not.")
@click.option("--branch", help="Those of this branch.")
@click.option("--repository", metavar="OWNER/NAME", help="Those of this repository.")
@click.option("--principal", metavar="ARN", help="Those by this ARN, user/NAME, or any session of role/NAME.")
@click.option(
    "--object", "key", metavar="OBJECT", help="Those that changed this object: virtualNode/cart, or an ARN."
)
@click.option("--since", type=MOMENT, help="Made then or later: 2026-01-31, 2026-01-31T23:59:59Z, or 7d ago.")
@click.option("--until", type=MOMENT, help="Made before then.")
@FORMAT
@click.pass_obj
def command(
    options: dict[str, Any],
    /,
    *,
    mesh: str | None,
    stack: str | None,
    limit: int,
    before: str | None,
    key: str | None,
    form: str,
    **conditions: str | int | None,
) -> int:
    """List this stack's releases, newest first.

    Conditions narrow the list; a release is listed when it meets all of them. Of a build, what was verified counts,
    and what it claims where nothing was.

    Exit codes: 0 listed, 2 could not be done.
    """
    from meshwright.cli.target import release_number, resolve
    from meshwright.views import releases as view

    target = resolve(options, mesh=mesh, stack=stack)
    where, owner = target.place()
    asked = {name: str(value) for name, value in conditions.items() if value is not None}
    if before is not None:
        asked["before"] = str(release_number(before, owner))
    if key is not None:
        asked["object"] = key if key.startswith(("arn:", "mesh/")) else f"mesh/{where}/{key}".rstrip("/")
    found = target.client().releases(where, owner, limit, asked)
    click.echo(view.as_json(found) if form == "json" else view.history_text(found, searched=bool(asked)), nl=False)
    return 0
