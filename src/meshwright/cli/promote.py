"""`meshwright promote`: what was verified in one environment, released in the next.

The one rule: it is exactly that release, so the files here must be those that it was made of; only values differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from meshwright.cli.options import BREAK_GLASS, STACK, SUMMARY, TEST_REPORT, WAIT, canary, verification

if TYPE_CHECKING:
    from pathlib import Path


@click.command("promote")
@click.option("--from", "source", required=True, metavar="ENVIRONMENT",
              help="The environment in which the release is verified.")  # fmt: skip
@click.option("--to", "goal", required=True, metavar="ENVIRONMENT", help="The environment in which it is released.")
@STACK
@click.option("--release", metavar="RELEASE", help="Only if that is the newest verified release: 12 or shop#12.")
@click.option("--parameter", "parameters", multiple=True, metavar="KEY=VALUE",
              help="A value for a template's parameter or ${KEY}; may be repeated.")  # fmt: skip
@TEST_REPORT
@BREAK_GLASS
@WAIT
@click.option("--verify", "verifies", is_flag=True,
              help="Verify it there, each check within --wait or 60 seconds; roll it back if it fails.")  # fmt: skip
@verification
@canary
@SUMMARY
@click.pass_obj
def command(  # noqa: PLR0913 - one parameter an option
    options: dict[str, Any],
    /,
    *,
    source: str,
    goal: str,
    stack: str | None,
    release: str | None,
    parameters: tuple[str, ...],
    test_report: Path | None,
    break_glass: str,
    wait: float | None,
    verifies: bool,
    form: str,
    **asked: Any,
) -> int:
    """Release in one environment what is verified in another.

    The newest verified release of this stack in --from is released in --to, with the values and overlays of that
    environment. The definitions of meshwright.yaml must be those that it was made of: check out its commit. With
    --canary, weights are shifted there in steps, as by `meshwright apply`. What tests said of the definitions goes
    along, unless --test-report names another report.

    Exit codes: 0 released (with --wait: and arrived; with --verify: and verified), 1 refused, rejected by a proxy,
    late, or rolled back, 2 could not be done.
    """
    from meshwright.cli.applying import from_definitions, with_grant
    from meshwright.cli.canarying import applied, settings, to_verify
    from meshwright.cli.promoting import between, promotion
    from meshwright.cli.tested import with_tests

    before, after = between(options, source, goal, stack, parameters)
    steps = settings(asked, after.project.canary)
    promoted, tests = promotion(before, source, release)
    client = after.client()
    plan, request = from_definitions(after, client, (), parameters, allow_empty=False, promotes=promoted)
    request = with_tests(request, test_report, otherwise=tests)
    number = len(plan.changes)
    after.say(f"Releasing {promoted.title} of {source} in {goal}: {number} change{'s' * (number != 1)} …")
    verifying = to_verify(asked, wait, verifies=verifies)
    return applied(after, client, plan, with_grant(request, break_glass), steps, verifying, wait, form)
