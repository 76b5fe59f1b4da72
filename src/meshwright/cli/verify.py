"""`meshwright verify`: whether a release is good, by evidence that is kept with it.

The one rule: an ack says that a proxy took it; here is looked whether what it took works.
"""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.options import FORMAT, targeted, verification


@click.command("verify")
@click.argument("release", required=False)
@targeted
@verification
@click.option("--timeout", type=click.FloatRange(min=0, max=86_400), default=60, show_default=True, metavar="SECONDS",
              help="How long each check may take.")  # fmt: skip
@click.option("--rollback", "back", is_flag=True, help="Restore the last good release where it fails.")
@click.option("--show", is_flag=True, help="Look at nothing; show the verifications that were made, with evidence.")
@FORMAT
@click.pass_obj
def command(
    options: dict[str, Any],
    /,
    *,
    release: str | None,
    mesh: str | None,
    stack: str | None,
    timeout: float,
    back: bool,
    show: bool,
    form: str,
    **asked: Any,
) -> int:
    r"""Verify that a release is good, and keep the evidence with it.

    RELEASE is the newest of this stack's releases, as 12 or shop#12, and need not be named. Each check is waited for
    until it passes or its time is over:

    \b
    proxies    every connected proxy that the release changes something for has acked it
    endpoints  the virtual nodes of the release that calls are sent to have an instance, and all that
               are known are healthy; of nodes that DNS tells of, their connected proxies count
    routes     an application answers a probe on each route that it changed (--probe-from, --gateway); or
               proxies report calls to whom they lead, and these do not fail more than before
    telemetry  where asked for: traces or metrics show the release at every hop of those routes

    It becomes verified, or failed; where something could not be looked at, it stays what it was.

    Exit codes: 0 verified, 1 failed (with --rollback: and rolled back), not to be said, or refused, 2 could not be
    done.
    """
    from meshwright.cli.target import release_number, resolve
    from meshwright.cli.verifying import exit_code, newest, restored, verified, wanted
    from meshwright.views import releases as view
    from meshwright.views import verification as told

    target = resolve(options, mesh=mesh, stack=stack)
    where, owner = target.place()
    client = target.client()
    number = release_number(release, owner) if release is not None else newest(client, where, owner)
    if show:
        known = client.verifications(where, owner, number)
        click.echo(view.as_json(known) if form == "json" else told.verifications_text(known), nl=False)
        return 0
    looked = wanted(timeout, asked)
    found = verified(target, client, {"mesh": where, "stack": owner, "number": number}, looked)
    if form == "text":
        click.echo(told.verified_text(found), nl=False)
    shown = dict(found)
    code = restored(target, client, found, looked, shown, form) if back else exit_code(target, found)
    if form == "json":
        click.echo(view.as_json(shown), nl=False)
    return code
