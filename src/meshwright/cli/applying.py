"""What `apply` sends: the whole content of a stack, or a plan that was made from it earlier.

The one rule: a plan about another mesh or stack than this run is about is refused here.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from meshwright.ci.build import claimed
from meshwright.cli.definitions import fingerprint_of
from meshwright.cli.wanted import planned
from meshwright.diagnostics import Written
from meshwright.errors import UnreadableError, UsageError
from meshwright.impact.tested import RunSummary
from meshwright.model.identity import Key, parse_key
from meshwright.plan import Plan, contents
from meshwright.release import ApplyRequest, Item, Promotion, places
from meshwright.views.wire import from_wire

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.cli.target import Target
    from meshwright.documents.load import Loaded
    from meshwright.remote import Client


def from_plan_file(target: Target, path: Path) -> tuple[Plan, ApplyRequest]:
    """The plan in a file, and the request that it becomes.

    Raises:
        UnreadableError: it is no plan.
        UsageError: it is about another mesh or stack.
    """
    plan, sources, definitions, tests, taken = _read(path)
    _refuse_other_place(plan, target)
    return plan, ApplyRequest(
        plan=plan,
        sources=sources,
        definitions=definitions,
        tests=tests,
        adopted=taken,
        build=claimed(os.environ),
        tool_version=version("meshwright"),
    )


def from_definitions(
    target: Target,
    client: Client,
    paths: tuple[Path, ...],
    parameters: tuple[str, ...],
    *,
    allow_empty: bool,
    adopt: bool = False,
    promotes: Promotion | None = None,
) -> tuple[Plan, ApplyRequest]:
    """The plan that definitions come to, and the request with all of them; `promotes` what it repeats, if anything.

    To `adopt` what the stack's owner wrote since the last release, the request is the plan: what is adopted is then
    what runs when it is applied.

    Raises:
        RefusedError: a definition has an error, or would with what runs.
        UsageError: mesh or stack cannot be told.
    """
    plan, read, _, taken = planned(target, client, paths, parameters, allow_empty=allow_empty, adopt=adopt)
    items = ((one.key, *contents(one)) for one in read.state)
    content = None if taken else tuple(Item(key=key, spec=spec, tags=tags) for key, spec, tags in items)
    return plan, ApplyRequest(
        resources=content,
        plan=plan if taken else None,
        # What is released then is not what the definitions say, and not to be promoted as that.
        definitions="" if taken else fingerprint_of(target.project, paths),
        promotes=promotes,
        adopted=taken,
        sources=sources_of(plan, read),
        build=claimed(os.environ),
        tool_version=version("meshwright"),
    )


def with_grant(request: ApplyRequest, reason: str) -> ApplyRequest:
    """`request` that may pass the guardrails with a grant, for `reason`; "" for not."""
    return msgspec.structs.replace(request, break_glass=reason)


def sources_of(plan: Plan, read: Loaded) -> dict[str, Written]:
    """Where the objects that `plan` creates or updates are written in the files that were read."""
    keys = [one.key for one in plan.changes if one.action != "delete"]
    return places(read.sources.written(key.path for key in keys), keys)


def _read(path: Path) -> tuple[Plan, dict[str, Written], str, RunSummary | None, tuple[Key, ...]]:
    try:
        document = msgspec.json.decode(path.read_bytes())
        plan = from_wire(Plan, document)
        sources = msgspec.convert(document.get("sources", {}), dict[str, Written])
        tests = from_wire(RunSummary, document["tests"]) if document.get("tests") else None
        taken = tuple(map(parse_key, msgspec.convert(document.get("adopted", []), list[str])))
        return plan, sources, msgspec.convert(document.get("definitions", ""), str), tests, taken
    except OSError as error:
        raise UnreadableError(f"The plan {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{path} is no plan as `meshwright plan --out` writes it: {error}.") from error


def _refuse_other_place(plan: Plan, target: Target) -> None:
    """Raise when the plan is about another mesh or stack than the flags, the environment or the project say."""
    for word, planned_for, meant in (("mesh", plan.mesh, target.mesh), ("stack", plan.stack, target.stack)):
        if meant is not None and planned_for != meant:
            raise UsageError(f"The plan is for {word} {planned_for!r}, but this run is about {meant!r}.")
