"""`meshwright rollback`: restore an older release of this stack, as a new release.

The one rule: no other stack is touched, and what is restored is judged as of today.
"""

from __future__ import annotations

import os
from typing import Any

import click

from meshwright.cli.options import BREAK_GLASS, FORMAT, WAIT, targeted
from meshwright.errors import UsageError


@click.command("rollback")
@targeted
@click.option("--to", metavar="RELEASE", help="Restore this release: 12 or shop#12.")
@click.option("--to-build", metavar="N", help="Restore the newest release of the build with this number.")
@click.option(
    "--last-good",
    is_flag=True,
    help="Restore the newest release known to be good that can be restored and is not what runs.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept with the release.")
@BREAK_GLASS
@WAIT
@FORMAT
@click.pass_obj
def command(  # noqa: PLR0913 - one parameter an option
    options: dict[str, Any],
    *,
    mesh: str | None,
    stack: str | None,
    to: str | None,
    to_build: str | None,
    last_good: bool,
    reason: str,
    break_glass: str,
    wait: float | None,
    form: str,
) -> int:
    """Restore an older release of this stack, as a new release.

    Exit codes: 0 restored (with --wait: and arrived), 1 refused, waiting for approval, rejected by a proxy or late,
    2 could not be done.
    """
    from importlib.metadata import version

    from meshwright.ci.build import claimed
    from meshwright.cli.target import release_number, resolve
    from meshwright.cli.waiting import finished
    from meshwright.release import RollbackRequest

    if sum((to is not None, to_build is not None, last_good)) != 1:
        raise UsageError("Say what to restore: exactly one of --to RELEASE, --to-build N and --last-good.")
    target = resolve(options, mesh=mesh, stack=stack)
    where, owner = target.place()
    request = RollbackRequest(
        to=release_number(to, owner) if to is not None else None,
        to_build=to_build,
        last_good=last_good,
        reason=reason,
        build=claimed(os.environ),
        tool_version=version("meshwright"),
        break_glass=break_glass,
    )
    client = target.client()
    return finished(target, client, client.roll_back(where, owner, request), wait, form)
