"""`meshwright trust explain`: whether somebody may do something, and which line of the trust file says so."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from meshwright.cli.options import FORMAT
from meshwright.cli.trusting import TRUST, found_file
from meshwright.errors import UsageError

if TYPE_CHECKING:
    from meshwright.trust.explaining import Explanation
    from meshwright.trust.settling import Settled


@click.command("explain")
@click.argument("principal")
@click.argument("action")
@click.argument("arn")
@TRUST
@click.option("--environment", metavar="NAME", help="The environment of the trust file that is asked about.")
@click.option("--stack", help="Whose the object is [default: the principal's where it owns the name, else nobody's].")
@click.option("--parent-stack", default="", help="Whose the mesh, router or gateway is that the object lies in.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag of the object, or of a new one.")
@click.option("--principal-tag", "principal_tags", multiple=True, metavar="KEY=VALUE", help="A tag of the session.")
@click.option("--context", "contexts", multiple=True, metavar="KEY=VALUE",
              help="A condition key, such as aws:SourceIp=10.0.0.1; again for several values.")  # fmt: skip
@FORMAT
@click.pass_context
def explain(ctx: click.Context, /, principal: str, action: str, arn: str, form: str, **given: Any) -> int:
    """Say whether PRINCIPAL may do ACTION on ARN, and which statement, pattern and line say so.

    PRINCIPAL is user/NAME, role/NAME or an ARN; ACTION such as appmesh:UpdateRoute; ARN may begin with mesh/, which
    is then an object of the environment. No server is asked: whose the object is can be said with --stack.

    Exit codes: 0 allowed, 1 denied, 2 the question cannot be understood.
    """
    from meshwright.documents.trust_file import load
    from meshwright.trust.authorization import Authority
    from meshwright.trust.explaining import Supposed, principal_of
    from meshwright.trust.explaining import explain as explained
    from meshwright.trust.settling import settle
    from meshwright.views.escaping import indented_json

    trust = load(found_file(given["trust"], None))
    environment = given["environment"] or (ctx.obj or {}).get("environment")
    authority = Authority(settle(trust, environment))
    tags, contexts = _pairs("--tag", given["tags"]), _pairs("--context", given["contexts"])
    session_tags = _pairs("--principal-tag", given["principal_tags"])
    told = explained(
        authority,
        principal_of(authority, principal, {name: values[-1] for name, values in session_tags.items()}),
        action,
        _arn(arn, action, authority.settled),
        supposed=Supposed(
            stack=given["stack"],
            parent_stack=given["parent_stack"],
            tags={name: values[-1] for name, values in tags.items()},
            context={name: values if len(values) > 1 else values[0] for name, values in contexts.items()},
        ),
        at=time.time_ns() // 1_000_000,
    )
    sys.stdout.write(indented_json(told) if form == "json" else _text(told))
    return int(not told.allowed)


def _arn(arn: str, action: str, settled: Settled) -> str:
    """The ARN, of the environment's own account where only the path is given."""
    if arn == "*" or arn.startswith("arn:"):
        return arn
    from meshwright.model.identity import NAMESPACE

    # An extension is an object of a mesh, whose actions are ours.
    service = "appmesh" if f"/{NAMESPACE}/" in arn else action.partition(":")[0].lower()
    return f"arn:aws:{service}:{settled.region}:{settled.account}:{arn}"


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not (name and equals):
            raise UsageError(f"{option} {one!r} is not KEY=VALUE")
        found[name] = (*found.get(name, ()), value)
    return found


def _text(told: Explanation) -> str:
    from meshwright.views.escaping import terminal

    where = f" in {told.environment}" if told.environment else ""
    lines = [told.summary, f"  {told.principal}{where}", f"  {told.action} on {told.resource}"]
    for one in told.lines:
        place = f"{one.source}: " if one.source else ""
        lines.append(f"  {place}{one.effect.lower()}: {one.told}")
    return "".join(f"{terminal(line)}\n" for line in lines)
