"""`meshwright apply`: definitions, or a plan made from them, become one release.

The one rule: everything or nothing; the exit code is 0 only if the release holds, and with --wait has arrived.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshwright.cli.options import (
    ADOPT,
    ALLOW_EMPTY,
    BREAK_GLASS,
    STACK,
    SUMMARY,
    TEST_REPORT,
    WAIT,
    canary,
    definition_arguments,
    verification,
)
from meshwright.errors import UsageError

if TYPE_CHECKING:
    from meshwright.cli.target import Target
    from meshwright.plan import Plan


@click.command("apply")
@definition_arguments
@STACK
@ALLOW_EMPTY
@ADOPT
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), help="Apply the plan in FILE instead of PATH.")
@TEST_REPORT
@BREAK_GLASS
@WAIT
@click.option("--verify", "verifies", is_flag=True,
              help="Verify it, each check within --wait or 60 seconds; roll it back if it fails.")  # fmt: skip
@verification
@canary
@SUMMARY
@click.pass_obj
def command(  # noqa: PLR0913 - one parameter an option
    options: dict[str, Any],
    /,
    *,
    paths: tuple[Path, ...],
    parameters: tuple[str, ...],
    mesh: str | None,
    stack: str | None,
    allow_empty: bool,
    adopt: bool,
    plan_file: Path | None,
    test_report: Path | None,
    break_glass: str,
    wait: float | None,
    verifies: bool,
    form: str,
    **asked: Any,
) -> int:
    """Apply definitions as one release of this stack.

    PATH is what `meshwright validate` takes; without one, and without --plan, the definitions of meshwright.yaml are
    applied.

    What somebody wrote apart from releases since the last one is taken back, and named, where definitions say
    otherwise. With --adopt, what the stack's owner wrote so is released as it runs instead; what the definitions
    changed as well is refused, and the release cannot be promoted, because no definitions say what it holds.

    With --verify, and the options of `meshwright verify`, the release is verified too, and where it fails the last
    good one is restored. A release that needs somebody's approval waits, which is exit code 1; with --wait the job
    waits for that as well.

    With --canary, weights are shifted in steps, and each is judged by the calls that proxies report to the targets
    that gain some; where they fail, or too little is reported, all goes back as it was, and the exit code is 1.

    Exit codes: 0 applied (with --wait: and arrived; with --verify: and verified), 1 refused, stale, waiting for
    approval, rejected by a proxy, late, or rolled back, 2 could not be done.
    """
    if plan_file is not None:
        _refuse_beside_plan(given=bool(paths or parameters), adopt=adopt)
    from meshwright.cli.applying import from_definitions, from_plan_file, with_grant
    from meshwright.cli.canarying import applied, settings, to_verify
    from meshwright.cli.target import resolve
    from meshwright.cli.tested import with_tests

    target = resolve(options, mesh=mesh, stack=stack, paths=paths, parameters=parameters)
    steps = settings(asked, target.project.canary)
    client = target.client()
    if plan_file is not None:
        plan, request = from_plan_file(target, plan_file)
    else:
        plan, request = from_definitions(target, client, paths, parameters, allow_empty=allow_empty, adopt=adopt)
    request = with_tests(request, test_report)
    _announce(target, plan)
    verifying = to_verify(asked, wait, verifies=verifies)
    return applied(target, client, plan, with_grant(request, break_glass), steps, verifying, wait, form)


def _announce(target: Target, plan: Plan) -> None:
    # Conflicts are left for the server to refuse, whose audit log tells of the attempt then.
    if not plan.empty:
        objects = f"{len(plan.changes)} object{'s' * (len(plan.changes) != 1)}"
        target.say(f"Applying changes of {objects} to stack {plan.stack} in mesh {plan.mesh} …")


def _refuse_beside_plan(*, given: bool, adopt: bool) -> None:
    if given:
        raise UsageError("Give PATH… or --plan FILE, not both: a plan holds what it was made from.")
    if adopt:
        raise UsageError("Give --adopt when the plan is made: `meshwright plan --adopt --out FILE`.")
