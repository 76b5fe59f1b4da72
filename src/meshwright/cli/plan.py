"""`meshwright plan`: what applying definitions would change.

The one rule: it changes nothing, and what it prints is what `apply --plan` does or refuses.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshwright.cli.options import ADOPT, ALLOW_EMPTY, STACK, TEST_REPORT, definition_arguments
from meshwright.cli.terminal import shows_colour
from meshwright.errors import UnreadableError

if TYPE_CHECKING:
    from meshwright.cli.target import Target
    from meshwright.cli.wanted import Planned
    from meshwright.impact.values import Impact


@click.command("plan")
@definition_arguments
@STACK
@ALLOW_EMPTY
@ADOPT
@TEST_REPORT
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan to FILE for apply --plan."
)
@click.option("--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True,
              help="What to print.")  # fmt: skip
@click.option("--weight-step", type=click.FloatRange(0, 100), default=20, show_default=True, metavar="POINTS",
              help="Percentage points by which a target's share may move before it is a risk.")  # fmt: skip
@click.option("--protect", "protected", multiple=True, metavar="PATTERN", envvar="MESHWRIGHT_PROTECT",
              help="Objects whose deletion is a risk, such as virtualNode/payment-*; may be repeated.")  # fmt: skip
@click.option("--envoy-diff", is_flag=True, help="Show what each proxy is sent, field by field.")
@click.option("--exit-code", is_flag=True, help="Exit 1 when there are changes.")
@click.pass_obj
def command(  # noqa: PLR0913 - one parameter an option
    options: dict[str, Any],
    *,
    paths: tuple[Path, ...],
    parameters: tuple[str, ...],
    mesh: str | None,
    stack: str | None,
    test_report: Path | None,
    out: Path | None,
    form: str,
    allow_empty: bool,
    adopt: bool,
    weight_step: float,
    protected: tuple[str, ...],
    envoy_diff: bool,
    exit_code: bool,
) -> int:
    """Show what applying definitions would change, whom it reaches and what is risky in it.

    PATH is what `meshwright validate` takes; without one, the definitions of meshwright.yaml are planned. What the
    plan takes back that somebody wrote apart from releases since the last one is named; --adopt keeps what the
    stack's owner wrote so.

    Exit codes: 0 planned, 1 refused, in conflict, or with --exit-code changes, 2 could not be done.
    """
    from meshwright.cli.applying import sources_of
    from meshwright.cli.definitions import fingerprint_of
    from meshwright.cli.judged_plan import impact_of
    from meshwright.cli.target import resolve
    from meshwright.cli.tested import tested
    from meshwright.cli.wanted import planned
    from meshwright.release import ApplyRequest
    from meshwright.views import plan as view

    target = resolve(options, mesh=mesh, stack=stack, paths=paths, parameters=parameters)
    client = target.client()
    found = planned(target, client, paths, parameters, allow_empty=allow_empty, adopt=adopt)
    plan, told = found.plan, not found.adopted and {out, test_report} != {None}
    definitions = fingerprint_of(target.project, paths) if told else ""
    tests = tested(test_report, definitions) if test_report is not None else None
    asked = ApplyRequest(plan=plan, definitions=definitions, tests=tests)
    impact = impact_of(target, client, found, asked, weight_step=weight_step, protected=protected, detail=envoy_diff)
    if out is not None:
        sources = sources_of(plan, found.read)
        _write(out, view.as_json(plan, sources=sources, definitions=definitions, tests=tests, adopted=found.adopted))
        target.say(f"The plan was written to {out}.")
    click.echo(_shown(target, found, impact, form), nl=False)
    return int(bool(plan.conflicts) or (exit_code and not plan.empty))


def _shown(target: Target, found: Planned, impact: Impact, form: str) -> str:
    from meshwright.views import plan as view

    protected = (target.project.environment or "") if target.project.protected else ""
    if form == "json":
        return view.as_json(found.plan, impact)
    if form == "markdown":
        return view.as_markdown(found.plan, impact, protected=protected, observed=found.observed)
    colour = shows_colour(sys.stdout)
    return view.as_text(found.plan, impact, colour=colour, protected=protected, observed=found.observed)


def _write(path: Path, text: str) -> None:
    from meshwright.cli.writing import write_whole

    try:
        write_whole(path, text)
    except OSError as error:
        raise UnreadableError(f"The plan cannot be written to {path}: {error.strerror}.") from error
