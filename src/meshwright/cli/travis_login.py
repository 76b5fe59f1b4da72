"""`meshwright travis login` and `meshwright travis secret`: an identity for a job, and its second factor.

The one rule: on standard output there are variables that hold no secret, or a secret that was asked for, and nothing
else; the job's log gets a line that proves the job and is worth nothing to others.
"""

from __future__ import annotations

import os
import re
from pathlib import Path  # noqa: TC003 - click calls it
from typing import Any

import click

from meshwright.cli.options import DATA_DIR
from meshwright.errors import UsageError


@click.command("login", context_settings={"ignore_unknown_options": True})
@click.option(
    "--role",
    metavar="ARN",
    help="The role to become [default: MESHWRIGHT_ROLE, then AWS_ROLE_ARN, then the role of the environment].",
)
@click.option(
    "--beside-aws",
    "apart",
    is_flag=True,
    help="Use variables that meshwright alone reads, and leave AWS's to AWS.",
)
@click.option(
    "--audience", default="meshwright", show_default=True, help="Whom the token is for: sts.amazonaws.com for AWS."
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND…]")
@click.pass_obj
def login(options: dict[str, Any], *, role: str | None, apart: bool, audience: str, command: tuple[str, ...]) -> int:
    """Prove to the control plane which job of Travis CI this is, and run COMMAND with what it gets for that.

    Without a COMMAND the rest of the job has it: eval "$(meshwright travis login --role ARN)".

    The token is in a file in memory that this user alone can read; commands find it by AWS_WEB_IDENTITY_TOKEN_FILE
    and exchange it for a session, as every AWS SDK does. It lives for ten minutes. With COMMAND it is renewed as long
    as that runs, the file goes when it ends, and the exit code is COMMAND's. Without, variables are printed for the
    shell to evaluate, none of them secret; the same again renews the token. Log in before anything runs that others
    wrote: a job proves itself once. With --beside-aws the job can be somebody else to AWS.

    Exit codes: 0 logged in, or COMMAND's; 1 refused; 2 could not be done.
    """
    from meshwright.cli.handing_over import AWS_AUDIENCE, Handed, exported, memory_folder, of_environment, variables
    from meshwright.cli.proving import Door, job_of
    from meshwright.cli.target import resolve
    from meshwright.remote.connection import Server

    if apart and audience == AWS_AUDIENCE:
        raise UsageError("--beside-aws is about a token for the control plane, which --audience gives to AWS.")
    role = role or os.environ.get("MESHWRIGHT_ROLE") or (None if apart else os.environ.get("AWS_ROLE_ARN"))
    target, job = resolve(options), job_of(os.environ)
    known = target.identity()
    if not role and not (known.role if apart else known.role.startswith("arn:")):
        names = "MESHWRIGHT_ROLE" if apart else "AWS_ROLE_ARN"
        raise UsageError(
            f"Which role? Name it with --role or {names}, or as the environment's role in meshwright.yaml: "
            "arn:aws:iam::000000000000:role/NAME."
        )
    door = Door(Server(target.endpoint, target.ca_bundle), os.environ, job)
    folder, handed = memory_folder(os.environ), Handed.found(os.environ, job)
    if handed is None:
        got = door.log_in(audience, lambda text: click.echo(text, err=True))
        handed = Handed.new(folder, job)
    else:
        got = door.renewed(handed.token())
    where = "" if audience == AWS_AUDIENCE else target.endpoint
    if apart and known.apart:
        found = of_environment(handed.file, target.project.environment or "", role or "")
    else:
        found = variables(handed.file, where, target.region, role or known.role, f"travis-{job}", apart=apart)
    handed.write(got.token)
    target.say(f"Logged in at {target.endpoint} as {got.subject}.")
    if not command:
        click.echo(exported(found), nl=False)
        return 0
    try:
        return handed.run(command, found, os.environ, lambda: door.renewed(handed.token()), target.say)
    finally:
        handed.forget()


@click.command("secret")
@click.argument("repository")
@DATA_DIR
def secret(*, repository: str, data_dir: Path) -> None:
    """Print the second factor of REPOSITORY, such as acme/orders: on the control plane's machine.

    It is a secret: pass it on to 'meshwright travis encrypt', or to the repository's settings, as the variable
    MESHWRIGHT_TRAVIS_SECRET. It is always the same for a repository, as long as DATA_DIR/travis.key is.
    """
    from meshwright.ci.travis.proof import repository_secret
    from meshwright.store.keys import TRAVIS_KEY, ensure_secret

    if not re.fullmatch(r"[^\s/]+/[^\s/]+", repository):
        raise UsageError(f"{repository!r} is no repository; name it as OWNER/NAME.")
    click.echo(repository_secret(ensure_secret(data_dir / TRAVIS_KEY), repository))
