"""`meshwright trust session`: who has a session of a role, and the end of it before its time.

The one rule: everything goes over the API, signed, so that the server decides who may.
"""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.options import FORMAT


@click.group("session")
def session_group() -> None:
    """List and revoke the sessions of roles."""


@session_group.command("list")
@click.option("--role", metavar="NAME", help="Only the sessions of this role.")
@click.option("--all", "ended", is_flag=True, help="Also those that expired, within a day, or were revoked.")
@FORMAT
@click.pass_obj
def list_sessions(options: dict[str, Any], *, role: str | None, ended: bool, form: str) -> int:
    """List the sessions of roles, without their secrets.

    Exit codes: 0 told, 1 not allowed, 2 could not be done.
    """
    from meshwright.cli.target import resolve
    from meshwright.views.releases import as_json
    from meshwright.views.sessions import sessions_text

    found = resolve(options).client().sessions(role, ended=ended)
    click.echo(as_json({"sessions": found}) if form == "json" else sessions_text(found), nl=False)
    return 0


@session_group.command("revoke")
@click.option("--role", metavar="NAME", help="Every session that this role has had until now.")
@click.option("--session", "session", metavar="ID", help="One session, by its access key id (ASIA…).")
@click.option("--key", metavar="ID", help="A user's access key (AKIA…), for good.")
@FORMAT
@click.pass_obj
def revoke(options: dict[str, Any], *, role: str | None, session: str | None, key: str | None, form: str) -> int:
    """Make a session, a role's sessions or a key worth nothing, and whatever was obtained with them.

    Requests and streams of proxies are refused from then on; a role may be taken again by those who still may.

    Exit codes: 0 revoked, 1 not allowed or not known, 2 could not be done.
    """
    from meshwright.cli.target import resolve
    from meshwright.views.releases import as_json
    from meshwright.views.sessions import revocation_text

    given = {"role": role, "session": session, "key": key}
    subjects = [f"{kind}:{name}" for kind, name in given.items() if name]
    if len(subjects) != 1:
        raise click.UsageError("Name one of --role, --session and --key.")
    done = resolve(options).client().revoke(subjects[0])
    click.echo(as_json(done) if form == "json" else revocation_text(done), nl=False)
    return 0
