"""`meshwright trust aws`: the AWS side of a trust file, as a CloudFormation template."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - click calls it

import click

from meshwright.cli.trusting import TRUST, found_file


@click.command("aws")
@TRUST
@click.option("--environment", metavar="NAME", help="The environment that the template is for.")
@click.option("--format", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True,
              help="What to print.")  # fmt: skip
@click.pass_context
def aws(ctx: click.Context, /, trust: Path | None, environment: str | None, form: str) -> int:
    """Print the AWS side of a trust file as a CloudFormation template.

    It holds an OIDC provider for each issuer and, for each role that its tokens can take, a role in AWS with the same
    conditions and leave to read its stack's parameters (/meshwright/ENVIRONMENT/STACK/…) and to put its metrics
    (namespace Meshwright/STACK). What AWS cannot express is said on standard error, and in the template's metadata.
    """
    from meshwright.documents.trust_file import load
    from meshwright.trust.aws import template
    from meshwright.trust.settling import settle
    from meshwright.views.escaping import indented_json, terminal

    read = load(found_file(trust, None))
    chosen = environment or (ctx.obj or {}).get("environment")
    found = template(settle(read, chosen))
    for one in found.remarks:
        click.echo(f"Note: {terminal(one)}", err=True)
    if form == "json":
        sys.stdout.write(indented_json(found.document))
    else:
        import yaml  # only what is asked for is loaded

        sys.stdout.write(yaml.safe_dump(found.document, sort_keys=False, width=110))
    return 0
