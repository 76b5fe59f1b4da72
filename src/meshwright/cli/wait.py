"""`meshwright wait`: until every proxy that a release concerns has it.

The one rule: an ack is acceptance by the proxy, not proof of traffic.
"""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.options import FORMAT, targeted


@click.command("wait")
@click.argument("release")
@targeted
@click.option("--timeout", type=click.FloatRange(min=0, max=86_400), default=60, show_default=True, metavar="SECONDS",
              help="How long to wait.")  # fmt: skip
@click.option("--detail", is_flag=True, help="Tell of each proxy what it was sent and has acked, and when.")
@FORMAT
@click.pass_obj
def command(
    options: dict[str, Any],
    *,
    release: str,
    mesh: str | None,
    stack: str | None,
    timeout: float,
    detail: bool,
    form: str,
) -> int:
    """Wait until every proxy that a release concerns has it.

    RELEASE is a number or a title: 12 or shop#12.

    Exit codes: 0 it has arrived, or no proxy is connected; 1 late or rejected, also where a newer release has taken
    its place by now; 2 could not be done.
    """
    from meshwright.cli.target import release_number, resolve
    from meshwright.cli.waiting import arrived, exit_code, left_behind
    from meshwright.views import releases as view

    target = resolve(options, mesh=mesh, stack=stack)
    where, owner = target.place()
    number = release_number(release, owner)
    client, one = target.client(), {"mesh": where, "stack": owner, "number": number}
    found = arrived(target, client, one, timeout, detail=detail)
    if form == "json":
        click.echo(view.as_json(found), nl=False)
    return exit_code(target, found, timeout, form, left=left_behind(client, one, found))
