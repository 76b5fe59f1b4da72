"""`meshwright apply`: definitions, or a plan made from them, become one release.

The one rule: everything or nothing; the exit code is 0 only if the release holds, and with --wait has arrived.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from meshwright.ci.build import claimed
from meshwright.cli.definitions import definition_arguments
from meshwright.cli.target import FORMAT, STACK, resolve
from meshwright.cli.waiting import WAIT, finished
from meshwright.cli.wanted import planned
from meshwright.errors import RefusedError, UnreadableError, UsageError
from meshwright.plan import Plan, contents
from meshwright.release import ApplyRequest, Item
from meshwright.views.wire import from_wire

if TYPE_CHECKING:
    from meshwright.cli.target import Target
    from meshwright.remote import Client


@click.command("apply")
@definition_arguments
@STACK
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), help="Apply the plan in FILE instead of PATH.")
@WAIT
@FORMAT
@click.pass_obj
def command(
    options: dict[str, Any],
    *,
    paths: tuple[Path, ...],
    parameters: tuple[str, ...],
    mesh: str | None,
    stack: str | None,
    plan_file: Path | None,
    wait: float | None,
    form: str,
) -> int:
    """Apply definitions as one release of this stack.

    PATH is a file or a folder; without one, and without --plan, the definitions of meshwright.yaml are applied.

    Exit codes: 0 applied (with --wait: and arrived), 1 refused, stale, rejected by a proxy or late, 2 could not be
    done.
    """
    if plan_file is not None and (paths or parameters):
        raise UsageError("Give PATH… or --plan FILE, not both: a plan holds what it was made from.")
    target = resolve(options, mesh=mesh, stack=stack)
    client = target.client()
    if plan_file is not None:
        plan = _read(plan_file)
        _refuse_other_place(plan, target)
        request = ApplyRequest(plan=plan, build=claimed(os.environ), tool_version=version("meshwright"))
    else:
        plan, request = _from_definitions(target, client, paths, parameters)
    if plan.conflicts:
        raise RefusedError("; ".join(one.reason for one in plan.conflicts) + ". Nothing was changed.")
    if not plan.empty:
        number = len(plan.changes)
        objects = f"{number} object{'s' * (number != 1)}"
        target.say(f"Applying changes of {objects} to stack {plan.stack} in mesh {plan.mesh} …")
    outcome = client.apply(plan.mesh, plan.stack, request)
    return finished(target, client, outcome, wait, form)


def _from_definitions(
    target: Target, client: Client, paths: tuple[Path, ...], parameters: tuple[str, ...]
) -> tuple[Plan, ApplyRequest]:
    plan, state = planned(target, client, paths, parameters)
    items = ((one.key, *contents(one)) for one in state)
    content = tuple(Item(key=key, spec=spec, tags=tags) for key, spec, tags in items)
    return plan, ApplyRequest(resources=content, build=claimed(os.environ), tool_version=version("meshwright"))


def _read(path: Path) -> Plan:
    try:
        return from_wire(Plan, msgspec.json.decode(path.read_bytes()))
    except OSError as error:
        raise UnreadableError(f"The plan {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{path} is no plan as `meshwright plan --out` writes it: {error}.") from error


def _refuse_other_place(plan: Plan, target: Target) -> None:
    """Raise when the plan is about another mesh or stack than the flags, the environment or the project say."""
    for word, planned_for, meant in (("mesh", plan.mesh, target.mesh), ("stack", plan.stack, target.stack)):
        if meant is not None and planned_for != meant:
            raise UsageError(f"The plan is for {word} {planned_for!r}, but this run is about {meant!r}.")
